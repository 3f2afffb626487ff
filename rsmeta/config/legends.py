"""Published legends of land cover: codes, names and colours.

Sources: CORINE Land Cover (Copernicus Land Monitoring Service, CLC nomenclature and RGB codes);
ESA WorldCover 2021 v200 Product User Manual; Dynamic World (Brown et al. 2022,
doi:10.1038/s41597-022-01307-4); NLCD 2021 (MRLC legend).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Entry(NamedTuple):
    """One class of a legend."""

    name: str
    colour: str


def _legend(text: str) -> dict[int, Entry]:
    entries = {}
    for line in text.strip().splitlines():
        code, colour, name = line.split(maxsplit=2)
        entries[int(code)] = Entry(name, f"#{colour}")
    return entries


_WORLDCOVER = _legend("""
10 006400 Tree cover
20 ffbb22 Shrubland
30 ffff4c Grassland
40 f096ff Cropland
50 fa0000 Built-up
60 b4b4b4 Bare / sparse vegetation
70 f0f0f0 Snow and ice
80 0064c8 Permanent water bodies
90 0096a0 Herbaceous wetland
95 00cf75 Mangroves
100 fae6a0 Moss and lichen
""")

_DYNAMIC_WORLD = _legend("""
0 419bdf Water
1 397d49 Trees
2 88b053 Grass
3 7a87c6 Flooded vegetation
4 e49635 Crops
5 dfc35a Shrub and scrub
6 c4281b Built
7 a59b8f Bare
8 b39fe1 Snow and ice
""")

_NLCD = _legend("""
11 466b9f Open Water
12 d1def8 Perennial Ice/Snow
21 dec5c5 Developed, Open Space
22 d99282 Developed, Low Intensity
23 eb0000 Developed, Medium Intensity
24 ab0000 Developed, High Intensity
31 b3ac9f Barren Land
41 68ab5f Deciduous Forest
42 1c5f2c Evergreen Forest
43 b5c58f Mixed Forest
51 af963c Dwarf Scrub
52 ccb879 Shrub/Scrub
71 dfdfc2 Grassland/Herbaceous
72 d1d182 Sedge/Herbaceous
73 a3cc51 Lichens
74 82ba9e Moss
81 dcd939 Pasture/Hay
82 ab6c28 Cultivated Crops
90 b8d9eb Woody Wetlands
95 6c9fb8 Emergent Herbaceous Wetlands
""")

_CORINE = _legend("""
111 e6004d Continuous urban fabric
112 ff0000 Discontinuous urban fabric
121 cc4df2 Industrial or commercial units
122 cc0000 Road and rail networks and associated land
123 e6cccc Port areas
124 e6cce6 Airports
131 a600cc Mineral extraction sites
132 a64d00 Dump sites
133 ff4dff Construction sites
141 ffa6ff Green urban areas
142 ffe6ff Sport and leisure facilities
211 ffffa8 Non-irrigated arable land
212 ffff00 Permanently irrigated land
213 e6e600 Rice fields
221 e68000 Vineyards
222 f2a64d Fruit trees and berry plantations
223 e6a600 Olive groves
231 e6e64d Pastures
241 ffe6a6 Annual crops associated with permanent crops
242 ffe64d Complex cultivation patterns
243 e6cc4d Land principally occupied by agriculture with significant areas of natural vegetation
244 f2cca6 Agro-forestry areas
311 80ff00 Broad-leaved forest
312 00a600 Coniferous forest
313 4dff00 Mixed forest
321 ccf24d Natural grasslands
322 a6ff80 Moors and heathland
323 a6e64d Sclerophyllous vegetation
324 a6f200 Transitional woodland-shrub
331 e6e6e6 Beaches, dunes, sands
332 cccccc Bare rocks
333 ccffcc Sparsely vegetated areas
334 000000 Burnt areas
335 a6e6cc Glaciers and perpetual snow
411 a6a6ff Inland marshes
412 4d4dff Peat bogs
421 ccccff Salt marshes
422 e6e6ff Salines
423 a6a6e6 Intertidal flats
511 00ccf2 Water courses
512 80f2e6 Water bodies
521 00ffa6 Coastal lagoons
522 a6ffe6 Estuaries
523 e6f2ff Sea and ocean
""")

LEGENDS: Mapping[str, Mapping[int, Entry]] = {
    "CORINE Land Cover": _CORINE,
    "ESA WorldCover": _WORLDCOVER,
    "NLCD": _NLCD,
    "Dynamic World": _DYNAMIC_WORLD,
}

#: Codes, or names, of a legend that must occur before a list is taken for it; small numbers such
#: as those of Dynamic World are those of any label raster, and a few names those of any map.
_FEWEST_CODES, _SMALLEST_CODE = 3, 10
_FEWEST_NAMES = 5


def legend_of_codes(codes: Sequence[int]) -> str | None:
    """Return the legend that a list of codes belongs to, if one has all of them."""
    own = {*codes}
    for name, legend in LEGENDS.items():
        if len(own) >= _FEWEST_CODES and min(own) >= _SMALLEST_CODE and own <= legend.keys():
            return name
    return None


def legend_of_names(names: Sequence[str]) -> str | None:
    """Return the legend that has all of some names, in any capitals and punctuation."""
    keys = {name_key(name) for name in names}
    for title, legend in LEGENDS.items():
        known = {name_key(entry.name) for entry in legend.values()}
        if len(keys) >= _FEWEST_NAMES and keys <= known:
            return title
    return None


def colour_of(legend: str, name: str) -> str:
    """Return the colour that a legend gives to a class."""
    return next(e.colour for e in LEGENDS[legend].values() if name_key(e.name) == name_key(name))


def name_key(name: str) -> str:
    """Return a name as it is compared: letters and digits in lower case."""
    return "".join(c for c in name.casefold() if c.isalnum())
