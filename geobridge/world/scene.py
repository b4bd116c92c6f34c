"""Towns as things: what stands where, before anything is drawn.

`lay_out` fills a square with streets, water, lots, buildings, greenery and landmarks. Whatever is
drawn comes from these lists, and so does every word of a description.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from geobridge.world import kernels as k
from geobridge.world.dates import DATES
from geobridge.world.regions import SIZE_M, BuildingType, Colour, Region
from geobridge.world.roads import Network, Road, street_network
from geobridge.world.seeds import generator

CAR_COLOURS = (
    (205, 205, 203),
    (178, 180, 182),
    (52, 53, 56),
    (86, 88, 92),
    (128, 130, 133),
    (120, 42, 40),
    (52, 70, 104),
    (222, 222, 220),
    (70, 84, 76),
    (150, 134, 110),
)


@dataclass(frozen=True)
class Box:
    """An oriented rectangle: centre, unit vector `u` along its front, half extents.

    The other axis is `u` turned a quarter to the left; a building's front looks the other way,
    to the street.
    """

    x: float
    y: float
    ux: float
    uy: float
    half_width_m: float
    half_depth_m: float

    def point(self, along: float, away: float) -> tuple[float, float]:
        """Position of local coordinates (metres along the front, metres away from it)."""
        return (
            self.x + along * self.ux - away * self.uy,
            self.y + along * self.uy + away * self.ux,
        )

    def part(self, along: float, away: float, half_width: float, half_depth: float) -> "Box":
        """A smaller box with the same orientation, centred on local coordinates."""
        x, y = self.point(along, away)
        return Box(x, y, self.ux, self.uy, half_width, half_depth)


@dataclass(frozen=True)
class Building:
    """Something with walls and a roof.

    Attributes:
        number: row of the owners' table, from 1.
        kind: what it is ("detached house", "church", ...).
        box: its footprint.
        eave_m: height of the walls.
        rise_m: how far the roof rises above them.
        roof: shape, a constant of `kernels`.
        cover: material of the roof, a constant of `kernels`.
        roof_colour, wall_colour: words with their colours.
        facade: windows, ribbon, shop, blank or banded.
        dates: the dates it stands on; None for always. Only those are ever described.
        landmark: whether people would name it.
    """

    number: int
    kind: str
    box: Box
    eave_m: float
    rise_m: float
    roof: int
    cover: int
    roof_colour: Colour
    wall_colour: Colour
    facade: str
    dates: frozenset[int] | None = None
    landmark: bool = False


@dataclass(frozen=True)
class Area:
    """Ground of one use: a park, a pitch, a pond, a field, a pool..."""

    kind: str
    box: Box
    colour: tuple[int, int, int]
    number: int = 0
    wobble: float = 0.0


@dataclass(frozen=True)
class Band:
    """A line with a width: river, canal, railway."""

    kind: str
    points: np.ndarray
    half_width_m: float


@dataclass(frozen=True)
class Strip:
    """A thin upright or painted thing: hedge, wall, parapet, post, path, drive."""

    kind: str
    box: Box
    top_m: float
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Plate:
    """A thin thing that floats: the board of a sign, the jib of a crane.

    Attributes:
        x, y: what carries it.
        ux, uy: unit vector along it.
        length_m: its length.
        back_m: how much of that lies behind what carries it.
        base_m, top_m: heights of its lower and upper edge, up to 25 m.
        colour: row of `kernels.PLATE_COLOURS`.
    """

    x: float
    y: float
    ux: float
    uy: float
    length_m: float
    back_m: float
    base_m: float
    top_m: float
    colour: int


@dataclass
class Scene:
    """Everything in a town; `trees` is (N, 6): x, y, radius, height, kind, tint."""

    region: Region
    network: Network
    buildings: list[Building] = field(default_factory=list)
    areas: list[Area] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)
    yards: list[Area] = field(default_factory=list)
    solar: list[tuple[Box, Building]] = field(default_factory=list)
    trees: np.ndarray = field(default_factory=lambda: np.zeros((0, 6)))
    parking: list[Box] = field(default_factory=list)
    driving: list[Box] = field(default_factory=list)
    islands: list[tuple[float, float, float]] = field(default_factory=list)
    signs: list[Plate] = field(default_factory=list)
    jibs: list[tuple[Plate, frozenset[int]]] = field(default_factory=list)

    @cached_property
    def landmark_kinds(self) -> set[str]:
        """Kinds of buildings that are told one by one, and never counted among the houses."""
        return {building.kind for building in self.buildings if building.landmark}

    @cached_property
    def _centers(self) -> np.ndarray:
        return np.array([(building.box.x, building.box.y) for building in self.buildings])

    def buildings_near(self, x: float, y: float, radius_m: float) -> list[Building]:
        """Buildings whose centre lies in the square of half side `radius_m` around a point."""
        if not self.buildings:
            return []
        inside = np.abs(self._centers - (x, y)).max(axis=1) < radius_m
        return [self.buildings[i] for i in np.flatnonzero(inside)]


_ROOFS = {"flat": k.FLAT, "gable": k.GABLE, "cross": k.CROSS, "hip": k.HIP, "mono": k.MONO}
_COVERS = {"tile": k.ROOF_TILE, "metal": k.ROOF_METAL, "flat": k.ROOF_FLAT}
_CROWNS = {
    "broadleaf": (k.BROADLEAF, (2.0, 4.6), (6, 13)),
    "conifer": (k.CONIFER, (1.8, 3.0), (9, 18)),
    "palm": (k.PALM, (1.8, 2.6), (6, 12)),
    "cypress": (k.CYPRESS, (0.9, 1.4), (7, 13)),
    "pine": (k.PINE, (2.6, 4.6), (7, 13)),
    "shrub": (k.SHRUB, (0.8, 1.7), (1.2, 2.6)),
    "orchard": (k.ORCHARD, (1.5, 2.2), (3, 4.2)),
}


class _Builder:
    """Lays out one town; the steps run in the order in which they may claim ground."""

    def __init__(self, region: Region, rng: np.random.Generator) -> None:
        self.region = region
        self.rng = rng
        self.cells = int(SIZE_M / k.CELL_M)
        self.flags = np.zeros((self.cells, self.cells), np.uint8)
        self.scene = Scene(region, street_network(region, rng, SIZE_M / 2))
        self.tree_rows: list[tuple[float, float, float, float, int, float]] = []
        # A town prefers some colours of its country, its quarters among those.
        self.roofs = self._subset(region.roofs, 4)
        self.flat_roofs = self._subset(region.flat_roofs, 3)
        self.walls = self._subset(region.walls, 5)
        self.quarters = [
            (rng.uniform(-SIZE_M / 2, SIZE_M / 2, 2), int(rng.integers(0, 99))) for _ in range(9)
        ]
        self.centre = rng.uniform(-120, 120, 2)

    def _subset(self, colours: tuple[Colour, ...], most: int) -> tuple[Colour, ...]:
        order = self.rng.permutation(len(colours))[: min(most, len(colours))]
        return tuple(colours[i] for i in order)

    def _dummy(self) -> tuple[np.ndarray, ...]:
        """Rasters that the paint kernels write to while only the flags matter here."""
        if not hasattr(self, "_scratch"):
            shape = self.flags.shape
            self._scratch = (
                np.zeros(shape, np.uint16),
                np.zeros(shape, np.uint8),
                np.zeros((*shape, 3), np.uint8),
                np.zeros(shape, np.uint16),
            )
        return self._scratch

    def claim(self, box: Box, flag: int, only_free: bool = False) -> None:
        height, material, colour, owner = self._dummy()
        k.paint_rect(
            height,
            material,
            colour,
            owner,
            self.flags,
            box.x,
            box.y,
            box.ux,
            box.uy,
            box.half_width_m,
            box.half_depth_m,
            -1,
            0,
            0,
            0,
            -1.0,
            k.FLAT,
            0.0,
            -1,
            flag,
            only_free,
        )

    def claim_line(self, points: np.ndarray, half_width: float, flag: int) -> None:
        height, material, colour, _ = self._dummy()
        k.paint_line(
            height,
            material,
            colour,
            self.flags,
            points,
            half_width,
            -1,
            0,
            0,
            0,
            0.0,
            -1.0,
            flag,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            False,
        )

    def free(self, box: Box, margin: float = 0.0, yards: bool = False) -> bool:
        return bool(
            k.rect_is_free(
                self.flags,
                box.x,
                box.y,
                box.ux,
                box.uy,
                box.half_width_m + margin,
                box.half_depth_m + margin,
                yards,
            )
        )

    def colour(self, colours: tuple[Colour, ...], x: float, y: float) -> Colour:
        """A colour that is likelier the one its quarter prefers, with a tone of its own."""
        nearest = min(self.quarters, key=lambda q: (q[0][0] - x) ** 2 + (q[0][1] - y) ** 2)
        pick = nearest[1] if self.rng.random() < 0.45 else int(self.rng.integers(0, 99))
        word, rgb = colours[pick % len(colours)]
        tone = self.rng.uniform(0.88, 1.1)
        tint = self.rng.uniform(-6, 6, 3)
        r, g, b = (int(min(240, max(20, c * tone + t))) for c, t in zip(rgb, tint, strict=True))
        return word, (r, g, b)

    # -- water, rails, streets ---------------------------------------------------------------

    def water(self) -> None:
        kinds, weights = zip(*self.region.water, strict=True)
        kind = str(self.rng.choice(kinds, p=np.array(weights) / sum(weights)))
        if kind in ("river", "canal"):
            turn = self.rng.uniform(0, math.pi)
            away = self.rng.uniform(-220, 220)
            along = np.arange(-720, 721, 12.0)
            bend = 0.0 if kind == "canal" else self.rng.uniform(15, 45)
            wave = away + bend * np.sin(along / self.rng.uniform(90, 170) + self.rng.uniform(0, 6))
            points = np.stack(
                [
                    along * math.cos(turn) - wave * math.sin(turn),
                    along * math.sin(turn) + wave * math.cos(turn),
                ],
                axis=1,
            )
            half_width = self.rng.uniform(5, 9) if kind == "canal" else self.rng.uniform(8, 22)
            self.scene.bands.append(Band(kind, points, float(half_width)))
            self.claim_line(points, half_width + 3, k.WET)
        ponds = int(self.rng.integers(1, 4)) if kind == "pond" else int(self.rng.random() < 0.25)
        for _ in range(ponds):
            x, y = self.rng.uniform(-SIZE_M / 2.6, SIZE_M / 2.6, 2)
            rx, ry = self.rng.uniform(14, 42, 2)
            box = Box(float(x), float(y), 1.0, 0.0, float(rx), float(ry))
            if not self.free(box, 4):
                continue
            self.scene.areas.append(
                Area("pond", box, self._water_colour(), wobble=float(self.rng.uniform(0.04, 0.13)))
            )
            self.claim(box.part(0, 0, rx * 1.15, ry * 1.15), k.WET)

    def _water_colour(self) -> tuple[int, int, int]:
        tone = self.rng.uniform(0.8, 1.15)
        return int(62 * tone), int(80 * tone), int(78 * tone)

    def railway(self) -> None:
        if self.rng.random() > self.region.railway:
            return
        turn, away = self.rng.uniform(0, math.pi), self.rng.uniform(-260, 260)
        along = np.arange(-720, 721, 12.0)
        wave = away + 25 * np.sin(along / 260)
        points = np.stack(
            [
                along * math.cos(turn) - wave * math.sin(turn),
                along * math.sin(turn) + wave * math.cos(turn),
            ],
            axis=1,
        )
        self.scene.bands.append(Band("railway", points, 4.5))

    def roads(self) -> None:
        """Streets end at water unless a bridge is likely; what is left claims its ground."""
        kept: list[Road] = []
        for road in self.scene.network.roads:
            half = SIZE_M / 2
            cols = np.clip(((road.points[:, 0] + half) / k.CELL_M).astype(int), 0, self.cells - 1)
            rows = np.clip(((half - road.points[:, 1]) / k.CELL_M).astype(int), 0, self.cells - 1)
            wet = self.flags[rows, cols] == k.WET
            inside = (np.abs(road.points) < half).all(axis=1)
            wet &= inside
            if wet.any():
                if road.kind != "main road" and self.rng.random() > 0.3:
                    continue
                self._parapets(road, wet)
            kept.append(
                Road(len(kept), road.kind, road.points, road.half_width_m, road.paved, road.nodes)
            )
        self.scene.network.roads = kept
        for band in self.scene.bands:
            if band.kind == "railway":
                self.claim_line(band.points, band.half_width_m + 3, k.RESERVED)
        for road in kept:
            extra = self.region.pavement_m if road.kind != "lane" else 0.5
            self.claim_line(road.points, road.half_width_m + extra, k.ROAD)
        for node in sorted(self.scene.network.roundabouts):
            meeting = self.scene.network.meeting(node)
            if len(meeting) < 3:
                self.scene.network.roundabouts.discard(node)
                continue
            x, y = self.scene.network.nodes[node]
            widest = max(road.half_width_m for road in meeting)
            radius = float(widest + self.rng.uniform(5, 10))
            self.scene.islands.append((x, y, radius))
            box = Box(x, y, 1.0, 0.0, radius + 2, radius + 2)
            self.claim(box, k.ROAD)

    def _parapets(self, road: Road, wet: np.ndarray) -> None:
        """Low walls along both sides of a road where it crosses water."""
        away = road.half_width_m + (self.region.pavement_m if road.kind != "lane" else 0.5) + 0.3
        for i in np.flatnonzero(wet).tolist():
            a, b = road.points[max(0, i - 1)], road.points[min(len(road.points) - 1, i + 1)]
            length = math.hypot(float(b[0] - a[0]), float(b[1] - a[1]))
            dx, dy = float(b[0] - a[0]) / length, float(b[1] - a[1]) / length
            x, y = float(road.points[i, 0]), float(road.points[i, 1])
            for side in (-1, 1):
                wall = Box(x + side * dy * away, y - side * dx * away, dx, dy, 4.2, 0.3)
                self.scene.strips.append(Strip("parapet", wall, 1.1, (150, 146, 138)))

    # -- lots along the streets --------------------------------------------------------------

    def frontage(
        self, road: Road, station: float, side: int, width: float, depth: float, setback: float
    ) -> Box:
        """The box of a lot whose front lies `setback` behind the pavement of a street's side."""
        x, y, dx, dy = road.at(station)
        # Right of the direction of travel is (dy, -dx); the lot's u keeps the street on its front.
        ux, uy = (dx, dy) if side > 0 else (-dx, -dy)
        pavement = self.region.pavement_m if road.kind != "lane" else 0.5
        away = road.half_width_m + pavement + setback + depth / 2
        return Box(x - uy * away, y + ux * away, ux, uy, width / 2, depth / 2)

    def add_building(
        self,
        kind: str,
        box: Box,
        eave: float,
        rise: float,
        roof: int,
        cover: int,
        facade: str,
        roof_colour: Colour | None = None,
        wall_colour: Colour | None = None,
        landmark: bool = False,
        dates: frozenset[int] | None = None,
    ) -> Building:
        palette = self.flat_roofs if cover == k.ROOF_FLAT else self.roofs
        building = Building(
            number=len(self.scene.buildings) + 1,
            kind=kind,
            box=box,
            eave_m=float(eave),
            rise_m=float(rise),
            roof=roof,
            cover=cover,
            roof_colour=roof_colour or self.colour(palette, box.x, box.y),
            wall_colour=wall_colour or self.colour(self.walls, box.x, box.y),
            facade=facade,
            dates=dates,
            landmark=landmark,
        )
        self.scene.buildings.append(building)
        self.claim(box, k.BUILDING)
        return building

    def area(self, kind: str, box: Box, colour: tuple[int, int, int]) -> None:
        self.scene.areas.append(Area(kind, box, colour))

    def landmarks(self) -> None:
        kinds, weights = zip(*self.region.landmarks, strict=True)
        share = np.array(weights) / sum(weights)
        roads = [road for road in self.scene.network.roads if road.kind != "lane"]
        if not roads:
            return
        for _ in range(int(self.rng.integers(34, 46))):
            kind = str(self.rng.choice(kinds, p=share))
            width, depth = LOTS[kind]
            width *= float(self.rng.uniform(0.7, 1.1))
            depth *= float(self.rng.uniform(0.7, 1.1))
            for _attempt in range(60):
                road = roads[int(self.rng.integers(len(roads)))]
                if road.length_m < 30:
                    continue
                station = float(self.rng.uniform(10, road.length_m - 10))
                lot = self.frontage(road, station, int(self.rng.choice([-1, 1])), width, depth, 1.5)
                if self.free(lot):
                    self.claim(lot, k.RESERVED)
                    getattr(self, "_" + kind.replace(" ", "_"))(lot)
                    break

    def _paved(self, lot: Box, kind: str | None = None) -> None:
        tone = self.rng.uniform(0.9, 1.12)
        r, g, b = (int(c * tone) for c in self.region.asphalt)
        self.area(kind or "yard", lot, (r, g, b))

    def _lawn(self, lot: Box, kind: str = "lawn") -> None:
        self.area(kind, lot, self._tinted(self.region.lawn, 0.1))

    def _tinted(self, rgb: tuple[int, int, int], spread: float) -> tuple[int, int, int]:
        tone = self.rng.uniform(1 - spread, 1 + spread)
        r, g, b = (int(min(245, c * tone)) for c in rgb)
        return r, g, b

    def _plant(self, box: Box, count: int, inset: float = 2.0) -> None:
        for _ in range(count):
            x, y = box.point(
                float(self.rng.uniform(-1, 1)) * max(0.0, box.half_width_m - inset),
                float(self.rng.uniform(-1, 1)) * max(0.0, box.half_depth_m - inset),
            )
            self.tree(x, y)

    def _rows_of_cars(self, lot: Box) -> None:
        """Bays 2.6 m wide in double rows across a lot."""
        away = -lot.half_depth_m + 4
        while away < lot.half_depth_m - 3:
            along = -lot.half_width_m + 2.5
            while along < lot.half_width_m - 2:
                x, y = lot.point(along, away)
                self.scene.parking.append(Box(x, y, -lot.uy, lot.ux, 2.2, 0.9))
                along += 2.7
            away += 5.4 if (int(away) // 5) % 2 else 11.0

    def _church(self, lot: Box) -> None:
        self._lawn(lot, "churchyard")
        wall = self.colour(self.walls, lot.x, lot.y)
        roof = self.colour(self.roofs, lot.x, lot.y)
        nave = lot.part(0, 4, 5.5, 11)
        self.add_building("church", nave, 8, 6, k.CROSS, k.ROOF_TILE, "windows", roof, wall, True)
        tower = lot.part(0, -9.5, 2.8, 2.8)
        height = float(self.rng.uniform(16, 24))
        self.add_building(
            "church tower", tower, height, 7, k.SPIRE, k.ROOF_TILE, "blank", roof, wall, False
        )
        self._plant(lot, 6)

    def _bell_tower(self, lot: Box) -> None:
        self.area("square", lot, self._tinted((176, 166, 148), 0.08))
        height = float(self.rng.uniform(22, 30))
        self.add_building(
            "bell tower",
            lot.part(0, 0, 3, 3),
            height,
            4,
            k.SPIRE,
            k.ROOF_TILE,
            "blank",
            landmark=True,
        )

    def _mosque(self, lot: Box) -> None:
        self.area("square", lot, self._tinted((182, 172, 152), 0.08))
        wall = self.colour(self.walls, lot.x, lot.y)
        hall = lot.part(0, 0, 9, 9)
        dome: Colour = (
            ("green", (88, 122, 98)) if self.rng.random() < 0.5 else ("grey", (150, 152, 154))
        )
        self.add_building(
            "mosque",
            hall,
            8,
            0,
            k.FLAT,
            k.ROOF_FLAT,
            "windows",
            ("pale", (196, 190, 176)),
            wall,
            False,
        )
        self.add_building(
            "mosque",
            lot.part(0, 0, 5.5, 5.5),
            9.5,
            5,
            k.DOME,
            k.ROOF_METAL,
            "blank",
            dome,
            wall,
            True,
        )
        self.add_building(
            "minaret",
            lot.part(11, -9, 1.3, 1.3),
            22,
            4,
            k.SPIRE,
            k.ROOF_METAL,
            "blank",
            dome,
            wall,
            False,
        )

    def _temple(self, lot: Box) -> None:
        self.area("square", lot, self._tinted((170, 164, 152), 0.08))
        roof: Colour = (
            ("orange", (186, 104, 58))
            if self.region.name == "formosa"
            else ("dark grey", (72, 74, 78))
        )
        wall: Colour = (
            ("red", (150, 66, 52))
            if self.region.name == "formosa"
            else ("dark timber", (98, 78, 62))
        )
        self.add_building(
            "temple", lot.part(0, 5, 9, 6), 6, 4.5, k.HIP, k.ROOF_TILE, "blank", roof, wall, True
        )
        self.add_building(
            "temple gate",
            lot.part(0, -9, 5, 2),
            4.5,
            2,
            k.GABLE,
            k.ROOF_TILE,
            "blank",
            roof,
            wall,
            False,
        )
        self._plant(lot, 5)

    def _school(self, lot: Box) -> None:
        self._paved(lot)
        wall = self.colour(self.walls, lot.x, lot.y)
        roof = self.colour(self.flat_roofs, lot.x, lot.y)
        w, d = lot.half_width_m, lot.half_depth_m
        eave = float(self.rng.uniform(7, 12))
        self.add_building(
            "school",
            lot.part(0, -d + 9, w - 3, 6),
            eave,
            0,
            k.FLAT,
            k.ROOF_FLAT,
            "ribbon",
            roof,
            wall,
            True,
        )
        self.add_building(
            "school",
            lot.part(-w + 9, 0, 6, d - 18),
            eave,
            0,
            k.FLAT,
            k.ROOF_FLAT,
            "ribbon",
            roof,
            wall,
            False,
        )
        field_box = lot.part(8, 6, w - 12, d - 16)
        if self.rng.random() < 0.5:
            self.area("running track", field_box, (158, 92, 74))
            self.area(
                "pitch",
                field_box.part(0, 0, field_box.half_width_m - 6, field_box.half_depth_m - 6),
                self.region.lawn,
            )
        else:
            self._lawn(field_box, "playing field")
        self._plant(lot.part(0, d - 3, w, 2), 6)

    def _supermarket(self, lot: Box) -> None:
        self._paved(lot, "car park")
        w, d = lot.half_width_m, lot.half_depth_m
        box = lot.part(0, d * 0.5, w - 3, d * 0.45)
        self.add_building(
            "supermarket",
            box,
            float(self.rng.uniform(6, 9)),
            0,
            k.FLAT,
            k.ROOF_FLAT,
            "shop",
            landmark=True,
        )
        self._rows_of_cars(lot.part(0, -d * 0.45, w - 3, d * 0.4))

    def _warehouse(self, lot: Box) -> None:
        self._paved(lot)
        w, d = lot.half_width_m, lot.half_depth_m
        colour = self.colour(self.roofs + self.flat_roofs, lot.x, lot.y)
        box = lot.part(0, 4, w - 4, d - 8)
        roof = k.GABLE if self.rng.random() < 0.6 else k.FLAT
        cover = k.ROOF_METAL if roof == k.GABLE else k.ROOF_FLAT
        rise = 2.5 if roof == k.GABLE else 0
        self.add_building(
            "warehouse",
            box,
            float(self.rng.uniform(6, 11)),
            rise,
            roof,
            cover,
            "blank",
            colour,
            landmark=True,
        )
        self._rows_of_cars(lot.part(0, -d + 4, w - 3, 3.5))

    def _car_park(self, lot: Box) -> None:
        self._paved(lot, "car park")
        self._rows_of_cars(lot.part(0, 0, lot.half_width_m - 1, lot.half_depth_m - 1))
        if self.rng.random() < 0.6:
            self._plant(lot, int(self.rng.integers(2, 9)))

    def _park(self, lot: Box) -> None:
        self._lawn(lot, "park")
        w, d = lot.half_width_m, lot.half_depth_m
        path = (184, 172, 150)
        self.scene.strips.append(Strip("path", lot.part(0, 0, w, 1.3), 0, path))
        self.scene.strips.append(Strip("path", lot.part(0, 0, 1.3, d), 0, path))
        if self.rng.random() < 0.4:
            rx = float(self.rng.uniform(7, min(w, d) * 0.5))
            pond = Area(
                "pond", lot.part(w * 0.4, d * 0.4, rx, rx * 0.8), self._water_colour(), wobble=0.08
            )
            self.scene.areas.append(pond)
            self.claim(pond.box, k.WET)
        self._plant(lot, int(self.rng.integers(10, 34)))

    def _pitch(self, lot: Box) -> None:
        self._lawn(lot, "pitch surround")
        self.area(
            "pitch",
            lot.part(0, 0, lot.half_width_m - 4, lot.half_depth_m - 4),
            self._tinted((92, 128, 62), 0.08),
        )

    def _playing_field(self, lot: Box) -> None:
        self._lawn(lot, "playing field")

    def _bowling_green(self, lot: Box) -> None:
        self._lawn(lot, "lawn")
        self.area(
            "bowling green",
            lot.part(0, 0, lot.half_width_m - 4, lot.half_depth_m - 4),
            (104, 142, 72),
        )

    def _tennis_courts(self, lot: Box) -> None:
        self._lawn(lot, "lawn")
        colour = [(86, 116, 138), (150, 88, 66), (84, 122, 92)][int(self.rng.integers(3))]
        self.area(
            "tennis court",
            lot.part(-lot.half_width_m / 2, 0, lot.half_width_m / 2 - 1.5, lot.half_depth_m - 2),
            colour,
        )
        self.area(
            "tennis court",
            lot.part(lot.half_width_m / 2, 0, lot.half_width_m / 2 - 1.5, lot.half_depth_m - 2),
            colour,
        )

    def _sports_court(self, lot: Box) -> None:
        self._paved(lot)
        colour = [(70, 112, 96), (160, 84, 66), (84, 110, 140)][int(self.rng.integers(3))]
        self.area(
            "sports court", lot.part(0, 0, lot.half_width_m - 2, lot.half_depth_m - 2), colour
        )

    def _square(self, lot: Box) -> None:
        self.area("square", lot, self._tinted((172, 164, 150), 0.1))
        if self.rng.random() < 0.6:
            self.area("fountain", lot.part(0, 0, 2.5, 2.5), (110, 140, 148))
        self._plant(lot, int(self.rng.integers(3, 10)))

    def _water_tower(self, lot: Box) -> None:
        self._lawn(lot)
        height = float(self.rng.uniform(18, 26))
        self.add_building(
            "water tower",
            lot.part(0, 0, 4, 4),
            height,
            3,
            k.DOME,
            k.ROOF_METAL,
            "blank",
            ("white", (206, 206, 204)),
            ("white", (204, 204, 202)),
            True,
        )

    def _silo(self, lot: Box) -> None:
        self._paved(lot)
        for along in (-6, 0.5, 7):
            self.add_building(
                "silo",
                lot.part(along, 2, 3, 3),
                13,
                2.5,
                k.DOME,
                k.ROOF_METAL,
                "blank",
                ("silver", (188, 190, 192)),
                ("silver", (186, 188, 190)),
                along == 0.5,
            )

    def _windmill(self, lot: Box) -> None:
        self._lawn(lot)
        self.add_building(
            "windmill",
            lot.part(0, 0, 4, 4),
            13,
            5,
            k.DOME,
            k.ROOF_TILE,
            "windows",
            ("brown", (96, 78, 62)),
            ("red brick", (142, 88, 70)),
            True,
        )

    def _fuel_station(self, lot: Box) -> None:
        self._paved(lot)
        self.add_building(
            "fuel station", lot.part(0, 5, 8, 4), 4, 0, k.FLAT, k.ROOF_FLAT, "shop", landmark=True
        )
        canopy: Colour = [
            ("red", (170, 60, 50)),
            ("white", (220, 220, 218)),
            ("blue", (60, 92, 150)),
            ("green", (70, 124, 84)),
        ][int(self.rng.integers(4))]
        self.add_building(
            "fuel canopy",
            lot.part(0, -6, 8, 4),
            5,
            0,
            k.FLAT,
            k.ROOF_METAL,
            "blank",
            canopy,
            ("white", (215, 215, 213)),
            False,
        )

    def _stadium(self, lot: Box) -> None:
        """A pitch between four stands that rise away from it."""
        self._lawn(lot, "pitch surround")
        w, d = lot.half_width_m, lot.half_depth_m
        self.area("pitch", lot.part(0, 0, w - 14, d - 14), self._tinted((92, 128, 62), 0.08))
        roof = self.colour(self.flat_roofs, lot.x, lot.y)
        wall = self.colour(self.walls, lot.x, lot.y)
        for along, away, half_width, turn in (
            (0, d - 5.5, w - 12, 0),
            (0, 5.5 - d, w - 12, 2),
            (w - 5.5, 0, d - 12, 3),
            (5.5 - w, 0, d - 12, 1),
        ):
            x, y = lot.point(along, away)
            ux, uy = ((lot.ux, lot.uy), (-lot.uy, lot.ux), (-lot.ux, -lot.uy), (lot.uy, -lot.ux))[
                turn
            ]
            stand = Box(x, y, ux, uy, half_width, 5.5)
            self.add_building(
                "stadium", stand, 4, 8, k.MONO, k.ROOF_METAL, "ribbon", roof, wall, turn == 0
            )

    def _greenhouse(self, lot: Box) -> None:
        """Long glass roofs side by side."""
        self.area("bare yard", lot, self._tinted(self.region.soil, 0.1))
        glass: Colour = ("glass", (190, 208, 206))
        count = max(2, int(lot.half_width_m * 2 / 9))
        width = lot.half_width_m / count
        for i in range(count):
            bay = lot.part(-lot.half_width_m + (2 * i + 1) * width, 0, width, lot.half_depth_m - 3)
            self.add_building(
                "greenhouse",
                bay,
                3.2,
                1.6,
                k.CROSS,
                k.ROOF_METAL,
                "blank",
                glass,
                glass,
                i == count // 2,
            )

    def _mast(self, lot: Box) -> None:
        self._lawn(lot)
        height = float(self.rng.uniform(26, 44))
        self.add_building(
            "mast",
            lot.part(0, 0, 0.9, 0.9),
            height,
            3,
            k.SPIRE,
            k.ROOF_METAL,
            "banded",
            ("white", (214, 210, 206)),
            ("red and white", (206, 130, 120)),
            True,
        )

    def building_sites(self) -> None:
        """Where a house is built: bare ground and a crane on some dates, the house on later ones.

        A crane is gone when the house stands; nothing of either is ever described.
        """
        rng = self.rng
        roads = [road for road in self.scene.network.roads if road.length_m > 40]
        for _ in range(int(rng.integers(1, 4)) if roads else 0):
            for _attempt in range(40):
                road = roads[int(rng.integers(len(roads)))]
                station = float(rng.uniform(16, road.length_m - 16))
                lot = self.frontage(road, station, int(rng.choice([-1, 1])), 32, 30, 1.5)
                if self.free(lot):
                    self._site(lot)
                    break

    def _site(self, lot: Box) -> None:
        rng = self.rng
        self.claim(lot, k.RESERVED)
        self.area("bare yard", lot, self._tinted(self.region.soil, 0.1))
        ready = int(rng.integers(2, 7))
        building = lot.part(-3, 2, 10, 8)
        eave = 3.0 * int(rng.integers(3, 6)) + 0.3
        after = frozenset(range(ready, DATES))
        self.add_building(
            "apartment block", building, eave, 0, k.FLAT, k.ROOF_FLAT, "windows", dates=after
        )
        before = frozenset(range(ready))
        yellow: Colour = ("yellow", (222, 178, 44))
        mast = lot.part(11, 4, 0.8, 0.8)
        self.add_building(
            "crane", mast, 24.5, 0.5, k.SPIRE, k.ROOF_METAL, "blank", yellow, yellow, dates=before
        )
        angle = float(rng.uniform(0, 2 * math.pi))
        jib = Plate(mast.x, mast.y, math.cos(angle), math.sin(angle), 32.0, 8.0, 23.2, 24.6, 3)
        self.scene.jibs.append((jib, before))

    def houses(self) -> None:
        for road in self.scene.network.roads:
            ends = [
                max(r.half_width_m for r in self.scene.network.meeting(node)) + 2
                for node in road.nodes
            ]
            for side in (-1, 1):
                station = ends[0]
                while station < road.length_m - ends[1] - 6:
                    station = self._house(road, station, side, road.length_m - ends[1])

    def _house(self, road: Road, station: float, side: int, last: float) -> float:
        """Try one lot from `station`; returns where the next may begin."""
        rng, region = self.rng, self.region
        x, y, _, _ = road.at(station)
        if max(abs(x), abs(y)) > SIZE_M / 2 + 10:
            return station + 25
        distance = math.hypot(x - self.centre[0], y - self.centre[1])
        central = distance < region.centre_radius_m * rng.uniform(0.75, 1.25)
        options: tuple[tuple[BuildingType, float], ...] = (
            region.centre if central else region.suburb
        )
        weights = np.array([weight for _, weight in options])
        kind = options[int(rng.choice(len(options), p=weights / weights.sum()))][0]
        width, depth = float(rng.uniform(*kind.frontage_m)), float(rng.uniform(*kind.depth_m))
        gap, setback = float(rng.uniform(*kind.gap_m)), float(rng.uniform(*kind.setback_m))
        if station + width > last:
            width = last - station
            if width < kind.frontage_m[0] * 0.75:
                return last
        fade = 1.0 if distance < 240 else max(0.85, 1 - (distance - 240) / 1500)
        if rng.random() > region.built_share * fade:
            return station + 0.7 * width + gap
        middle = station + width / 2
        box = self.frontage(road, middle, side, width, depth, setback)
        if not self.free(box, -0.3, yards=True):
            return station + 4.0
        self._lot(road, middle, side, box, gap, setback, kind)
        return station + width + gap

    def second_row(self) -> None:
        """Houses behind houses, reached by paths, where blocks are deep."""
        rng, region = self.rng, self.region
        roads = [road for road in self.scene.network.roads if road.length_m > 40]
        for _ in range(400 if roads else 0):
            road = roads[int(rng.integers(len(roads)))]
            kind = region.suburb[int(rng.integers(min(2, len(region.suburb))))][0]
            width, depth = float(rng.uniform(*kind.frontage_m)), float(rng.uniform(*kind.depth_m))
            station = float(rng.uniform(10, road.length_m - 10))
            setback = float(rng.uniform(22, 50))
            box = self.frontage(road, station, int(rng.choice([-1, 1])), width, depth, setback)
            if self.free(box, 2.0) and rng.random() < region.second_row:
                lot = box.part(0, 2, box.half_width_m + 4, box.half_depth_m + 7)
                self._settle(lot, box, 5.0, 10.0, kind)

    def _lot(
        self,
        road: Road,
        station: float,
        side: int,
        box: Box,
        gap: float,
        setback: float,
        kind: BuildingType,
    ) -> None:
        rng = self.rng
        back = float(rng.uniform(6, 22)) if gap > 0.7 else float(rng.uniform(1, 7))
        lot_depth = setback + 2 * box.half_depth_m + back
        lot = self.frontage(road, station, side, 2 * box.half_width_m + gap, lot_depth, 0)
        self._settle(lot, box, setback, back, kind)

    def _settle(self, lot: Box, box: Box, setback: float, back: float, kind: BuildingType) -> None:
        """Put a building on its lot, with a garden."""
        rng, region = self.rng, self.region
        drawn = rng.random()
        if drawn < region.lawn_share:
            ground, rgb = "lawn", self._tinted(region.lawn, 0.14)
        elif drawn < region.lawn_share + region.yard_paved_share:
            ground, rgb = "paved yard", self._tinted((150, 146, 138), 0.14)
        else:
            ground, rgb = "bare yard", self._tinted(region.soil, 0.12)
        self.scene.yards.append(Area(ground, lot, rgb))
        self.claim(lot, k.YARD, only_free=True)

        roof_name = str(rng.choice(kind.roofs))
        cover = k.ROOF_FLAT if roof_name == "flat" else _COVERS[kind.cover]
        if cover == k.ROOF_FLAT and roof_name != "flat":
            cover = k.ROOF_TILE
        narrow = min(box.half_width_m, box.half_depth_m)
        span = {"gable": box.half_depth_m, "cross": box.half_width_m, "hip": narrow, "mono": 2.0}
        pitch = 0.2 if cover == k.ROOF_METAL else rng.uniform(0.45, 0.85)
        rise = 0.0 if roof_name == "flat" else span[roof_name] * pitch
        floors = int(rng.integers(kind.floors[0], kind.floors[1] + 1))
        dates = None
        if rng.random() < 0.03:
            # Built, or pulled down, between two of the town's dates.
            change = int(rng.integers(2, 7))
            dates = (
                frozenset(range(change, DATES)) if rng.random() < 0.5 else frozenset(range(change))
            )
        building = self.add_building(
            kind.name,
            box,
            floors * 3.0 + (1.2 if kind.facade == "blank" else 0.3),
            min(rise, 7.0),
            _ROOFS[roof_name],
            cover,
            kind.facade,
            dates=dates,
        )
        if dates is None and rng.random() < region.solar:
            self._panels(building)
        self._wing(box, building)
        self._garden(lot, box, building, setback, back)

    def _wing(self, box: Box, building: Building) -> None:
        """Give some houses a lower part behind, so that they form an L."""
        if building.facade not in ("windows", "shop") or self.rng.random() > 0.3:
            return
        half_width = box.half_width_m * float(self.rng.uniform(0.3, 0.45))
        half_depth = float(self.rng.uniform(2.0, 4.5))
        side = 1 if self.rng.random() < 0.5 else -1
        along = side * (box.half_width_m - half_width)
        wing = box.part(along, box.half_depth_m + half_depth, half_width, half_depth)
        if half_width < 1.6 or not self.free(
            wing.part(0, 0.3, half_width, half_depth - 0.3), 0, True
        ):
            return
        pitched = building.roof != k.FLAT
        self.add_building(
            "wing",
            wing,
            building.eave_m * (0.8 if building.eave_m > 5 else 1.0),
            building.rise_m * half_width / box.half_depth_m if pitched else 0.0,
            k.CROSS if pitched else k.FLAT,
            building.cover,
            "windows",
            building.roof_colour,
            building.wall_colour,
            dates=building.dates,
        )

    def _panels(self, building: Building) -> None:
        box = building.box
        w, d = box.half_width_m, box.half_depth_m
        if building.roof in (k.GABLE, k.HIP, k.FLAT) and w > 3 and d > 3:
            side = 1 if self.rng.random() < 0.5 else -1
            share = 0.5 if building.roof == k.HIP else 0.8
            panel = box.part(0, side * d * 0.45, w * share * 0.8, d * 0.32)
            self.scene.solar.append((panel, building))

    def _garden(self, lot: Box, box: Box, building: Building, setback: float, back: float) -> None:
        rng, region = self.rng, self.region
        detached = building.kind in ("detached house", "bungalow", "villa", "house")
        d = lot.half_depth_m
        if detached and setback > 3.5:
            side = 1 if rng.random() < 0.5 else -1
            along = side * (box.half_width_m - 1.8)
            drive = lot.part(along, -d + setback / 2, 1.6, setback / 2)
            self.scene.strips.append(Strip("drive", drive, 0, self._tinted((158, 154, 146), 0.1)))
            if rng.random() < 0.5:
                self.scene.parking.append(
                    Box(*lot.point(along, -d + setback / 2), -lot.uy, lot.ux, 2.2, 0.9)
                )
        if detached and back > 11 and rng.random() < region.pools:
            pool = lot.part(
                float(rng.uniform(-2, 2)),
                d - back / 2,
                float(rng.uniform(3, 4.5)),
                float(rng.uniform(1.7, 2.4)),
            )
            if self.free(pool, 1.0, yards=True):
                self.area(
                    "pool deck",
                    pool.part(0, 0, pool.half_width_m + 1.2, pool.half_depth_m + 1.2),
                    self._tinted((192, 186, 174), 0.06),
                )
                self.area("pool", pool, (84, 168, 186))
                self.claim(
                    pool.part(0, 0, pool.half_width_m + 1.2, pool.half_depth_m + 1.2), k.RESERVED
                )
        if detached and back > 9 and rng.random() < 0.35:
            shed = lot.part(float(rng.uniform(-0.6, 0.6)) * lot.half_width_m, d - 2.5, 1.8, 1.4)
            if self.free(shed, 0.4, yards=True):
                self.add_building("shed", shed, 2.3, 0.6, k.GABLE, k.ROOF_METAL, "blank")
        if rng.random() < region.hedges:
            self._rim(lot, "hedge", float(rng.uniform(1.0, 2.0)), (68, 88, 48))
        elif rng.random() < region.boundary_walls:
            self._rim(lot, "wall", float(rng.uniform(0.9, 2.0)), self._tinted((178, 166, 148), 0.1))
        count = int(rng.poisson(region.garden_trees * min(2.0, lot.half_width_m * d / 90)))
        for _ in range(count):
            along = float(rng.uniform(-1, 1)) * (lot.half_width_m - 1)
            away = d - float(rng.uniform(0.5, 1)) * back + 1
            if rng.random() < 0.25 and setback > 4:
                away = -d + float(rng.uniform(0.2, 0.8)) * setback
            self.tree(*lot.point(along, away))

    def _rim(self, lot: Box, kind: str, top: float, rgb: tuple[int, int, int]) -> None:
        """A hedge or wall around the back and the sides of a lot."""
        w, d = lot.half_width_m, lot.half_depth_m
        thick = 0.5 if kind == "hedge" else 0.3
        for box in (
            lot.part(0, d, w, thick),
            lot.part(-w, 2, thick, d - 2),
            lot.part(w, 2, thick, d - 2),
        ):
            self.scene.strips.append(Strip(kind, box, top, rgb))

    # -- open ground, trees, poles -----------------------------------------------------------

    def open_ground(self) -> None:
        """Fields, woods and meadows where nothing else claimed the ground."""
        rng, region = self.rng, self.region
        options = [
            ("field", region.fields),
            ("wood", region.woods),
            ("meadow", 0.6),
            ("orchard", region.fields * 0.25),
        ]
        weights = np.array([weight for _, weight in options])
        turn = (
            math.atan2(*self.scene.network.roads[0].at(0)[2:][::-1])
            if self.scene.network.roads
            else 0.0
        )
        for size in (140, 95, 60, 40, 26, 18):
            for _ in range(120):
                x, y = rng.uniform(-SIZE_M / 2, SIZE_M / 2, 2)
                angle = turn + float(rng.normal(0, 0.12))
                box = Box(
                    float(x),
                    float(y),
                    math.cos(angle),
                    math.sin(angle),
                    float(rng.uniform(0.5, 1)) * size / 2,
                    float(rng.uniform(0.5, 1)) * size / 2,
                )
                if not self.free(box, 1.0):
                    continue
                kind = str(options[int(rng.choice(4, p=weights / weights.sum()))][0])
                if kind == "field" and size < 40:
                    kind = "meadow"
                self.claim(box, k.RESERVED)
                colour = region.lawn if kind in ("field", "orchard") else region.rough
                number = len(self.scene.areas)
                self.scene.areas.append(Area(kind, box, self._tinted(colour, 0.16), number=number))
                area = 4 * box.half_width_m * box.half_depth_m
                if kind == "wood":
                    self._plant(box, int(area / 26), inset=0.5)
                elif kind == "meadow":
                    self._plant(box, int(rng.poisson(area / 420)))
                elif kind == "orchard":
                    self._orchard(box)

    def scattered_trees(self) -> None:
        """Lone trees and thickets on ground that nothing claimed."""
        rng = self.rng
        for _ in range(int(260 * (0.3 + self.region.woods))):
            x, y = (float(v) for v in rng.uniform(-SIZE_M / 2, SIZE_M / 2, 2))
            spread = float(rng.uniform(3, 10))
            for _ in range(int(rng.integers(1, 6))):
                tx, ty = x + float(rng.normal(0, spread)), y + float(rng.normal(0, spread))
                if self.free(Box(tx, ty, 1.0, 0.0, 1.0, 1.0)):
                    self.tree(tx, ty)

    def _orchard(self, box: Box) -> None:
        for along in np.arange(-box.half_width_m + 3, box.half_width_m - 2, 6.0):
            for away in np.arange(-box.half_depth_m + 3, box.half_depth_m - 2, 5.0):
                x, y = box.point(float(along), float(away))
                self.tree(x, y, "orchard")

    def street_things(self) -> None:
        """Trees and lamps along the pavements, cars at the kerb and in the lanes."""
        rng, region = self.rng, self.region
        for road in self.scene.network.roads:
            length = road.length_m
            for side in (-1, 1):
                avenue = rng.random() < region.street_trees
                away = road.half_width_m + max(0.6, region.pavement_m * 0.6)
                species = self._species()
                spacing = float(rng.uniform(8, 16))
                lamp_side = side == 1
                for station in np.arange(8, length - 8, spacing):
                    x, y, dx, dy = road.at(float(station))
                    tree_x, tree_y = x + side * dy * away, y - side * dx * away
                    if avenue and rng.random() < 0.85:
                        self.tree(tree_x, tree_y, species, street=True)
                self._signs(road, side, away)
                if lamp_side and road.kind != "lane":
                    for station in np.arange(12, length - 8, 32.0):
                        x, y, dx, dy = road.at(float(station))
                        post = Box(x + dy * away, y - dx * away, 1.0, 0.0, 0.25, 0.25)
                        self.scene.strips.append(Strip("post", post, 7.5, (120, 122, 122)))
                kerb = road.half_width_m - 1.1
                if road.half_width_m > 2.6 and rng.random() < 0.75:
                    for station in np.arange(12, length - 12, 6.2):
                        if rng.random() < region.cars * 0.6:
                            x, y, dx, dy = road.at(float(station))
                            self.scene.parking.append(
                                Box(x + side * dy * kerb, y - side * dx * kerb, dx, dy, 2.2, 0.9)
                            )
                # A lane of traffic on this side.
                lane = side * road.half_width_m * 0.4
                for station in np.arange(
                    15, length - 15, 24.0 if road.kind == "main road" else 60.0
                ):
                    x, y, dx, dy = road.at(float(station + rng.uniform(-8, 8)))
                    self.scene.driving.append(Box(x + dy * lane, y - dx * lane, dx, dy, 2.2, 0.9))
        for x, y, radius in self.scene.islands:
            if rng.random() < 0.6:
                self._plant(
                    Box(x, y, 1.0, 0.0, radius * 0.35, radius * 0.35), int(rng.integers(1, 5)), 0
                )

    def _signs(self, road: Road, side: int, away: float) -> None:
        """A sign before the junction at the end of this side, and now and then one between."""
        length = road.length_m
        if road.kind == "lane" or length < 45 or self.region.marking == "none":
            return
        drives = -1 if self.region.drives_left else 1
        stations = [length - 13.0 if side == drives else 13.0]
        if self.rng.random() < 0.4:
            stations.append(float(self.rng.uniform(20, length - 20)))
        for station in stations:
            x, y, dx, dy = road.at(station)
            x, y = x + side * dy * away, y - side * dx * away
            post = Box(x, y, 1.0, 0.0, 0.25, 0.25)
            self.scene.strips.append(Strip("post", post, 2.2, (132, 134, 134)))
            colour = int(self.rng.integers(0, 6))
            self.scene.signs.append(Plate(x, y, dy, -dx, 0.0, 0.0, 2.1, 2.9, colour))

    def _species(self) -> str:
        names, weights = zip(*self.region.trees, strict=True)
        return str(self.rng.choice(names, p=np.array(weights) / sum(weights)))

    def tree(self, x: float, y: float, species: str | None = None, street: bool = False) -> None:
        half = SIZE_M / 2
        col, row = int((x + half) / k.CELL_M), int((half - y) / k.CELL_M)
        if not (0 <= col < self.cells and 0 <= row < self.cells):
            return
        taken = self.flags[row, col]
        if taken in (k.BUILDING, k.WET) or (taken == k.ROAD and not street):
            return
        rng = self.rng
        kind, radii, heights = _CROWNS[species or self._species()]
        radius = float(rng.uniform(*radii)) * (0.8 if street else 1.0)
        self.tree_rows.append(
            (x, y, radius, float(rng.uniform(*heights)), kind, float(rng.random()))
        )

    def finish(self) -> Scene:
        self.scene.trees = np.array(self.tree_rows, np.float64).reshape(-1, 6)
        return self.scene


LOTS = {
    "church": (26.0, 38.0),
    "bell tower": (16.0, 16.0),
    "mosque": (30.0, 28.0),
    "temple": (28.0, 28.0),
    "school": (70.0, 60.0),
    "supermarket": (52.0, 64.0),
    "warehouse": (54.0, 48.0),
    "car park": (46.0, 36.0),
    "park": (66.0, 60.0),
    "pitch": (56.0, 88.0),
    "playing field": (60.0, 60.0),
    "bowling green": (42.0, 42.0),
    "tennis courts": (36.0, 38.0),
    "sports court": (32.0, 22.0),
    "square": (34.0, 30.0),
    "water tower": (18.0, 18.0),
    "silo": (26.0, 20.0),
    "windmill": (24.0, 24.0),
    "fuel station": (28.0, 28.0),
    "stadium": (84.0, 104.0),
    "greenhouse": (44.0, 40.0),
    "mast": (12.0, 12.0),
}
"""Width and depth in metres of the lots that landmarks stand on."""


def lay_out(region: Region, seed: int, index: int) -> Scene:
    """The town number `index` of `region` on the planet `seed`; the same for the same three."""
    builder = _Builder(region, generator("town", seed, region.name, index))
    builder.water()
    builder.railway()
    builder.roads()
    builder.landmarks()
    builder.building_sites()
    builder.houses()
    builder.second_row()
    builder.open_ground()
    builder.scattered_trees()
    builder.street_things()
    return builder.finish()
