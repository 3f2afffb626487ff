"""What a class is, by the words of its name in several languages: water, forest, crop, ….

Names are compared without accents and capitals, word by word; ``*`` stands for any letters, and
``a+b`` needs both words. The first meaning that fits counts, so special ones stand before general
ones. Words are English, German, French, Spanish, Portuguese, Italian, and some Slovenian.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Meaning(NamedTuple):
    """A kind of class.

    Attributes:
        colour: What maps show it in.
        words: Patterns of words, separated by blanks.
    """

    colour: str
    words: str


#: In the order in which they are tried.
MEANINGS: dict[str, Meaning] = {
    "shadow": Meaning("#4b4a57", "shadow* *schatten ombre* sombra* ombra*"),
    "cloud": Meaning("#dcdfe3", "cloud* wolke* nuage* nube* nuvem nuvens nuvol* cirrus"),
    "snow": Meaning("#c3ecfb", "snow* ice glacier* schnee* eis gletscher* neige* glace nieve hielo "
                    "neve gelo ghiacc* glaci* sneg led"),
    "burnt": Meaning("#3b2a2a", "burn* verbrann* brandfl* brul* quemad* queimad* brucia* incend*"),
    "heath": Meaning("#b07aa1", "heath* heide* lande landes moors brezal* brughier*"),
    "mangrove": Meaning("#00916e", "mangrov* manglar* mangue* mangal"),
    "mud": Meaning("#a39a86", "mudflat* mud intertidal* tidal+flat* watt wattfl* schlick* "
                   "vasiere* marisma+interm* salines"),
    "wetland": Meaning("#4fb0a5", "wetland* marsh* swamp* bog bogs peat* peatland* fen fens mire "
                       "*moor *moore sumpf* feuchtgebiet* feuchtfl* *schilf* reed reeds reedbed* "
                       "marais tourbi* humide* humid* humedal* pantan* marism* turber* turfeir* "
                       "palud* umid* torbier* brejo* varzea* flooded saltmarsh* mokrisc* barje"),
    "water": Meaning("#2f7fc1", "water waters waterbod* waterway* watercourse* *wasser *wasserfl* "
                     "*gewasser* wasserlauf* eau eaux agua aguas acqua acque lake lakes see seen "
                     "lac lacs lago lagos laghi laguna* lagoa* lagoon* river* fluss* fleuve* "
                     "riviere* rio rios fiume fiumi sea seas ocean* oceano* ozean mer mar mare "
                     "meer* estuar* pond* etang* teich* canal* kanal* stream streams reservoir* "
                     "embalse* subtidal* aquatic* hydrograph* voda vode plan+eau"),
    "maize": Meaning("#f5c518", "maize corn mais maiz milho granturco *mais koruza"),
    "rice": Meaning("#4fc3d9", "rice reis riz arroz riso risaie paddy paddies"),
    "cereal": Meaning("#b8860b", "wheat *weizen ble bles trigo grano frumento barley *gerste orge "
                      "cebada cevada orzo oat oats hafer avoine avena aveia rye *roggen seigle "
                      "centeno cereal* *getreide triticale psenica"),
    "soy": Meaning("#7d8f29", "soy soya soybean* soja sojabohn*"),
    "rapeseed": Meaning("#d9e021", "rape rapeseed *raps colza canola"),
    "sunflower": Meaning("#ff9f1c", "sunflower* sonnenblume* tournesol* girasol* girassol*"),
    "alfalfa": Meaning("#d98cc9", "alfalfa lucern* luzern* clover* *klee trevo trebol"),
    "cotton": Meaning("#e45757", "cotton algod* baumwoll* coton cotone"),
    "root crop": Meaning("#8c5a3c", "potato* kartoffel* patata* batata* beet beets *ruben *rube "
                         "betterave* remolacha* barbabietol*"),
    "vineyard": Meaning("#8e3b72", "vineyard* vine vines vign* vina vinas vinedo* vinhed* vinha* "
                        "vigneto vigneti weinb* weing* rebfl* reben vinograd*"),
    "orchard": Meaning("#c77f2a", "orchard* fruit* obst* verger* frutal* pomar pomares frutt* "
                       "olive* oliv* palm palms agroforest* agro+forest* coffee cafe cacao cocoa "
                       "plantation* plantage* plantacion* sadovnjak*"),
    "park": Meaning("#c9a0dc", "green+urban park parks parkanl* parc parcs parque* parco parchi "
                    "garden* *garten jardin* jardim giardin* golf* sport* leisure grunanl* "
                    "cemeter* friedh*"),
    "transport": Meaning("#7a7a7a", "road roads roadway* street* strasse* *strasse *strassen route "
                         "routes carretera* estrada* strada strade rail* bahn* airport* flughaf* "
                         "aeroport* aeropuert* port ports hafen puerto* porto porti runway* "
                         "parking* parkplat* asphalt* paved pavement* bridge* verkehr* transport* "
                         "ceste"),
    "mine": Meaning("#8e44ad", "mine mines mining quarry quarries mineral+extraction carriere* "
                    "tagebau* abbaufl* steinbruch* mina minas miner* cantera* pedreira* cava dump* "
                    "landfill* deponie* construction+site* baustelle*"),
    "industry": Meaning("#b0479b", "industr* commerc* gewerbe* kommerz* factor* solar* photovolt* "
                        "greenhouse* gewachsh* invernadero*"),
    "urban": Meaning("#d7301f", "urban* built* building* settlement* developed artificial* "
                     "impervious* sealed city cities town* house houses residential* siedlung* "
                     "stadt* *gebaude gebaude* bebau* versieg* kunstlich* haus hauser dach dacher "
                     "bati batis batiment* ville villes artificiel* habitation* edific* "
                     "construid* ciudad* cidade* citta poblad* residenc* residenz* residentiel* "
                     "roof* toit* teto* tetti tower* pozidan* urbain* urbano urbana"),
    "sand": Meaning("#f2dfa0", "sand sands sandy beach* dune dunes dunen strand plage* sable* "
                    "arena arenas playa* areia* praia* sabbi* spiagg* duna* desert* wuste desiert* "
                    "wetsand *sand"),
    "rock": Meaning("#8f8f94", "rock rocks rocky stone* fels* gestein* roche* rocher* roca rocas "
                    "rocha* roccia rocce scree gravel kies schotter* gerol* skale"),
    "fallow": Meaning("#cdbb93", "fallow* brache* *brache jacher* barbech* pousio* maggese"),
    "bare": Meaning("#b5967a", "bare barren* soil soils *boden sol sols suelo* solo solos suolo "
                    "suoli earth sparse* sparlich* clairsem* vegetationsl* vegetationsarm* "
                    "unvegetated exposto kahl* desnud*"),
    "moss": Meaning("#c8c08f", "moss* lichen* moos* flechte* mousse* musgo* muschi*"),
    "shrub": Meaning("#a39a2f", "shrub* schrub* scrub* bush* strauch* gebusch* busch* arbust* "
                     "matorral* maquis garrigue* buisson* cespugli* macchia chaparral caatinga "
                     "cerrado thicket* sclerophyll* hartlaub* grmovj*"),
    "pasture": Meaning("#cbd95c", "pastur* pastiz* pasto pastos pastag* pascol* patur* *weide "
                       "weiden grazing* hay heu"),
    "grass": Meaning("#9ccc65", "grass grasses grassland* grassy *gras meadow* *wiese *wiesen "
                     "*grunland* rasen lawn* prairie* prado* prato prati prader* herb* savann* "
                     "sabana* steppe* steppa* estepa* rangeland* gramin* praterie pelouse* "
                     "travni*"),
    "mixed forest": Meaning("#5f8f3e", "mischw* mixed+forest* mixed+wood* foret*+mixte* "
                            "bosque*+mixt* florest*+mist* bosch*+mist*"),
    "conifers": Meaning("#0b5a3c", "conifer* needle* nadel* evergreen* pine pines spruce* *fichte* "
                        "*kiefer* fir firs resineu* pinar* pinheir* sapin* abet* iglavc*"),
    "broadleaves": Meaning("#3e9b35", "broad+leaved broadlea* deciduous laub* feuill* caducifol* "
                           "frondos* latifog* latifol* folhos* oak* beech* *buche* *eiche* "
                           "eucalyp* listavc*"),
    "forest": Meaning("#1f7a3a", "forest* wood woods woody woodland* tree trees wald *wald *walder "
                      "baum baume gehol* foret* arbre* bosque* arbol* florest* mata matas arvor* "
                      "bosco boschi albero alberi jungle canopy gozd*"),
    "crop": Meaning("#e3b23c", "crop crops cropland* agric* arable* cultiv* farm* field fields "
                    "*acker* feld felder landwirt* anbau* culture cultures champ champs labour* "
                    "cultura* lavoura* coltiv* seminativ* campo campos labrad* labrant* irrigat* "
                    "horticult* vegetable* gemuse* legume* njiv* kmetij*"),
    "vegetation": Meaning("#74ad4c", "vegetation vegetacion vegetacao vegetazione pflanzen plants "
                          "greenery"),
    "other": Meaning("#b9b9b9", "other others background unknown unclass* sonstig* andere autre* "
                     "otro otros otra otras outro outros outra outras altro altri hintergrund none "
                     "drugo"),
}  # fmt: skip

#: Words that turn a meaning around, unless the word after them is one of crops.
_NOT = {"non", "no", "not", "without", "nicht", "kein", "keine", "ohne", "sans", "pas", "sin",
        "sem", "nao", "senza", "brez"}  # fmt: skip
_NOT_WITHIN = re.compile(r"nicht.*|un.*|.*(?:less|frei|los)")


def meaning_of(name: str) -> str | None:
    """Return what a class is by its name; none where no word says so.

    What is not something, such as "non-forest" or "Nichtwald", is ``other``.
    """
    words = _words(name)
    turned = [word for word in words if word.startswith(("nicht", "non")) and word not in _NOT]
    if turned and _by_words([word.removeprefix("nicht").removeprefix("non") for word in turned]):
        return "other"
    pairs = zip(words, [*words[1:], ""], strict=False)
    if any(word in _NOT and not after.startswith("irrig") for word, after in pairs):
        return "other" if _by_words(words) else None
    words = [word for word in words if not _NOT_WITHIN.fullmatch(word) or word in _AS_THEY_ARE]
    return _by_words(words)


def _by_words(words: Sequence[str]) -> str | None:
    for meaning, alternatives in _patterns().items():
        for both in alternatives:
            if all(any(_fits(word, pattern) for word in words) for pattern in both):
                return meaning
    return None


def _fits(word: str, pattern: str) -> bool:
    """Return whether a word is that of a pattern, whose ends may be open."""
    core = pattern.strip("*")
    if pattern.startswith("*"):
        return core in word if pattern.endswith("*") else word.endswith(core)
    return word.startswith(core) if pattern.endswith("*") else word == core


#: Words that only look turned around.
_AS_THEY_ARE = frozenset({"unclassified", "unknown", "unvegetated"})


def _words(name: str) -> list[str]:
    """Return the words of a name without accents, in lower case; parts of camelCase are words."""
    parted = re.sub(r"(?<=[a-zäöüß])(?=[A-ZÄÖÜ])", " ", name)
    plain = unicodedata.normalize("NFKD", parted.casefold())
    return re.findall(r"[a-z]+", "".join(c for c in plain if not unicodedata.combining(c)))


@cache
def _patterns() -> dict[str, list[list[str]]]:
    """Return the patterns of each meaning: alternatives of what must occur together."""
    return {
        name: [both.split("+") for both in meaning.words.split()]
        for name, meaning in MEANINGS.items()
    }
