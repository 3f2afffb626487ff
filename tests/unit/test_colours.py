"""Colours of classes: by the meaning of their names, by published legends, else the palette."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsmeta.config.class_meanings import MEANINGS, meaning_of
from rsmeta.config.colours import class_colours, colours_of
from rsmeta.config.data import class_specs
from rsmeta.config.legends import LEGENDS

#: The same kinds of land in the order of MEANINGS' names, in several languages.
WORDS = {
    "water": "water; Water bodies; OpenWater; Gewässer; Wasserfläche; Eau; Plans d'eau; Agua; "
    "Cuerpos de agua; Água; Corpos d'água; Acqua; Sea and ocean; Rivière; See; lake_2; Fiume",
    "forest": "forest; Woods; tree cover; Wald; Forêt; Bosque; Floresta; Bosco; gozd",
    "conifers": "Coniferous forest; Nadelwald; Forêt de conifères; Evergreen Forest; Pinares",
    "broadleaves": "Broad-leaved forest; Laubwald; Forêt de feuillus; Deciduous Forest",
    "mixed forest": "Mixed forest; Mischwald; Forêt mixte; Bosque mixto",
    "urban": "urban; Built-up; Buildings; Siedlungsfläche; Tissu urbain; Bâti; Área urbana; "
    "Edificaciones; Área edificada; Aree urbane; artificial surface; Developed, Low Intensity",
    "crop": "cropland; Arable land; Non-irrigated arable land; Ackerland; Terres arables; "
    "Cultivos; Agricultura; Lavouras; Seminativi; field; cultivated land",
    "grass": "grassland; Meadow; Grünland; Wiesen; Prairies; Prado; Praderas; Prati; Herbaceous",
    "shrub": "Shrub/Scrub; schrubland; Gebüsch; Matorral; Arbustos; Cespugli; bushes",
    "wetland": "Emergent Wetland; Forested Wetland; Salt marshes; Moor; Hochmoor; Sumpf; "
    "Zones humides; Humedales; Pântanos; Zone umide; Flooded vegetation",
    "snow": "Snow and ice; Perennial Ice/Snow; Schnee; Gletscher; Neige et glace; Nieve; Neve",
    "cloud": "cloud; Clouds; Wolken; Nuages; Nubes; Nuvens; thin_cloud",
    "shadow": "cloud shadow; Wolkenschatten; Ombre; Sombra de nube; Sombras",
    "bare": "bare; Bare soil; Barren Land; offener Boden; Sol nu; Suelo desnudo; Solo exposto",
    "sand": "Sand; WetSand; Beaches, dunes, sands; Strand; Plage; Playa; Praia; Spiaggia",
    "rock": "Bare rocks; Fels; Rochers; Roca; Rocha; Roccia",
    "vineyard": "Vineyards; Weinberg; Vignobles; Viñedos; Vinhas; Vigneti",
    "other": "other; Sonstige; Autres; Otros; non-forest; Nichtwald; no water; nonwater",
}
CASES = [(meaning, name.strip()) for meaning, names in WORDS.items() for name in names.split(";")]


@pytest.mark.parametrize(("meaning", "name"), CASES, ids=[name for _, name in CASES])
def test_names_have_their_meaning(meaning: str, name: str) -> None:
    assert meaning_of(name) == meaning
    assert (
        meaning_of(name.upper() if name != "OpenWater" and name != "WetSand" else name) == meaning
    )


@pytest.mark.parametrize(
    "name", ["a", "class_3", "17", "watermelon", "treeless", "las", "carrot", "Unit 4", "", "land"]
)
def test_other_names_have_none(name: str) -> None:
    assert meaning_of(name) is None


def test_colours_are_those_of_the_meanings() -> None:
    specs = class_specs(["Wasser", "Wald", "x", "Schnee"])
    expected = [MEANINGS[m].colour for m in ("water", "forest")]
    assert [spec.colour for spec in specs[:2]] == expected
    assert specs[3].colour == MEANINGS["snow"].colour
    assert specs[2].colour not in {MEANINGS["water"].colour, *expected}


def test_names_without_meaning_keep_the_palette() -> None:
    assert colours_of(["a", "b", "class_7"], {}) == class_colours(3)
    assert colours_of(["a", "b"], {1: "#123456"}) == (class_colours(1)[0], "#123456")


def test_colours_that_are_given_stay_and_are_kept_apart_from() -> None:
    red = MEANINGS["urban"].colour
    specs = class_specs([{"name": "trees", "colour": red.upper()}, "urban", "water"])
    assert specs[0].colour == red
    assert distance(specs[1].colour, red)[0] >= 0.1


@pytest.mark.parametrize("title", LEGENDS)
def test_published_legends_keep_their_colours(title: str) -> None:
    legend = LEGENDS[title]
    names = [entry.name.upper() for entry in legend.values()]
    published = tuple(entry.colour for entry in legend.values())
    assert colours_of(names, {}) == published
    if min(legend) >= 10:  # small codes are those of any label raster
        assert colours_of([str(code) for code in legend], {}) == published
        assert colours_of([str(code) for code in legend], {1: "#000001"})[1] == "#000001"


@pytest.mark.parametrize("title", LEGENDS)
def test_a_legend_with_a_class_more_is_coloured_by_meaning(title: str) -> None:
    names = [*(entry.name for entry in LEGENDS[title].values()), "my own"]
    found = colours_of(names, {})
    assert len(set(found)) == len(names)
    assert min(distance(a, b)[0] for a, b in itertools.combinations(found, 2)) >= 0.049


NAMES = sorted({name for _, name in CASES} | {"a", "b", "my own"})


@given(st.lists(st.sampled_from(NAMES), min_size=2, max_size=12, unique=True))
def test_colours_of_any_names_differ(names: list[str]) -> None:
    """As rules of colours.py say: at least 0.05 for eyes that see all, 0.012 for others."""
    found = colours_of(names, {})
    assert found == colours_of(names, {})
    for a, b in itertools.combinations(found, 2):
        normal, *others = distance(a, b)
        assert normal >= 0.049, (a, b)
        assert min(others) >= 0.011, (a, b)


@given(st.lists(st.sampled_from(["water", "wood", "field", "urban", "snow"]), min_size=2,
                max_size=5, unique=True))  # fmt: skip
def test_few_usual_classes_differ_clearly(names: list[str]) -> None:
    for a, b in itertools.combinations(colours_of(names, {}), 2):
        assert distance(a, b)[0] >= 0.1


def distance(one: str, other: str) -> list[float]:
    """Return how far two colours are apart in OKLab, for three eyes."""
    from rsmeta.config.colours import _seen

    levels = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (one, other)], float)
    return [float(np.linalg.norm(view[0] - view[1])) for view in _seen(levels)]
