"""What is true of a place, read from the scene: the facts that sentences are made of.

A fact is only what stays: no cars, nothing that stands on some dates alone. Something counts as
there when at least half of it lies on the square that is described, or when it covers much of that
square. Directions are those of a compass on the grid.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from geobridge.errors import WorldError
from geobridge.world.scene import Area, Box, Building, Scene

if TYPE_CHECKING:
    from geobridge.world.planet import Town, WorldPlace
    from geobridge.world.roads import Road

COMPASS = (
    "north",
    "north-east",
    "east",
    "south-east",
    "south",
    "south-west",
    "west",
    "north-west",
)


@dataclass(frozen=True)
class Fact:
    """Something that is true of a place.

    Attributes:
        kind: road, node, water, beyond (houses across the water), rail, landmark, area, front,
            building, avenue, trees, solar, rim or open (ground with nothing on it).
        name: a noun of the scene ("church", "canal", "detached house").
        count: how many.
        colours: words for the roofs, the most frequent first; of trees, their sorts.
        mix: how far `colours` go: "" for all, "mostly", or "others" where there are more.
        walls: words for the walls, or "".
        storeys: of one building, or the most of several; 0 where that is not told.
        direction: compass word from the place; "" for here or on several sides.
        spread: "mostly" towards `direction`, or "around".
        detail: what else is told: how a road runs, a bridge, a fountain.
        across: the water or railway between the place and the thing.
        relation: how the thing lies to another one, "north of" or "across the canal from".
        to: the name of that other one.
    """

    kind: str
    name: str
    count: int = 1
    colours: tuple[str, ...] = ()
    mix: str = ""
    walls: str = ""
    storeys: int = 0
    direction: str = ""
    spread: str = ""
    detail: str = ""
    across: str = ""
    relation: str = ""
    to: str = ""


UNTOLD = ("shed", "church tower", "minaret", "temple gate", "fuel canopy", "wing", "crane")
"""Buildings that are parts of others, too small, or gone another day: neither told nor counted."""

_SETS = ("silo", "greenhouse")
"""Landmarks that stand in sets, of which each one is counted."""

_PLAIN = ("greenhouse", "mast")
"""Landmarks without a roof that has a colour."""

_AREAS = {
    "pond": 0,
    "running track": 0,
    "pitch": 0,
    "tennis court": 0,
    "sports court": 0,
    "square": 0,
    "bowling green": 0,
    "park": 0,
    "playing field": 0,
    "car park": 1,
    "pool": 1,
    "orchard": 1,
    "wood": 1,
    "churchyard": 2,
    "field": 2,
}
"""Areas that are told; the smaller the number, the better they tell a place."""

_TREES = ("broadleaf", "conifer", "palm", "cypress", "pine", "shrub", "fruit")

_LINES = (
    "north to south",
    "north-east to south-west",
    "east to west",
    "north-west to south-east",
)


def compass(dx: float, dy: float) -> str:
    """The nearest of eight compass words for a vector east, north."""
    return COMPASS[round(math.degrees(math.atan2(dx, dy)) / 45) % 8]


def _run(points: np.ndarray) -> str:
    """The way a line runs, told without a sense of direction."""
    dx, dy = points[-1] - points[0]
    return _LINES[round(math.degrees(math.atan2(float(dx), float(dy))) / 45) % 4]


def _dense(points: np.ndarray, step_m: float) -> np.ndarray:
    """A line's points, about `step_m` apart."""
    lengths = np.hypot(*np.diff(points, axis=0).T)
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.linspace(0, ends[-1], max(2, int(ends[-1] / step_m) + 1))
    return np.stack([np.interp(at, ends, points[:, i]) for i in (0, 1)], axis=1)


def _rows(boxes: Sequence[Box]) -> np.ndarray:
    columns = [(b.x, b.y, b.ux, b.uy, b.half_width_m, b.half_depth_m) for b in boxes]
    return np.array(columns, np.float64).reshape(-1, 6)


class _Index:
    """A town's things as arrays, because thousands of places are asked for their facts.

    It is made when a town is first asked, whose scene must not change from then on.
    """

    def __init__(self, scene: Scene) -> None:
        self.areas = [area for area in scene.areas if area.kind in _AREAS]
        self.area_rows = _rows([area.box for area in self.areas])
        self.fountains = _rows([area.box for area in scene.areas if area.kind == "fountain"])
        self.buildings = [
            building
            for building in scene.buildings
            if building.dates is None and building.kind not in UNTOLD
        ]
        self.building_rows = _rows([building.box for building in self.buildings])
        self.landmarks = _landmarks_of(self.buildings)
        lines = [_dense(road.points, 1.0) for road in scene.network.roads]
        self.road_points = np.concatenate(lines) if lines else np.zeros((0, 2))
        self.road_numbers = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
        self.bands = [(band, _dense(band.points, 1.0)) for band in scene.bands]
        self.rims = {
            kind: _rows([strip.box for strip in scene.strips if strip.kind == kind])
            for kind in ("hedge", "wall")
        }
        self.solar = _rows([box for box, _ in scene.solar])
        self.solar_owners = np.array([owner.number for _, owner in scene.solar], np.int64)


def _landmarks_of(buildings: list[Building]) -> dict[int, list[Building]]:
    """Numbers of landmarks, each with the buildings of its kind that are nearest to it: its wings.

    Of what stands in sets each one is a landmark.
    """
    chiefs = [b for b in buildings if b.landmark or b.kind in _SETS]
    wholes = {chief.number: [chief] for chief in chiefs}
    kinds = {chief.kind for chief in chiefs}
    for building in buildings:
        if building.kind in kinds and building.number not in wholes:
            away = {
                math.hypot(c.box.x - building.box.x, c.box.y - building.box.y): c.number
                for c in chiefs
                if c.kind == building.kind
            }
            wholes[away[min(away)]].append(building)
    return wholes


_INDICES: "WeakKeyDictionary[Town, _Index]" = WeakKeyDictionary()


_SAMPLES = (np.arange(12) + 0.5) / 6 - 1


@dataclass(frozen=True)
class _Part:
    """The part of something that lies on the square: share, m2, and its centre from the place."""

    share: float
    size_m2: float
    dx: float
    dy: float

    @property
    def away_m(self) -> float:
        return math.hypot(self.dx, self.dy)


class _Square:
    """The square of half side `radius` around a place, and what lies on it."""

    def __init__(self, town: "Town", place: "WorldPlace", radius: float) -> None:
        if town not in _INDICES:
            _INDICES[town] = _Index(town.scene)
        self.index, self.scene = _INDICES[town], town.scene
        self.x, self.y, self.radius = place.x_m, place.y_m, radius
        self.here = np.array([place.x_m, place.y_m])
        index = self.index
        self.buildings = [
            (index.buildings[i], part) for i, part in self.parts(index.building_rows).items()
        ]
        self.road: Road | None = self._street(place.heading_deg)

    def _street(self, heading_deg: float) -> "Road | None":
        """The nearest street; where several meet, the one that runs along the place's heading.

        None where too little of it is near to tell how it runs.
        """
        if not len(self.index.road_points):
            return None
        away = np.hypot(*(self.index.road_points - self.here).T)
        near = np.flatnonzero(away < away.min() + 1.5)
        heading = math.radians(heading_deg)

        def aslant(point: int) -> float:
            road = self.scene.network.roads[int(self.index.road_numbers[point])]
            i = int(np.hypot(*(road.points - self.index.road_points[point]).T).argmin())
            dx, dy = road.points[min(i + 1, len(road.points) - 1)] - road.points[max(i - 1, 0)]
            across = dx * math.cos(heading) - dy * math.sin(heading)
            return float(abs(across) / math.hypot(dx, dy))

        best = min(near.tolist(), key=lambda point: (round(aslant(point), 2), away[point]))
        road = self.scene.network.roads[int(self.index.road_numbers[best])]
        return road if len(self.seen(road)) >= 2 else None

    def seen(self, road: "Road") -> np.ndarray:
        """The points (N, 2), a metre apart, of a road that are near enough to be told."""
        line = _dense(road.points, 1.0)
        near: np.ndarray = line[np.hypot(*(line - self.here).T) < 0.8 * self.radius]
        return near

    def holds(self, points: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Which points (N, 2) lie on the square, `margin` metres from its edge."""
        held: np.ndarray = np.abs(points - self.here).max(axis=1) < self.radius - margin
        return held

    def parts(self, rows: np.ndarray) -> dict[int, _Part]:
        """Row number of each box that touches the square, with the part on it."""
        reach = rows[:, 4] + rows[:, 5]
        near = np.flatnonzero(
            np.abs(rows[:, :2] - self.here).max(axis=1, initial=0) < self.radius + reach
        )
        x, y, ux, uy, hw, hd = rows[near].T[:, :, None, None]
        along, away = hw * _SAMPLES[None, :, None], hd * _SAMPLES[None, None, :]
        px = x + along * ux - away * uy - self.x
        py = y + along * uy + away * ux - self.y
        inside = np.maximum(np.abs(px), np.abs(py)) < self.radius
        number = inside.sum(axis=(1, 2))
        return {
            int(row): _Part(
                float(n) / inside[i].size,
                float(n / inside[i].size * 4 * rows[row, 4] * rows[row, 5]),
                float(px[i][inside[i]].mean()),
                float(py[i][inside[i]].mean()),
            )
            for i, (row, n) in enumerate(zip(near, number, strict=True))
            if n
        }


def facts(town: "Town", place: "WorldPlace", radius_m: float = 50.0) -> list[Fact]:
    """All facts on the square of half side `radius_m` around a place.

    They come in the order road, nodes, water, railways, landmarks, areas, fronts, buildings,
    those beyond the water, avenue, trees, solar roofs, rims, open ground; within a kind the
    weightiest first. Away from streets there is no road. There is always at least one fact.

    Raises:
        WorldError: `radius_m` is not above 5 and at most 400 m.
    """
    if not 5 < radius_m <= 400:
        raise WorldError(
            f"A square of half side {radius_m:g} m cannot be described: choose a radius_m above 5 "
            f"and up to 400 m."
        )
    square = _Square(town, place, radius_m)
    found = [*_road(square), *_bands(square), *_things(square), *_fronts(square)]
    found += [*_buildings(square), *_avenue(square), *_trees(square), *_gardens(square)]
    return found + _open(square, found)


# -- streets, water, rails -------------------------------------------------------------------


def _road(square: _Square) -> list[Fact]:
    road = square.road
    if road is None:
        return []
    seen = square.seen(road)
    first, last = seen[min(6, len(seen) - 1)] - seen[0], seen[-1] - seen[max(0, len(seen) - 7)]
    turn = abs(math.degrees(math.atan2(*first) - math.atan2(*last))) % 360
    bend = "curving " if min(turn, 360 - turn) > 25 else ""
    name = road.kind if road.paved else "unpaved " + road.kind
    nodes = [_node(square, road, number) for number in road.nodes]
    near = sorted((node for node in nodes if node), key=lambda node: node[0])
    return [Fact("road", name, detail=bend + _run(seen)), *(fact for _, fact in near)]


def _node(square: _Square, street: "Road", number: int) -> tuple[float, Fact] | None:
    """An end of the street if it is near, with its distance."""
    network = square.scene.network
    x, y = network.nodes[number]
    dx, dy = x - square.x, y - square.y
    if max(abs(dx), abs(dy)) > square.radius - 5:
        return None
    meeting = network.meeting(number)
    arms, away = len(meeting), math.hypot(dx, dy)
    if arms == 2:
        return None
    if number in network.roundabouts and arms >= 3:
        name = "roundabout"
    elif arms == 3:
        name = _three(meeting, number)
    else:
        name = {1: "dead end", 4: "crossroads"}.get(arms, "junction")
    main = street.kind != "main road" and any(road.kind == "main road" for road in meeting)
    where = compass(dx, dy) if away > 12 else ""
    return away, Fact("node", name, arms, direction=where, detail="main road" if main else "")


def _three(meeting: list["Road"], number: int) -> str:
    """Whether one of three streets goes straight on."""
    angles = []
    for road in meeting:
        near = min(15.0, road.length_m)
        forward = road.nodes[0] == number
        x, y, _, _ = road.at(near if forward else road.length_m - near)
        end = road.points[0] if forward else road.points[-1]
        angles.append(math.degrees(math.atan2(x - end[0], y - end[1])))
    widest = max(
        abs((angles[i] - angles[j] + 180) % 360 - 180) for i in range(len(angles)) for j in range(i)
    )
    return "T-junction" if widest > 150 else "Y-junction"


def _bands(square: _Square) -> list[Fact]:
    out = []
    for band, line in square.index.bands:
        seen = line[square.holds(line)]
        if len(seen) < 25:
            continue
        gaps = np.hypot(*(seen - square.here).T)
        nearest = seen[int(gaps.argmin())] - square.here
        where = compass(*nearest) if gaps.min() > band.half_width_m + 3 else ""
        rail = band.kind == "railway"
        detail = _run(seen) + ("" if rail else _bridge(square, seen))
        out.append(Fact("rail" if rail else "water", band.kind, direction=where, detail=detail))
    return sorted(out, key=lambda fact: fact.kind, reverse=True)


def _bridge(square: _Square, water: np.ndarray) -> str:
    """Whether a road crosses the middle of the water on the square."""
    roads = square.index.road_points
    roads = roads[square.holds(roads, 5.0)]
    if not len(roads):
        return ""
    gaps = np.hypot(*(roads[:, None] - water[None]).transpose(2, 0, 1))
    return ", bridge" if gaps.min() < 0.8 else ""


def _across(square: _Square, a: _Part, b: _Part) -> str:
    """The water or railway that separates two parts on the square, or ""."""
    start, end = np.array([a.dx, a.dy]), np.array([b.dx, b.dy])
    for band, _ in square.index.bands:
        points = band.points - square.here
        if min(np.hypot(*(points - spot).T).min() for spot in (start, end)) < band.half_width_m:
            continue
        at = [p for p in _crossings(points, start, end) if np.abs(p).max() < square.radius]
        if len(at) % 2:
            return band.kind
    return ""


def _crossings(line: np.ndarray, start: np.ndarray, end: np.ndarray) -> list[np.ndarray]:
    """Where a line is crossed by the way from `start` to `end`."""
    way, steps, gap = end - start, np.diff(line, axis=0), line[:-1] - start
    across = way[0] * steps[:, 1] - way[1] * steps[:, 0]
    across = np.where(across == 0, 1e-12, across)
    on_way = (gap[:, 0] * steps[:, 1] - gap[:, 1] * steps[:, 0]) / across
    on_line = (gap[:, 0] * way[1] - gap[:, 1] * way[0]) / across
    hit = (on_way >= 0) & (on_way <= 1) & (on_line >= 0) & (on_line < 1)
    return [start + share * way for share in on_way[hit]]


# -- landmarks and areas ---------------------------------------------------------------------

_HERE = _Part(1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class _Thing:
    fact: Fact
    part: _Part
    box: Box


def _things(square: _Square) -> list[Fact]:
    """Landmarks, then areas, with how they lie to each other."""
    landmarks = sorted(_landmarks(square), key=lambda thing: thing.part.away_m)
    areas = [
        thing
        for thing in _areas(square)
        if not any(_belongs(thing, landmark) for landmark in landmarks)
    ]
    areas.sort(key=lambda thing: (_AREAS[thing.fact.name], thing.part.away_m))
    told: list[_Thing] = []
    for thing in landmarks + areas:
        across = _across(square, _HERE, thing.part) if thing.fact.direction else ""
        relation, to = _relation(square, thing, told)
        if relation.startswith("across"):
            # That tells both sides of the water, and the other thing's side need not be told twice.
            i = [other.fact.name for other in told].index(to)
            told[i] = replace(told[i], fact=replace(told[i].fact, across=""))
        fact = replace(thing.fact, across=across, relation=relation, to=to)
        told.append(replace(thing, fact=fact))
    return [thing.fact for thing in told]


def _group(parts: list[_Part]) -> _Part:
    """The middle of several parts."""
    dx, dy = np.mean([(part.dx, part.dy) for part in parts], axis=0)
    return _Part(1.0, sum(part.size_m2 for part in parts), float(dx), float(dy))


def _landmarks(square: _Square) -> list[_Thing]:
    parts = {building.number: part for building, part in square.buildings}
    groups: dict[str, list[tuple[Building, _Part]]] = {}
    for number, wings in square.index.landmarks.items():
        inside = [parts[wing.number] for wing in wings if wing.number in parts]
        whole = sum(4 * wing.box.half_width_m * wing.box.half_depth_m for wing in wings)
        size = sum(part.size_m2 for part in inside)
        if size < 0.5 * whole:
            continue
        dx, dy = (
            sum(part.size_m2 * spot for part, spot in zip(inside, spots, strict=True)) / size
            for spots in ([part.dx for part in inside], [part.dy for part in inside])
        )
        chief = next(wing for wing in wings if wing.number == number)
        groups.setdefault(chief.kind, []).append((chief, _Part(size / whole, size, dx, dy)))
    out = []
    for kind, members in groups.items():
        spots = [part for _, part in members]
        plain = kind in _PLAIN
        roofs, mix = _told_colours([_top_colour(square, m) for m, _ in members])
        fact = Fact(
            "landmark",
            kind,
            len(members),
            () if plain else roofs,
            "" if plain else mix,
            "" if plain else _walls([m.wall_colour[0] for m, _ in members]),
            direction=_joint_direction(spots, 5.0),
        )
        out.append(_Thing(fact, _group(spots), members[0][0].box))
    return out


def _top_colour(square: _Square, landmark: Building) -> str:
    """The colour of a roof; of a fuel station, that of its canopy, which is larger and higher."""
    box = landmark.box
    for other in square.scene.buildings_near(box.x, box.y, 15.0):
        if landmark.kind == "fuel station" and other.kind == "fuel canopy":
            return other.roof_colour[0]
    return landmark.roof_colour[0]


def _areas(square: _Square) -> list[_Thing]:
    whole = 4 * square.radius**2
    groups: dict[str, list[tuple[Area, _Part]]] = {}
    for i, part in square.parts(square.index.area_rows).items():
        if part.share >= 0.5 or part.size_m2 >= 0.12 * whole:
            area = square.index.areas[i]
            groups.setdefault(area.kind, []).append((area, part))
    tracks = [area.box for area, _ in groups.get("running track", [])]
    pitches = [m for m in groups.pop("pitch", []) if not any(_holds(b, m[0].box) for b in tracks)]
    if pitches:
        groups["pitch"] = pitches
    out = []
    for kind, members in groups.items():
        parts = [part for _, part in members]
        fountain = kind == "square" and any(
            _over(area.box, float(row[0]), float(row[1]))
            for area, _ in members
            for row in square.index.fountains
        )
        fact = Fact(
            "area",
            kind,
            len(members),
            direction=_joint_direction(parts, 10.0),
            detail="fountain" if fountain and len(members) == 1 else "",
        )
        out.append(_Thing(fact, _group(parts), members[0][0].box))
    return out


def _over(box: Box, x: float, y: float, margin: float = 0.0) -> bool:
    """Whether a box, grown by `margin`, holds a point."""
    dx, dy = x - box.x, y - box.y
    along, away = dx * box.ux + dy * box.uy, dy * box.ux - dx * box.uy
    return abs(along) <= box.half_width_m + margin and abs(away) <= box.half_depth_m + margin


def _holds(box: Box, other: Box, margin: float = 0.0) -> bool:
    """Whether a box, grown by `margin`, holds the centre of another."""
    return _over(box, other.x, other.y, margin)


_GROUNDS = {"square": "", "pitch": "stadium", "car park": "supermarket"}


def _belongs(area: _Thing, landmark: _Thing) -> bool:
    """Whether an area is what one expects around or within a landmark, so that it tells nothing."""
    if (area.fact.name, landmark.fact.name) == ("churchyard", "church"):
        return True
    owner = _GROUNDS.get(area.fact.name)
    if area.fact.count > 1 or owner is None or owner not in ("", landmark.fact.name):
        return False
    if _holds(area.box, landmark.box) or _holds(landmark.box, area.box):
        return True
    # The stands of a stadium surround its pitch, which lies where all of them have their middle.
    apart = math.hypot(area.part.dx - landmark.part.dx, area.part.dy - landmark.part.dy)
    return landmark.fact.name == "stadium" and apart < 20


def _joint_direction(parts: list[_Part], least_m: float) -> str:
    """The direction of all parts, or "" where they are too near or on several sides."""
    middle = _group(parts)
    if middle.away_m < least_m:
        return ""
    for part in parts:
        along = part.dx * middle.dx + part.dy * middle.dy
        if along < part.away_m * middle.away_m * math.cos(math.radians(50)):
            return ""
    return compass(middle.dx, middle.dy)


def _relation(square: _Square, thing: _Thing, told: list[_Thing]) -> tuple[str, str]:
    """How a single thing lies to an earlier one, where that can be said without doubt."""
    for other in told:
        if thing.fact.count > 1 or other.fact.count > 1 or other.fact.to:
            continue
        if thing.fact.name == "pond" and other.fact.name == "park" and _holds(other.box, thing.box):
            return "in", "park"
        across = _across(square, thing.part, other.part)
        if across:
            return f"across the {across} from", other.fact.name
        dx, dy = thing.part.dx - other.part.dx, thing.part.dy - other.part.dy
        angle = math.degrees(math.atan2(dx, dy)) / 45
        apart = not (_holds(other.box, thing.box, 5) or _holds(thing.box, other.box, 5))
        if apart and math.hypot(dx, dy) > 20 and abs(angle - round(angle)) < 0.36:
            return f"{compass(dx, dy)} of", other.fact.name
    return "", ""


# -- buildings -------------------------------------------------------------------------------


def _storeys(building: Building) -> int:
    return max(1, round((building.eave_m - 0.3) / 3))


def _told_colours(words: list[str]) -> tuple[tuple[str, ...], str]:
    """The colours that are told of several roofs, and how far they go."""
    (first, n), *rest = Counter(words).most_common()
    if n >= 0.8 * len(words):
        return (first,), "" if n == len(words) else "mostly"
    second, m = rest[0]
    if m < 0.2 * len(words):
        return (first,), "mostly" if n >= 0.5 * len(words) else "others"
    return (first, second), "" if n + m == len(words) else "others"


def _walls(words: list[str]) -> str:
    word, n = Counter(words).most_common(1)[0]
    if n == len(words):
        return word
    return f"mostly {word}" if n > 0.5 * len(words) else ""


def _buildings(square: _Square) -> list[Fact]:
    groups: dict[str, list[tuple[Building, _Part]]] = {}
    for building, part in square.buildings:
        if part.share >= 0.5 and building.kind not in square.scene.landmark_kinds:
            groups.setdefault(building.kind, []).append((building, part))
    out, beyond = [], []
    for kind, members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        over_there = Counter(_across(square, _HERE, part) for _, part in members)
        beyond += [(n, kind, band) for band, n in over_there.items() if band not in ("", "railway")]
        roofs, mix = _told_colours([m.roof_colour[0] for m, _ in members])
        storeys = max(_storeys(m) for m, _ in members)
        parts = [part for _, part in members]
        where, spread = _spread(parts, square.radius)
        out.append(
            Fact(
                "building",
                kind,
                len(members),
                roofs,
                mix,
                _walls([m.wall_colour[0] for m, _ in members]),
                storeys if storeys > 2 or len(members) == 1 else 0,
                where,
                spread,
            )
        )
    for n, kind, band in sorted(beyond, reverse=True)[:1]:
        out.append(Fact("beyond", kind, n, across=band))
    return out


def _spread(parts: list[_Part], radius: float) -> tuple[str, str]:
    """Where several things are: all in one direction, mostly there, or around."""
    where = _joint_direction(parts, 8.0)
    if where or len(parts) < 3:
        return where, ""
    middle = _group(parts)
    ahead = sum(part.dx * middle.dx + part.dy * middle.dy > 0 for part in parts)
    if middle.away_m > 0.25 * radius and ahead >= 0.6 * len(parts):
        return compass(middle.dx, middle.dy), "mostly"
    quarters = {(part.dx > 0, part.dy > 0) for part in parts}
    return "", "around" if len(quarters) > 2 else ""


def _nearest_point(box: Box, x: float, y: float) -> tuple[float, float]:
    """The point of a box that is nearest to (x, y)."""
    dx, dy = x - box.x, y - box.y
    along = min(max(dx * box.ux + dy * box.uy, -box.half_width_m), box.half_width_m)
    away = min(max(dy * box.ux - dx * box.uy, -box.half_depth_m), box.half_depth_m)
    return box.point(along, away)


_PAVEMENT_M = 3.0


def _fronts(square: _Square) -> list[Fact]:
    """The building that stands nearest on each side of the street, unless it is a landmark.

    None where the place is not on the street or its pavement: what is near stands elsewhere.
    """
    if square.road is None:
        return []
    line = _dense(square.road.points, 1.0)
    gaps = np.hypot(*(line - square.here).T)
    if gaps.min() > square.road.half_width_m + _PAVEMENT_M:
        return []
    i = int(gaps.argmin())
    step = line[min(i + 1, len(line) - 1)] - line[max(i - 1, 0)]
    step = step / np.hypot(*step)
    nearest: dict[bool, tuple[float, float, float, Building]] = {}
    for building, _ in square.buildings:
        x, y = _nearest_point(building.box, square.x, square.y)
        dx, dy = x - square.x, y - square.y
        gap, along = math.hypot(dx, dy), dx * step[0] + dy * step[1]
        side = bool(step[0] * dy - step[1] * dx > 0)
        if gap < 22 and abs(along) < 12 and (side not in nearest or gap < nearest[side][0]):
            nearest[side] = (gap, dx, dy, building)
    out = []
    for _, dx, dy, building in sorted(nearest.values(), key=lambda item: item[0]):
        if building.kind not in square.scene.landmark_kinds and _seen(square, building, dx, dy):
            out.append(
                Fact(
                    "front",
                    building.kind,
                    colours=(building.roof_colour[0],),
                    walls=building.wall_colour[0],
                    storeys=_storeys(building),
                    direction=compass(dx, dy),
                )
            )
    return out


def _seen(square: _Square, building: Building, dx: float, dy: float) -> bool:
    """Whether nothing else, of whatever date, stands between the place and a wall at (dx, dy)."""
    others = [
        other.box
        for other in square.scene.buildings_near(square.x, square.y, square.radius)
        if other.number != building.number and other.kind not in UNTOLD
    ]
    way = [(square.x + dx * share, square.y + dy * share) for share in _WAY]
    return not any(_over(box, *spot) for box in others for spot in way)


_WAY = tuple(i / 20 for i in range(1, 19))


# -- greenery and gardens --------------------------------------------------------------------


def _sorts(kinds: np.ndarray) -> tuple[str, ...]:
    """The sorts of trees that make up nearly all."""
    common = Counter(kinds.astype(int).tolist()).most_common(2)
    if not common or sum(n for _, n in common) < 0.7 * len(kinds):
        return ()
    if common[0][1] >= 0.7 * len(kinds):
        common = common[:1]
    return tuple(_TREES[kind] for kind, _ in common)


def _avenue(square: _Square) -> list[Fact]:
    """Rows of trees along the street: on each side a tree in most stretches of 16 m."""
    road, trees = square.road, square.scene.trees
    if road is None:
        return []
    line = _dense(road.points, 1.0)
    line = line[square.holds(line)]
    near = trees[square.holds(trees[:, :2])]
    if len(line) < 48 or not len(near):
        return []
    gaps = np.hypot(*(near[:, None, :2] - line[None]).transpose(2, 0, 1))
    station, gap = gaps.argmin(axis=1), gaps.min(axis=1)
    ahead = line[np.minimum(station + 1, len(line) - 1)] - line[np.maximum(station - 1, 0)]
    off = near[:, :2] - line[station]
    on_left = ahead[:, 0] * off[:, 1] - ahead[:, 1] * off[:, 0] > 0
    kerb = (gap > road.half_width_m) & (gap < road.half_width_m + 2.2)
    rows = {}
    for left in (True, False):
        row = kerb & (on_left == left)
        stretches = len(set((station[row] // 16).tolist()))
        if stretches >= max(3, 0.7 * len(line) / 16):
            rows[left] = row
    if not rows:
        return []
    both = np.logical_or.reduce(list(rows.values()))
    where = ""
    if len(rows) == 1:
        dx, dy = off[both].mean(axis=0)
        where = compass(float(dx), float(dy))
    return [Fact("avenue", "tree", colours=_sorts(near[both, 4]), direction=where)]


def _trees(square: _Square) -> list[Fact]:
    trees = square.scene.trees
    near = trees[square.holds(trees[:, :2])]
    if len(near) < 4:
        return [Fact("trees", "tree", len(near))]
    dx, dy = near[:, :2].mean(axis=0) - square.here
    where = compass(float(dx), float(dy)) if math.hypot(dx, dy) > 0.22 * square.radius else ""
    spread = "mostly" if where else ""
    return [Fact("trees", "tree", len(near), _sorts(near[:, 4]), direction=where, spread=spread)]


def _gardens(square: _Square) -> list[Fact]:
    """Roofs with solar panels, and what encloses the plots."""
    index, out = square.index, []
    panels = index.solar[:, :2]
    owners = set(index.solar_owners[square.holds(panels)].tolist()) if len(panels) else set()
    if owners:
        out.append(Fact("solar", "solar roof", len(owners)))
    lengths = {}
    for kind, rows in index.rims.items():
        held = rows[square.holds(rows[:, :2])] if len(rows) else rows
        lengths[kind] = float(2 * held[:, 4:].max(axis=1, initial=0).sum())
    for kind, other in (("hedge", "wall"), ("wall", "hedge")):
        if lengths[kind] > max(120.0, 2 * lengths[other]):
            out.append(Fact("rim", kind))
    return out


def _open(square: _Square, found: list[Fact]) -> list[Fact]:
    """Open ground: no street, no house of whatever date, and hardly a tree on the square."""
    if any(fact.kind != "trees" or fact.count >= 4 for fact in found):
        return []
    streets = square.holds(square.index.road_points).any()
    houses = square.scene.buildings_near(square.x, square.y, square.radius + 40)
    return [] if streets or houses else [Fact("open", "ground")]
