"""From things to rasters: what is common to all dates, and what one date changes."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from geobridge.world import kernels as k
from geobridge.world.dates import Day
from geobridge.world.regions import SIZE_M, Region
from geobridge.world.roads import Road
from geobridge.world.scene import CAR_COLOURS, Area, Box, Building, Plate, Scene
from geobridge.world.seeds import generator

BLOCK = 16
"""Cells along the side of a block of the coarse raster that lets rays skip empty air."""

_STYLES = {"windows": 0, "ribbon": 1, "shop": 2, "blank": 3, "banded": 4}


@dataclass
class Ground:
    """Rasters of a town (row 0 in the north): what stands and lies there on every date.

    Attributes:
        height: (n, n) uint16, centimetres, tops of solid things.
        material: (n, n) uint8, constants of `kernels`.
        colour: (n, n, 3) uint8, sRGB before light.
        owner: (n, n) uint16, row of `owners`, 0 for none.
        crown_top, crown_base: (n, n) uint8, decimetres, 0 where nothing floats.
        crown_kind: (n, n) uint8, kind x 32 + tint.
        owners: (m, OWNER_COLUMNS) float64, frames and facades.
    """

    height: np.ndarray
    material: np.ndarray
    colour: np.ndarray
    owner: np.ndarray
    crown_top: np.ndarray
    crown_base: np.ndarray
    crown_kind: np.ndarray
    owners: np.ndarray


@dataclass
class Dated:
    """Rasters of one date: the ground with its cars and sites, its shadows and its light.

    `crown_top`, `crown_base` and `crown_kind` are the ground's own unless a crane stands there.
    """

    height: np.ndarray
    material: np.ndarray
    colour: np.ndarray
    crown_top: np.ndarray
    crown_base: np.ndarray
    crown_kind: np.ndarray
    shadow: np.ndarray
    tops: np.ndarray
    light: np.ndarray


@cache
def noise_tables() -> tuple[np.ndarray, np.ndarray]:
    """Two tileable float32 tables of 512 x 512 in about [-1, 1]: grain, and patches."""
    rng = generator("noise")
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(512), np.fft.fftfreq(512))) * 512
    frequency[0, 0] = 1
    tables = []
    for power in (0.45, 1.25):
        spectrum = np.fft.fft2(rng.standard_normal((512, 512))) / frequency**power
        spectrum[0, 0] = 0
        table = np.fft.ifft2(spectrum).real
        tables.append(np.clip(table / (2 * table.std()), -1, 1).astype(np.float32))
    return tables[0], tables[1]


class _Painter:
    """Hands one set of rasters to the kernels."""

    def __init__(
        self, height: np.ndarray, material: np.ndarray, colour: np.ndarray, owner: np.ndarray
    ) -> None:
        self.height, self.material, self.colour, self.owner = height, material, colour, owner
        self.flags = np.zeros(height.shape, np.uint8)

    def rect(
        self,
        box: Box,
        material: int,
        rgb: tuple[int, int, int],
        top: float = -1.0,
        shape: int = k.FLAT,
        rise: float = 0.0,
        owner: int = -1,
        flag: int = -1,
        only_free: bool = False,
    ) -> None:
        k.paint_rect(
            self.height,
            self.material,
            self.colour,
            self.owner,
            self.flags,
            box.x,
            box.y,
            box.ux,
            box.uy,
            box.half_width_m,
            box.half_depth_m,
            material,
            *rgb,
            float(top),
            shape,
            float(rise),
            owner,
            flag,
            only_free,
        )

    def line(
        self,
        points: np.ndarray,
        half_width: float,
        material: int,
        rgb: tuple[int, int, int],
        strength: float = 1.0,
        offset: float = 0.0,
        dashes: tuple[float, float] = (0.0, 0.0),
        skip: tuple[float, float] = (0.0, 0.0),
        flag: int = -1,
    ) -> None:
        k.paint_line(
            self.height,
            self.material,
            self.colour,
            self.flags,
            points,
            float(half_width),
            material,
            *rgb,
            strength,
            -1.0,
            flag,
            float(offset),
            *dashes,
            *skip,
            False,
        )

    def blob(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        wobble: float,
        material: int,
        rgb: tuple[int, int, int],
        flag: int = 0,
    ) -> None:
        k.paint_blob(
            self.material,
            self.colour,
            self.flags,
            x,
            y,
            rx,
            ry,
            wobble,
            x % 6.28,
            material,
            *rgb,
            flag,
        )


_AREA_MATERIALS = {
    "pond": k.WATER,
    "park": k.GRASS,
    "pitch": k.TURF,
    "pitch surround": k.GRASS,
    "playing field": k.GRASS,
    "bowling green": k.TURF,
    "lawn": k.GRASS,
    "churchyard": k.GRASS,
    "yard": k.ASPHALT,
    "car park": k.ASPHALT,
    "square": k.PAVING,
    "fountain": k.POOL,
    "pool": k.POOL,
    "pool deck": k.PAVING,
    "tennis court": k.COURT,
    "sports court": k.COURT,
    "running track": k.COURT,
    "field": k.FIELD,
    "meadow": k.ROUGH,
    "wood": k.ROUGH,
    "orchard": k.GRASS,
    "paved yard": k.CONCRETE,
    "bare yard": k.SOIL,
}

_PAINT_WHITE = (216, 215, 208)
_PAINT_YELLOW = (204, 172, 84)


def draw_ground(scene: Scene, seed: int, index: int) -> Ground:
    """Draw everything that all dates share."""
    n = int(SIZE_M / k.CELL_M)
    region = scene.region
    rng = generator("ground", seed, region.name, index)
    height = np.zeros((n, n), np.uint16)
    material = np.full((n, n), k.ROUGH, np.uint8)
    colour = np.empty((n, n, 3), np.uint8)
    colour[:] = np.array(region.rough, np.uint8)
    owner = np.zeros((n, n), np.uint16)
    paint = _Painter(height, material, colour, owner)
    fields = [area for area in scene.areas if area.kind == "field"]
    owners = _owners(scene, fields, rng)
    first_field = len(scene.buildings) + 1
    field_rows = {id(area): first_field + i for i, area in enumerate(fields)}

    _draw_water(paint, scene)
    for area in scene.yards:
        paint.rect(area.box, _AREA_MATERIALS[area.kind], area.colour)
    for area in scene.areas:
        _draw_area(paint, area, field_rows.get(id(area), -1))
    _draw_rails(paint, scene)
    _draw_roads(paint, scene, rng)
    first_car = first_field + len(fields)
    cars = (*scene.parking, *scene.driving)
    for i, box in enumerate(cars):
        paint.rect(box, -1, (0, 0, 0), owner=first_car + i)
    first_strip = first_car + len(cars)
    for i, strip in enumerate(scene.strips):
        kinds = {
            "hedge": k.HEDGE,
            "wall": k.WALL,
            "parapet": k.WALL,
            "post": k.POST,
            "path": k.GRAVEL,
            "drive": k.CONCRETE,
        }
        # Rims of lots must not run across streets or into other houses.
        on_road = strip.kind not in ("post", "parapet")
        top = strip.top_m if strip.top_m > 0 else -1.0
        owner_row = first_strip + i if top > 0 and strip.kind != "post" else -1
        paint.rect(
            strip.box, kinds[strip.kind], strip.colour, top, owner=owner_row, only_free=on_road
        )
    for building in scene.buildings:
        if building.dates is None:
            draw_building(paint, building)
    # Who owns a cell is the same on all dates, also where a building stands on some of them only.
    for building in scene.buildings:
        if building.dates is not None:
            paint.rect(building.box, -1, (0, 0, 0), owner=building.number)
    for box, building in scene.solar:
        paint_panels(paint, box, building)

    crown_top = np.zeros((n, n), np.uint8)
    crown_base = np.zeros((n, n), np.uint8)
    crown_kind = np.zeros((n, n), np.uint8)
    fine, _ = noise_tables()
    k.paint_trees(crown_top, crown_base, crown_kind, height, material, colour, scene.trees, fine)
    for plate in scene.signs:
        _hang(crown_top, crown_base, crown_kind, plate)
    return Ground(height, material, colour, owner, crown_top, crown_base, crown_kind, owners)


def _owners(scene: Scene, fields: list[Area], rng: np.random.Generator) -> np.ndarray:
    boxes = [area.box for area in fields]
    boxes += [*scene.parking, *scene.driving, *(strip.box for strip in scene.strips)]
    owners = np.zeros((1 + len(scene.buildings) + len(boxes), k.OWNER_COLUMNS))
    owners[:, k.O_HW] = owners[:, k.O_HL] = owners[:, k.O_FLOOR] = owners[:, k.O_BAY] = 1.0
    trims = ((214, 212, 206), (232, 230, 226), (96, 92, 88), (150, 120, 92))
    doors = (
        (110, 60, 48),
        (62, 76, 96),
        (70, 92, 74),
        (200, 198, 192),
        (88, 70, 56),
        (160, 70, 56),
        (178, 150, 70),
    )
    for building in scene.buildings:
        box = building.box
        row = owners[building.number]
        row[[k.O_X, k.O_Y, k.O_UX, k.O_UY, k.O_HW, k.O_HL]] = (
            box.x,
            box.y,
            box.ux,
            box.uy,
            box.half_width_m,
            box.half_depth_m,
        )
        row[[k.O_R, k.O_G, k.O_B]] = building.wall_colour[1]
        row[k.O_BAY] = rng.uniform(2.4, 4.2)
        floors = max(1, round(building.eave_m / 3.0))
        row[k.O_FLOOR] = building.eave_m / floors
        row[k.O_STYLE] = _STYLES[building.facade]
        row[k.O_EAVE] = building.eave_m
        row[k.O_SEED] = int(rng.integers(0, 1 << 20))
        row[[k.O_TR, k.O_TG, k.O_TB]] = trims[int(rng.integers(len(trims)))]
        row[[k.O_SR, k.O_SG, k.O_SB]] = doors[int(rng.integers(len(doors)))]
        row[k.O_WINW], row[k.O_WINH] = rng.uniform(0.28, 0.62), rng.uniform(0.38, 0.55)
        row[k.O_TOP] = building.eave_m + building.rise_m
        row[k.O_SHAPE] = building.roof
    frame = [k.O_X, k.O_Y, k.O_UX, k.O_UY, k.O_HW, k.O_HL]
    for i, box in enumerate(boxes):
        row = owners[1 + len(scene.buildings) + i]
        row[frame] = box.x, box.y, box.ux, box.uy, box.half_width_m, box.half_depth_m
    return owners


def _hang(top: np.ndarray, base: np.ndarray, kind: np.ndarray, plate: Plate) -> None:
    """Put a floating thing into the layer of crowns, in the place of lower ones."""
    half, n = SIZE_M / 2, len(top)
    steps = max(1, int(plate.length_m / k.CELL_M) + 1)
    for along in np.linspace(-plate.back_m, plate.length_m - plate.back_m, steps):
        col = int((plate.x + along * plate.ux + half) / k.CELL_M)
        row = int((half - plate.y - along * plate.uy) / k.CELL_M)
        if 0 <= row < n and 0 <= col < n and top[row, col] < plate.top_m * 10:
            top[row, col], base[row, col] = int(plate.top_m * 10), int(plate.base_m * 10)
            kind[row, col] = k.PLATE * 32 + plate.colour


def _draw_water(paint: _Painter, scene: Scene) -> None:
    bank = scene.region.rough
    for band in scene.bands:
        if band.kind in ("river", "canal"):
            rim = (150, 146, 136) if band.kind == "canal" else bank
            kind = k.CONCRETE if band.kind == "canal" else k.ROUGH
            paint.line(band.points, band.half_width_m + 1.5, kind, rim)
            paint.line(band.points, band.half_width_m, k.WATER, (66, 82, 78))


def _draw_area(paint: _Painter, area: Area, field_row: int) -> None:
    box = area.box
    material = _AREA_MATERIALS[area.kind]
    if area.kind == "pond":
        paint.blob(
            box.x,
            box.y,
            box.half_width_m + 1.2,
            box.half_depth_m + 1.2,
            area.wobble,
            k.ROUGH,
            (118, 112, 84),
        )
        paint.blob(
            box.x, box.y, box.half_width_m, box.half_depth_m, area.wobble, material, area.colour
        )
        return
    if area.kind in ("wood", "meadow"):
        paint.rect(box, material, area.colour)
        return
    paint.rect(box, material, area.colour, owner=field_row)
    w, d = box.half_width_m, box.half_depth_m
    if area.kind in ("pitch", "tennis court", "sports court"):
        white = (214, 216, 208)
        inset = 1.5 if area.kind == "pitch" else 2.2
        for part in (
            box.part(0, d - inset, w - inset, 0.26),
            box.part(0, -d + inset, w - inset, 0.26),
            box.part(w - inset, 0, 0.26, d - inset),
            box.part(-w + inset, 0, 0.26, d - inset),
            box.part(0, 0, w - inset, 0.26),
        ):
            paint.rect(part, k.PAINT, white)
    if area.kind == "car park":
        away = -d + 4
        while away < d - 3:
            along = -w + 1.2
            while along < w - 1:
                paint.rect(box.part(along, away, 0.26, 2.4), k.PAINT, (190, 190, 184))
                along += 2.7
            away += 5.4 if (int(away) // 5) % 2 else 11.0


def _draw_rails(paint: _Painter, scene: Scene) -> None:
    for band in scene.bands:
        if band.kind == "railway":
            paint.line(band.points, band.half_width_m, k.GRAVEL, (124, 114, 104))
            for offset in (-2.3, 2.3):
                paint.line(band.points, 1.3, k.RAIL, (96, 84, 76), offset=offset, dashes=(0.6, 0.6))
                for rail in (-0.72, 0.72):
                    paint.line(band.points, 0.26, k.RAIL, (150, 146, 142), offset=offset + rail)


def _toned(rgb: tuple[int, int, int], tone: float) -> tuple[int, int, int]:
    r, g, b = (int(min(255, c * tone)) for c in rgb)
    return r, g, b


def _draw_roads(paint: _Painter, scene: Scene, rng: np.random.Generator) -> None:
    region, network = scene.region, scene.network
    surfaces = {}
    for road in network.roads:
        tone = rng.uniform(0.88, 1.12)
        base = region.asphalt if road.paved else region.soil
        surfaces[road.index] = _toned(base, tone)
        if road.kind != "lane" and region.pavement_m > 0.7 and road.paved:
            pave = _toned((164, 160, 152), tone)
            paint.line(road.points, road.half_width_m + region.pavement_m, k.PAVING, pave)
    for x, y, radius in scene.islands:
        paint.blob(
            x,
            y,
            radius + region.pavement_m,
            radius + region.pavement_m,
            0.0,
            k.PAVING,
            (164, 160, 152),
        )
    for road in network.roads:
        kind = k.ASPHALT if road.paved else k.SOIL
        paint.line(road.points, road.half_width_m, kind, surfaces[road.index], flag=k.ROAD)
    for x, y, radius in scene.islands:
        paint.blob(x, y, radius, radius, 0.0, k.ASPHALT, region.asphalt, k.ROAD)
    for road in network.roads:
        if road.paved:
            _draw_markings(paint, scene, road)
    for x, y, radius in scene.islands:
        inner = radius * 0.42
        paint.blob(x, y, inner + 0.6, inner + 0.6, 0.0, k.CONCRETE, (182, 180, 174), k.ROAD)
        paint.blob(x, y, inner, inner, 0.0, k.GRASS, region.lawn, k.ROAD)


def _draw_markings(paint: _Painter, scene: Scene, road: Road) -> None:
    region, network = scene.region, scene.network
    if region.marking == "none":
        return
    skips = []
    for node in road.nodes:
        meeting = network.meeting(node)
        reach = max((other.half_width_m for other in meeting if other is not road), default=0.0)
        if node in network.roundabouts:
            reach = max(
                (r for x, y, r in scene.islands if (x, y) == network.nodes[node]), default=8.0
            )
        skips.append((reach + 2.0, len(meeting)))
    ends = (skips[0][0], skips[1][0])
    main = road.kind == "main road"
    centre = _PAINT_YELLOW if region.marking == "yellow" else _PAINT_WHITE
    if road.kind != "lane" and road.half_width_m > 2.4:
        dashes = (0.0, 0.0) if main and region.marking == "yellow" else (3.0, 5.0)
        paint.line(road.points, 0.26, k.PAINT, centre, 0.6, dashes=dashes, skip=ends)
    if main:
        for side in (-1, 1):
            paint.line(
                road.points,
                0.26,
                k.PAINT,
                _PAINT_WHITE,
                0.55,
                offset=side * (road.half_width_m - 0.6),
                skip=ends,
            )
            if road.half_width_m > 6:
                paint.line(
                    road.points,
                    0.26,
                    k.PAINT,
                    _PAINT_WHITE,
                    0.5,
                    offset=side * road.half_width_m * 0.5,
                    dashes=(3.0, 6.0),
                    skip=ends,
                )
    if road.kind != "lane":
        _draw_crossings(paint, road, skips)


def _draw_crossings(paint: _Painter, road: Road, skips: list[tuple[float, int]]) -> None:
    """Zebra crossings before junctions; which arms have one follows from the road's number."""
    length = road.length_m
    for end, (reach, meeting) in enumerate(skips):
        if meeting < 3 or (road.index + end) % 3 == 0 or length < 2 * reach + 12:
            continue
        station = reach + 2.0 if end == 0 else length - reach - 2.0
        x, y, dx, dy = road.at(station)
        across = -road.half_width_m + 0.7
        while across < road.half_width_m - 0.4:
            box = Box(x + dy * across, y - dx * across, dx, dy, 1.5, 0.27)
            paint.rect(box, k.PAINT, (208, 207, 201))
            across += 1.15


def draw_building(paint: _Painter, building: Building) -> None:
    """Draw a building's roof, height and ownership."""
    box = building.box
    paint.rect(
        box,
        building.cover,
        building.roof_colour[1],
        building.eave_m,
        building.roof,
        building.rise_m,
        building.number,
    )
    if building.cover == k.ROOF_FLAT and min(box.half_width_m, box.half_depth_m) > 5:
        # Plant rooms and vents: small boxes that tell one flat roof from the next.
        rng = generator("roof", building.number, int(box.x * 10), int(box.y * 10))
        for _ in range(int(rng.integers(1, 5))):
            part = box.part(
                float(rng.uniform(-0.7, 0.7)) * box.half_width_m,
                float(rng.uniform(-0.7, 0.7)) * box.half_depth_m,
                float(rng.uniform(0.7, 2.2)),
                float(rng.uniform(0.7, 2.2)),
            )
            tone = int(rng.integers(110, 205))
            paint.rect(
                part, k.CONCRETE, (tone, tone, tone), building.eave_m + float(rng.uniform(0.8, 2.4))
            )


def paint_panels(paint: _Painter, box: Box, building: Building) -> None:
    """Lay solar panels on a roof without changing its height."""
    paint.rect(box, k.SOLAR, (44, 52, 72), owner=building.number)


def draw_date(ground: Ground, scene: Scene, day: Day, date: int, seed: int, index: int) -> Dated:
    """What one date adds: cars, buildings of their time, shadows, light."""
    region = scene.region
    rng = generator("date", seed, region.name, index, date)
    height, material = ground.height.copy(), ground.material.copy()
    colour = ground.colour.copy()
    # Owners are the same on all dates: what this one paints must not leak into the others.
    paint = _Painter(height, material, colour, ground.owner.copy())
    for building in scene.buildings:
        if building.dates is not None:
            if date in building.dates:
                draw_building(paint, building)
            else:
                paint.rect(building.box, k.SOIL, region.soil)
    for boxes, share in ((scene.parking, region.cars * 0.8), (scene.driving, 0.4)):
        present = rng.random(len(boxes)) < share
        colours = rng.integers(0, len(CAR_COLOURS), len(boxes))
        for i in np.flatnonzero(present):
            _draw_car(paint, boxes[i], CAR_COLOURS[colours[i]])
    elevation, azimuth = np.radians(day.sun_elevation_deg), np.radians(day.sun_azimuth_deg)
    sun = (
        float(np.cos(elevation) * np.sin(azimuth)),
        float(np.cos(elevation) * np.cos(azimuth)),
        float(np.sin(elevation)),
    )
    crowns = _crowns(ground, scene, date)
    shadow = k.shadow_heights(height, crowns[0], crowns[2], *sun, day.bare)
    tops = k.block_maximum(height, crowns[0], BLOCK)
    light = _light(region, day, sun, rng)
    if day.cloud_shadow > 0:
        shade = _cloud_shade(rng, day.cloud_shadow, len(shadow))
        k.cast_clouds(shadow, height, crowns[0], shade, _CLOUD_BLOCK)
    return Dated(height, material, colour, *crowns, shadow, tops, light)


_CLOUD_BLOCK = 8
_CLOUD_M = 80.0  # what one cell of the noise table is wide


def _cloud_shade(rng: np.random.Generator, cover: float, cells: int) -> np.ndarray:
    """How much of the sun clouds hide, 0 to 1, at every `_CLOUD_BLOCK`-th cell and beyond the last.

    They cover the share `cover` of this town, their rims included.
    """
    at = np.arange(cells // _CLOUD_BLOCK + 2) * _CLOUD_BLOCK * k.CELL_M / _CLOUD_M
    table = noise_tables()[1]
    value = 0.0
    y, x = (at + rng.uniform(0, 400) for _ in range(2))
    for dy in (0, 1):
        for dx in (0, 1):
            weight_y, weight_x = np.abs(1 - dy - y % 1), np.abs(1 - dx - x % 1)
            rows, cols = (y.astype(int) + dy) % 512, (x.astype(int) + dx) % 512
            value = value + weight_y[:, None] * weight_x[None] * table[rows][:, cols]
    threshold = np.quantile(value, 1 - cover)
    shade: np.ndarray = np.clip((value - threshold) / 0.08, 0, 1)
    return shade


def _crowns(ground: Ground, scene: Scene, date: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Top, base and kind of what floats: the ground's crowns, and the jibs of a date's cranes."""
    layers = (ground.crown_top, ground.crown_base, ground.crown_kind)
    jibs = [jib for jib, dates in scene.jibs if date in dates]
    if not jibs:
        return layers
    top, base, kind = (layer.copy() for layer in layers)
    for jib in jibs:
        _hang(top, base, kind, jib)
    return top, base, kind


def _draw_car(paint: _Painter, box: Box, rgb: tuple[int, int, int]) -> None:
    paint.rect(box, k.CAR, rgb, k.CAR_BODY_M)
    glass = _toned(rgb, 0.45)
    paint.rect(box.part(-0.28, 0, 1.22, 0.8), k.CAR, glass, k.CAR_CABIN_M)
    paint.rect(box.part(-0.35, 0, 0.75, 0.8), k.CAR, rgb, k.CAR_CABIN_M)


def _light(
    region: Region, day: Day, sun: tuple[float, float, float], rng: np.random.Generator
) -> np.ndarray:
    light = np.zeros(k.LIGHT_COLUMNS)
    light[[k.L_SX, k.L_SY, k.L_SZ]] = sun
    light[[k.L_SUN, k.L_AMB, k.L_HAZE]] = day.sun, day.ambient, day.haze_per_m
    light[[k.L_GREEN, k.L_AUTUMN, k.L_BARE, k.L_WARM]] = day.green, day.autumn, day.bare, day.warmth
    light[k.L_SEED] = float(rng.integers(0, 4096))
    light[k.L_HILLS] = np.tan(np.radians(region.hills_deg))
    light[k.L_CLOUDS] = float(rng.uniform(0.1, 0.9))
    light[[k.L_RR, k.L_RG, k.L_RB]] = region.soil
    return light
