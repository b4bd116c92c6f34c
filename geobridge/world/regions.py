"""The countries of the planet: what makes the towns of one look unlike those of another.

Each is modelled on how a real part of the world is built (its position is there), under a name of
its own. Three of them are never trained on: they are the unseen domain of the benchmark.
"""

# Countries are tables: a row of related numbers is easier to compare than a column of single ones.
# ruff: noqa: E501
from dataclasses import dataclass
from typing import Literal

from geobridge.errors import WorldError

SIZE_M = 900.0
"""Side of a town's square."""

Colour = tuple[str, tuple[int, int, int]]
"""A word and the sRGB value that it stands for."""

Pattern = Literal["grid", "radial", "organic", "ribbon"]


@dataclass(frozen=True)
class BuildingType:
    """A kind of building and the ranges its sizes are drawn from, in metres.

    Attributes:
        name: what people call it, singular.
        frontage_m: width along the street.
        depth_m: extent away from the street.
        floors: number of storeys.
        gap_m: free width to the next building.
        setback_m: distance from the pavement.
        roofs: roof shapes to draw from: flat, gable, cross (a gable facing the street), hip, mono.
        cover: what lies on the roof: tile, metal or flat.
        facade: windows, ribbon (bands of glass), shop (glass below, windows above) or blank.
    """

    name: str
    frontage_m: tuple[float, float]
    depth_m: tuple[float, float]
    floors: tuple[int, int]
    gap_m: tuple[float, float]
    setback_m: tuple[float, float]
    roofs: tuple[str, ...]
    cover: Literal["tile", "metal", "flat"]
    facade: Literal["windows", "ribbon", "shop", "blank"]


@dataclass(frozen=True)
class Region:
    """A country. Shares are probabilities; pairs are (smallest, largest)."""

    name: str
    lat: float
    lon: float
    unseen: bool
    pattern: Pattern
    block_m: tuple[float, float]
    warp_m: float
    dropped_streets: float
    main_width_m: float
    street_width_m: float
    pavement_m: float
    paved_streets: float
    marking: Literal["white", "yellow", "none"]
    drives_left: bool
    roundabouts: float
    centre: tuple[tuple[BuildingType, float], ...]
    suburb: tuple[tuple[BuildingType, float], ...]
    centre_radius_m: float
    built_share: float
    second_row: float
    roofs: tuple[Colour, ...]
    flat_roofs: tuple[Colour, ...]
    walls: tuple[Colour, ...]
    asphalt: tuple[int, int, int]
    lawn: tuple[int, int, int]
    rough: tuple[int, int, int]
    soil: tuple[int, int, int]
    lawn_share: float
    yard_paved_share: float
    trees: tuple[tuple[str, float], ...]
    garden_trees: float
    street_trees: float
    woods: float
    fields: float
    water: tuple[tuple[str, float], ...]
    pools: float
    solar: float
    hedges: float
    boundary_walls: float
    landmarks: tuple[tuple[str, float], ...]
    railway: float
    cars: float
    overcast: float
    dry_summer: float
    hills_deg: float


def _type(
    name: str,
    frontage: tuple[float, float],
    depth: tuple[float, float],
    floors: tuple[int, int],
    gap: tuple[float, float],
    setback: tuple[float, float],
    roofs: str,
    cover: Literal["tile", "metal", "flat"],
    facade: Literal["windows", "ribbon", "shop", "blank"] = "windows",
) -> BuildingType:
    shapes = tuple(roofs.split())
    return BuildingType(name, frontage, depth, floors, gap, setback, shapes, cover, facade)


RANCH = _type(
    "detached house", (13, 20), (9, 14), (1, 2), (3, 8), (6, 11), "gable hip cross", "tile"
)
BUNGALOW = _type("bungalow", (11, 18), (10, 15), (1, 1), (3, 7), (5, 9), "hip gable flat", "tile")
COTTAGE = _type(
    "detached house", (9, 14), (8, 12), (1, 2), (4, 12), (2, 7), "gable cross hip", "tile"
)
VILLA = _type("villa", (12, 18), (10, 15), (1, 3), (6, 14), (4, 12), "hip flat gable", "tile")
ROW = _type("terraced house", (16, 42), (8, 10), (2, 3), (4, 10), (2, 5), "gable", "tile")
TERRACE = _type("terraced house", (16, 44), (8, 11), (2, 2), (3, 8), (1.5, 4), "gable", "tile")
TOWNHOUSE = _type(
    "townhouse", (7, 15), (10, 15), (2, 4), (0, 0.6), (0, 0.8), "gable flat hip", "tile"
)
SHOPHOUSE = _type(
    "shophouse", (5, 14), (12, 24), (2, 5), (0, 0.5), (0, 0.5), "flat mono gable", "metal", "shop"
)
STORE = _type("shop", (10, 24), (12, 22), (1, 3), (0, 3), (0, 2), "flat", "flat", "shop")
FLATS = _type(
    "apartment block", (18, 42), (12, 18), (4, 8), (8, 22), (4, 12), "flat", "flat", "windows"
)
STONE_FLATS = _type("apartment block", (16, 28), (14, 22), (3, 6), (4, 10), (2, 6), "flat", "flat")
LAMELLA = _type(
    "apartment block", (30, 62), (11, 14), (3, 5), (14, 30), (6, 16), "flat gable", "flat", "ribbon"
)
OFFICE = _type(
    "office block", (18, 36), (16, 30), (3, 9), (5, 14), (2, 8), "flat", "flat", "ribbon"
)
TIN = _type("house", (7, 13), (6, 11), (1, 1), (2, 7), (1, 6), "gable mono hip", "metal")
BARN = _type("barn", (14, 30), (9, 14), (1, 2), (6, 20), (6, 18), "gable", "metal", "blank")
SHED = _type(
    "workshop", (16, 40), (14, 28), (1, 2), (4, 12), (3, 9), "gable mono flat", "metal", "blank"
)

GREY = ("grey", (122, 121, 119))
DARK_GREY = ("dark grey", (84, 84, 87))
BROWN = ("brown", (112, 91, 76))
TAN = ("tan", (171, 148, 118))
RED = ("red", (146, 74, 60))
ORANGE = ("orange", (173, 99, 68))
TERRACOTTA = ("terracotta", (176, 117, 88))
WHITE = ("white", (214, 213, 208))
LIGHT_GREY = ("light grey", (176, 175, 171))
BLUE = ("blue", (84, 113, 146))
GREEN = ("green", (97, 128, 104))
RUST = ("rust-red", (132, 84, 62))
BLACK = ("black", (58, 58, 61))
SILVER = ("silver", (184, 188, 190))
BEIGE = ("beige", (199, 183, 153))

W_WHITE = ("white", (221, 218, 210))
W_CREAM = ("cream", (219, 204, 170))
W_OCHRE = ("ochre", (206, 164, 101))
W_BRICK = ("red brick", (148, 88, 70))
W_BROWN_BRICK = ("brown brick", (126, 97, 78))
W_GREY = ("grey", (163, 161, 156))
W_PINK = ("pink", (211, 168, 152))
W_BLUE = ("blue", (128, 152, 173))
W_GREEN = ("green", (140, 160, 136))
W_STONE = ("pale stone", (208, 196, 168))
W_YELLOW = ("yellow", (222, 195, 122))
W_TILE = ("white-tiled", (200, 202, 200))
W_WOOD_RED = ("red timber", (134, 66, 54))
W_MUD = ("mud-coloured", (170, 126, 92))

PRAIRIE = Region(
    name="prairie", lat=41.6, lon=-93.0, unseen=False,
    pattern="grid", block_m=(95, 165), warp_m=3, dropped_streets=0.12,
    main_width_m=15, street_width_m=9, pavement_m=2.2, paved_streets=1.0,
    marking="yellow", drives_left=False, roundabouts=0.04,
    centre=((STORE, 3), (OFFICE, 1), (FLATS, 1), (RANCH, 1)), suburb=((RANCH, 8), (FLATS, 0.3), (SHED, 0.4)),
    centre_radius_m=150, built_share=0.9, second_row=0.15,
    roofs=(GREY, DARK_GREY, BROWN, TAN, RED), flat_roofs=(LIGHT_GREY, WHITE, DARK_GREY, TAN),
    walls=(W_WHITE, W_CREAM, W_GREY, W_BLUE, W_BRICK, W_GREEN),
    asphalt=(108, 107, 106), lawn=(98, 116, 66), rough=(124, 122, 80), soil=(134, 113, 86),
    lawn_share=0.92, yard_paved_share=0.06,
    trees=(("broadleaf", 8), ("conifer", 2)), garden_trees=1.5, street_trees=0.5, woods=0.3, fields=0.3,
    water=(("none", 4), ("river", 2), ("pond", 3)), pools=0.06, solar=0.05, hedges=0.1, boundary_walls=0.1,
    landmarks=(("church", 2), ("school", 2), ("supermarket", 3), ("pitch", 3), ("car park", 3), ("park", 3),
               ("warehouse", 2), ("tennis courts", 2), ("water tower", 2), ("fuel station", 2),
               ("stadium", 1), ("mast", 1)),
    railway=0.35, cars=0.5, overcast=0.25, dry_summer=0.15, hills_deg=0.4,
)  # fmt: skip
MESA = Region(
    name="mesa", lat=33.4, lon=-111.0, unseen=False,
    pattern="grid", block_m=(85, 190), warp_m=14, dropped_streets=0.2,
    main_width_m=19, street_width_m=9.5, pavement_m=2.0, paved_streets=1.0,
    marking="yellow", drives_left=False, roundabouts=0.05,
    centre=((STORE, 4), (OFFICE, 1), (BUNGALOW, 2)), suburb=((BUNGALOW, 8), (RANCH, 3)),
    centre_radius_m=120, built_share=0.92, second_row=0.35,
    roofs=(TERRACOTTA, TAN, BEIGE, BROWN, LIGHT_GREY), flat_roofs=(WHITE, LIGHT_GREY, BEIGE),
    walls=(W_CREAM, W_STONE, W_OCHRE, W_WHITE, W_PINK),
    asphalt=(120, 117, 113), lawn=(112, 122, 72), rough=(176, 154, 122), soil=(172, 146, 116),
    lawn_share=0.25, yard_paved_share=0.15,
    trees=(("palm", 4), ("broadleaf", 4), ("shrub", 3)), garden_trees=1.0, street_trees=0.25, woods=0.0, fields=0.05,
    water=(("none", 6), ("canal", 2), ("pond", 1)), pools=0.42, solar=0.22, hedges=0.02, boundary_walls=0.6,
    landmarks=(("church", 1), ("school", 2), ("supermarket", 4), ("pitch", 2), ("car park", 4), ("park", 2),
               ("warehouse", 2), ("tennis courts", 2), ("fuel station", 3), ("playing field", 1),
               ("stadium", 1), ("mast", 1)),
    railway=0.2, cars=0.55, overcast=0.08, dry_summer=0.7, hills_deg=3.0,
)  # fmt: skip
LOWLAND = Region(
    name="lowland", lat=52.1, lon=5.0, unseen=False,
    pattern="grid", block_m=(60, 120), warp_m=10, dropped_streets=0.18,
    main_width_m=10, street_width_m=6, pavement_m=2.4, paved_streets=1.0,
    marking="white", drives_left=False, roundabouts=0.35,
    centre=((TOWNHOUSE, 5), (STORE, 2), (FLATS, 1)), suburb=((ROW, 8), (COTTAGE, 2), (LAMELLA, 1)),
    centre_radius_m=180, built_share=0.92, second_row=0.4,
    roofs=(ORANGE, RED, DARK_GREY, BROWN), flat_roofs=(GREY, DARK_GREY, LIGHT_GREY),
    walls=(W_BRICK, W_BROWN_BRICK, W_WHITE, W_BRICK, W_CREAM),
    asphalt=(112, 108, 106), lawn=(90, 117, 62), rough=(103, 118, 70), soil=(110, 93, 74),
    lawn_share=0.7, yard_paved_share=0.25,
    trees=(("broadleaf", 9), ("conifer", 1)), garden_trees=0.7, street_trees=0.6, woods=0.2, fields=0.5,
    water=(("canal", 7), ("pond", 2), ("none", 1)), pools=0.01, solar=0.3, hedges=0.5, boundary_walls=0.1,
    landmarks=(("church", 3), ("school", 2), ("supermarket", 2), ("pitch", 3), ("car park", 3), ("park", 3),
               ("warehouse", 2), ("tennis courts", 2), ("windmill", 1),
               ("stadium", 1), ("greenhouse", 2), ("mast", 1)),
    railway=0.35, cars=0.6, overcast=0.45, dry_summer=0.05, hills_deg=0.2,
)  # fmt: skip
DANUBE = Region(
    name="danube", lat=48.4, lon=15.0, unseen=False,
    pattern="ribbon", block_m=(90, 170), warp_m=30, dropped_streets=0.1,
    main_width_m=8.5, street_width_m=5.5, pavement_m=1.4, paved_streets=0.95,
    marking="white", drives_left=False, roundabouts=0.15,
    centre=((TOWNHOUSE, 3), (COTTAGE, 3), (STORE, 1)), suburb=((COTTAGE, 8), (BARN, 2), (VILLA, 2)),
    centre_radius_m=130, built_share=0.8, second_row=0.15,
    roofs=(RED, ORANGE, BROWN, DARK_GREY), flat_roofs=(GREY, LIGHT_GREY),
    walls=(W_WHITE, W_CREAM, W_YELLOW, W_OCHRE, W_GREEN, W_PINK),
    asphalt=(104, 103, 103), lawn=(96, 121, 64), rough=(112, 124, 72), soil=(126, 103, 78),
    lawn_share=0.9, yard_paved_share=0.08,
    trees=(("broadleaf", 6), ("conifer", 3), ("orchard", 2)), garden_trees=1.4, street_trees=0.1, woods=1.0, fields=2.2,
    water=(("river", 5), ("pond", 2), ("none", 3)), pools=0.1, solar=0.25, hedges=0.35, boundary_walls=0.1,
    landmarks=(("church", 4), ("school", 1), ("pitch", 3), ("car park", 1), ("park", 1), ("warehouse", 2),
               ("tennis courts", 1), ("silo", 2), ("fuel station", 1),
               ("mast", 1), ("greenhouse", 1)),
    railway=0.3, cars=0.3, overcast=0.3, dry_summer=0.1, hills_deg=2.5,
)  # fmt: skip
RIVIERA = Region(
    name="riviera", lat=44.7, lon=8.8, unseen=False,
    pattern="organic", block_m=(70, 120), warp_m=26, dropped_streets=0.25,
    main_width_m=9, street_width_m=5.5, pavement_m=1.3, paved_streets=0.95,
    marking="white", drives_left=False, roundabouts=0.25,
    centre=((TOWNHOUSE, 8), (STORE, 1), (STONE_FLATS, 1)), suburb=((VILLA, 7), (COTTAGE, 3), (FLATS, 1)),
    centre_radius_m=190, built_share=0.85, second_row=0.6,
    roofs=(TERRACOTTA, ORANGE, TAN, BROWN), flat_roofs=(BEIGE, LIGHT_GREY, WHITE),
    walls=(W_OCHRE, W_CREAM, W_PINK, W_YELLOW, W_STONE, W_WHITE),
    asphalt=(118, 115, 111), lawn=(110, 118, 68), rough=(146, 138, 95), soil=(164, 138, 104),
    lawn_share=0.5, yard_paved_share=0.2,
    trees=(("cypress", 3), ("broadleaf", 4), ("pine", 4), ("orchard", 2)), garden_trees=1.6, street_trees=0.25,
    woods=0.7, fields=0.6,
    water=(("none", 5), ("river", 3), ("pond", 1)), pools=0.3, solar=0.1, hedges=0.3, boundary_walls=0.4,
    landmarks=(("church", 4), ("school", 1), ("pitch", 2), ("car park", 3), ("park", 2), ("tennis courts", 2),
               ("square", 3), ("supermarket", 1), ("bell tower", 1),
               ("stadium", 1), ("greenhouse", 2)),
    railway=0.25, cars=0.55, overcast=0.12, dry_summer=0.55, hills_deg=4.0,
)  # fmt: skip
ALBION = Region(
    name="albion", lat=52.6, lon=-3.0, unseen=False,
    pattern="organic", block_m=(75, 140), warp_m=32, dropped_streets=0.28,
    main_width_m=9, street_width_m=6.5, pavement_m=1.9, paved_streets=1.0,
    marking="white", drives_left=True, roundabouts=0.45,
    centre=((TERRACE, 4), (STORE, 3), (TOWNHOUSE, 2)), suburb=((TERRACE, 4), (COTTAGE, 6), (LAMELLA, 0.4)),
    centre_radius_m=150, built_share=0.92, second_row=0.35,
    roofs=(DARK_GREY, GREY, BROWN, RED), flat_roofs=(GREY, DARK_GREY, LIGHT_GREY),
    walls=(W_BRICK, W_BRICK, W_BROWN_BRICK, W_CREAM, W_WHITE, W_STONE),
    asphalt=(101, 101, 102), lawn=(91, 121, 62), rough=(104, 121, 70), soil=(120, 99, 77),
    lawn_share=0.9, yard_paved_share=0.12,
    trees=(("broadleaf", 8), ("conifer", 1), ("shrub", 2)), garden_trees=1.0, street_trees=0.3, woods=0.5, fields=0.5,
    water=(("river", 3), ("canal", 2), ("pond", 2), ("none", 4)), pools=0.01, solar=0.14, hedges=0.7,
    boundary_walls=0.2,
    landmarks=(("church", 3), ("school", 2), ("pitch", 3), ("car park", 3), ("park", 3), ("supermarket", 2),
               ("tennis courts", 1), ("bowling green", 2), ("warehouse", 1), ("fuel station", 1),
               ("stadium", 1), ("mast", 1), ("greenhouse", 1)),
    railway=0.4, cars=0.75, overcast=0.5, dry_summer=0.05, hills_deg=1.2,
)  # fmt: skip
FORMOSA = Region(
    name="formosa", lat=24.0, lon=120.6, unseen=False,
    pattern="grid", block_m=(55, 105), warp_m=12, dropped_streets=0.2,
    main_width_m=15, street_width_m=6.5, pavement_m=0.8, paved_streets=1.0,
    marking="white", drives_left=False, roundabouts=0.03,
    centre=((SHOPHOUSE, 9), (FLATS, 1), (STORE, 1)), suburb=((SHOPHOUSE, 6), (SHED, 2), (TIN, 2)),
    centre_radius_m=250, built_share=0.9, second_row=1.0,
    roofs=(BLUE, GREEN, SILVER, WHITE, RED, RUST, GREY), flat_roofs=(LIGHT_GREY, GREY, WHITE, GREEN),
    walls=(W_TILE, W_GREY, W_WHITE, W_PINK, W_CREAM),
    asphalt=(88, 88, 90), lawn=(88, 108, 58), rough=(102, 112, 66), soil=(122, 103, 80),
    lawn_share=0.12, yard_paved_share=0.7,
    trees=(("broadleaf", 7), ("palm", 2)), garden_trees=0.5, street_trees=0.3, woods=0.3, fields=0.9,
    water=(("canal", 4), ("river", 2), ("none", 3)), pools=0.0, solar=0.1, hedges=0.05, boundary_walls=0.3,
    landmarks=(("temple", 4), ("school", 3), ("car park", 3), ("park", 3), ("warehouse", 3), ("sports court", 3),
               ("supermarket", 1), ("fuel station", 2),
               ("greenhouse", 2), ("mast", 1)),
    railway=0.25, cars=0.85, overcast=0.3, dry_summer=0.05, hills_deg=3.0,
)  # fmt: skip
LEVANT = Region(
    name="levant", lat=32.1, lon=35.2, unseen=False,
    pattern="radial", block_m=(75, 120), warp_m=18, dropped_streets=0.2,
    main_width_m=11, street_width_m=7.5, pavement_m=2.0, paved_streets=1.0,
    marking="white", drives_left=False, roundabouts=0.5,
    centre=((STONE_FLATS, 5), (STORE, 2), (OFFICE, 2)), suburb=((STONE_FLATS, 4), (VILLA, 5)),
    centre_radius_m=170, built_share=0.85, second_row=0.5,
    roofs=(RED, TERRACOTTA, ORANGE), flat_roofs=(WHITE, LIGHT_GREY, BEIGE, GREY),
    walls=(W_STONE, W_STONE, W_WHITE, W_CREAM),
    asphalt=(116, 114, 110), lawn=(102, 116, 68), rough=(172, 152, 118), soil=(178, 150, 112),
    lawn_share=0.3, yard_paved_share=0.35,
    trees=(("pine", 5), ("broadleaf", 3), ("cypress", 2), ("palm", 1)), garden_trees=1.0, street_trees=0.5, woods=0.7,
    fields=0.3,
    water=(("none", 8), ("pond", 1)), pools=0.08, solar=0.4, hedges=0.2, boundary_walls=0.6,
    landmarks=(("school", 2), ("pitch", 2), ("car park", 4), ("park", 3), ("supermarket", 2), ("square", 2),
               ("sports court", 2), ("water tower", 1), ("mosque", 2),
               ("stadium", 1), ("greenhouse", 1), ("mast", 1)),
    railway=0.1, cars=0.7, overcast=0.12, dry_summer=0.7, hills_deg=3.5,
)  # fmt: skip
SAVANNA = Region(
    name="savanna", lat=7.4, lon=-3.0, unseen=True,
    pattern="organic", block_m=(60, 110), warp_m=16, dropped_streets=0.2,
    main_width_m=9, street_width_m=6, pavement_m=0.6, paved_streets=0.15,
    marking="none", drives_left=False, roundabouts=0.1,
    centre=((TIN, 5), (STORE, 3)), suburb=((TIN, 9), (SHED, 0.5)),
    centre_radius_m=140, built_share=0.85, second_row=1.0,
    roofs=(RUST, SILVER, BROWN, BLUE, RUST), flat_roofs=(LIGHT_GREY, GREY),
    walls=(W_MUD, W_CREAM, W_GREY, W_YELLOW, W_BLUE),
    asphalt=(118, 106, 97), lawn=(104, 114, 60), rough=(160, 118, 82), soil=(173, 116, 78),
    lawn_share=0.1, yard_paved_share=0.02,
    trees=(("broadleaf", 6), ("palm", 3), ("shrub", 2)), garden_trees=1.1, street_trees=0.15, woods=0.4, fields=0.5,
    water=(("none", 5), ("river", 2), ("pond", 1)), pools=0.0, solar=0.02, hedges=0.05, boundary_walls=0.25,
    landmarks=(("church", 2), ("mosque", 2), ("school", 3), ("pitch", 3), ("square", 3), ("warehouse", 1),
               ("water tower", 2), ("fuel station", 1),
               ("mast", 2), ("stadium", 1)),
    railway=0.05, cars=0.2, overcast=0.2, dry_summer=0.3, hills_deg=1.0,
)  # fmt: skip
BOREAL = Region(
    name="boreal", lat=62.2, lon=27.0, unseen=True,
    pattern="organic", block_m=(110, 190), warp_m=36, dropped_streets=0.25,
    main_width_m=9, street_width_m=7, pavement_m=2.2, paved_streets=0.85,
    marking="white", drives_left=False, roundabouts=0.15,
    centre=((LAMELLA, 4), (STORE, 2), (OFFICE, 1)), suburb=((COTTAGE, 6), (LAMELLA, 2), (RANCH, 2)),
    centre_radius_m=170, built_share=0.7, second_row=0.2,
    roofs=(BLACK, DARK_GREY, RED, BROWN, GREEN), flat_roofs=(DARK_GREY, BLACK, GREY),
    walls=(W_WOOD_RED, W_YELLOW, W_WHITE, W_GREY, W_BRICK),
    asphalt=(110, 110, 111), lawn=(98, 116, 68), rough=(98, 108, 70), soil=(128, 112, 92),
    lawn_share=0.85, yard_paved_share=0.08,
    trees=(("conifer", 7), ("broadleaf", 4)), garden_trees=2.2, street_trees=0.2, woods=3.0, fields=0.2,
    water=(("pond", 5), ("river", 2), ("none", 2)), pools=0.0, solar=0.02, hedges=0.2, boundary_walls=0.0,
    landmarks=(("church", 2), ("school", 2), ("pitch", 3), ("car park", 3), ("supermarket", 2), ("park", 2),
               ("water tower", 2), ("warehouse", 1),
               ("stadium", 1), ("mast", 1)),
    railway=0.25, cars=0.4, overcast=0.4, dry_summer=0.0, hills_deg=1.2,
)  # fmt: skip
EDO = Region(
    name="edo", lat=35.8, lon=141.0, unseen=True,
    pattern="grid", block_m=(45, 80), warp_m=9, dropped_streets=0.22,
    main_width_m=10, street_width_m=5, pavement_m=0.5, paved_streets=1.0,
    marking="white", drives_left=True, roundabouts=0.0,
    centre=((FLATS, 2), (STORE, 2), (TOWNHOUSE, 3)),
    suburb=((_type("detached house", (8, 11), (8, 11), (2, 2), (1, 2.5), (1, 3), "hip gable cross", "tile"), 9),
            (FLATS, 0.5)),
    centre_radius_m=150, built_share=0.95, second_row=1.0,
    roofs=(DARK_GREY, GREY, BROWN, BLUE, RED), flat_roofs=(LIGHT_GREY, GREY, GREEN),
    walls=(W_WHITE, W_CREAM, W_GREY, W_TILE, W_PINK),
    asphalt=(104, 104, 106), lawn=(94, 112, 64), rough=(124, 120, 84), soil=(134, 115, 90),
    lawn_share=0.15, yard_paved_share=0.6,
    trees=(("broadleaf", 6), ("conifer", 2), ("shrub", 4)), garden_trees=0.6, street_trees=0.15, woods=0.3, fields=0.5,
    water=(("river", 3), ("canal", 2), ("none", 4)), pools=0.0, solar=0.15, hedges=0.3, boundary_walls=0.5,
    landmarks=(("temple", 3), ("school", 3), ("car park", 5), ("park", 3), ("tennis courts", 1), ("warehouse", 2),
               ("supermarket", 2),
               ("stadium", 1), ("mast", 1)),
    railway=0.5, cars=0.5, overcast=0.3, dry_summer=0.0, hills_deg=1.5,
)  # fmt: skip

REGIONS: dict[str, Region] = {
    region.name: region
    for region in (
        PRAIRIE,
        MESA,
        LOWLAND,
        DANUBE,
        RIVIERA,
        ALBION,
        FORMOSA,
        LEVANT,
        SAVANNA,
        BOREAL,
        EDO,
    )
}
"""Every country of the planet by its name."""


def region_named(name: str) -> Region:
    """The country called `name`.

    Raises:
        WorldError: there is none; the message lists those there are.
    """
    if name not in REGIONS:
        raise WorldError(
            f"The planet has no region {name!r}: choose one of {', '.join(sorted(REGIONS))}."
        )
    return REGIONS[name]
