"""A place in words: facts read from the scene, then sentences made of them.

A fact is only what stays: no cars, nothing that stands on some dates alone, no word that fits a
single view. Sentences say where things are by the compass, never by left and right.
"""

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from geobridge.errors import WorldError
from geobridge.world.regions import Region
from geobridge.world.seeds import generator

if TYPE_CHECKING:
    from geobridge.world.planet import Town, WorldPlace
    from geobridge.world.scene import Band, Building

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

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Fact:
    """Something that is true of a place.

    Attributes:
        kind: layout, water, rail, building, landmark, area or trees.
        name: a noun of the scene ("church", "canal", "detached house").
        count: how many, where that is told.
        colours: words for roofs (buildings, landmarks).
        walls: word for the walls, or "".
        direction: compass word from the place, "" for around or here.
        detail: what else is told: the run of a street, storeys, the other side of the water.
    """

    kind: str
    name: str
    count: int = 1
    colours: tuple[str, ...] = ()
    walls: str = ""
    direction: str = ""
    detail: str = ""


def compass(dx: float, dy: float) -> str:
    """The nearest of eight compass words for a vector east, north."""
    return COMPASS[round(math.degrees(math.atan2(dx, dy)) / 45) % 8]


def _run(dx: float, dy: float) -> str:
    """The way a line runs, told without a sense of direction."""
    words = (
        "north to south",
        "north-east to south-west",
        "east to west",
        "north-west to south-east",
    )
    return words[round(math.degrees(math.atan2(dx, dy)) / 45) % 4]


def facts(town: "Town", place: "WorldPlace", radius_m: float = 50.0) -> list[Fact]:
    """All facts on the square of half side `radius_m` around a place, the weightiest first."""
    found = [*_layout(town, place, radius_m), *_bands(town, place, radius_m)]
    found += _landmarks(town, place, radius_m) + _areas(town, place, radius_m)
    found += _buildings(town, place, radius_m) + _trees(town, place, radius_m)
    return found


def _layout(town: "Town", place: "WorldPlace", radius: float) -> list[Fact]:
    network, out = town.scene.network, []
    x, y = place.x_m, place.y_m
    road = min(network.roads, key=lambda r: float(np.hypot(*(r.points - (x, y)).T).min()))
    i = int(np.argmin(np.hypot(*(road.points - (x, y)).T)))
    a, b = road.points[max(0, i - 3)], road.points[min(len(road.points) - 1, i + 3)]
    dx, dy = b - a
    first, last = road.points[1] - road.points[0], road.points[-1] - road.points[-2]
    turn = abs(math.degrees(math.atan2(*first) - math.atan2(*last))) % 360
    detail = ("curving " if min(turn, 360 - turn) > 20 else "") + _run(float(dx), float(dy))
    name = road.kind if road.paved else "unpaved " + road.kind
    out.append(Fact("layout", name, detail=detail))
    near = []
    for number, (nx, ny) in enumerate(network.nodes):
        away = math.hypot(nx - x, ny - y)
        if max(abs(nx - x), abs(ny - y)) < radius - 5:
            arms = len(network.meeting(number))
            if arms >= 3 or (arms == 1 and away < 35):
                near.append((away, number, arms))
    for away, number, arms in sorted(near)[:2]:
        nx, ny = network.nodes[number]
        where = compass(nx - x, ny - y) if away > 14 else ""
        if number in network.roundabouts and arms >= 3:
            out.append(Fact("layout", "roundabout", arms, direction=where))
        elif arms == 1:
            out.append(Fact("layout", "dead end", direction=where))
        else:
            names = {3: "T-junction", 4: "crossroads"}
            out.append(Fact("layout", names.get(arms, "junction"), arms, direction=where))
    return out


def _nearest(band: "Band", x: float, y: float) -> tuple[float, float, float, float]:
    """The point of a band nearest to (x, y) and the band's direction there."""
    i = int(np.argmin(np.hypot(*(band.points - (x, y)).T)))
    dx, dy = band.points[min(i + 1, len(band.points) - 1)] - band.points[max(i - 1, 0)]
    return float(band.points[i][0]), float(band.points[i][1]), float(dx), float(dy)


def _bands(town: "Town", place: "WorldPlace", radius: float) -> list[Fact]:
    out = []
    for band in town.scene.bands:
        bx, by, dx, dy = _nearest(band, place.x_m, place.y_m)
        # Points of a band lie 12 m apart; the foot of the perpendicular is nearer.
        size = math.hypot(dx, dy)
        off = ((place.x_m - bx) * dy - (place.y_m - by) * dx) / size
        if abs(off) - band.half_width_m > radius - 4:
            continue
        where = compass(-off * dy, off * dx) if abs(off) > band.half_width_m + 2 else ""
        bridges = town.scene.bridges if band.kind != "railway" else []
        bridge = any(
            max(abs(px - place.x_m), abs(py - place.y_m)) < radius - 5 for px, py in bridges
        )
        detail = _run(dx, dy) + (", bridge" if bridge else "")
        kind = "rail" if band.kind == "railway" else "water"
        out.append(Fact(kind, band.kind, direction=where, detail=detail))
    return out


def _across(town: "Town", place: "WorldPlace", x: float, y: float, radius: float) -> str:
    """The water that separates (x, y) from the place, or ""."""
    for band in town.scene.bands:
        if band.kind == "railway":
            continue
        sides = []
        for px, py in ((place.x_m, place.y_m), (x, y)):
            bx, by, dx, dy = _nearest(band, px, py)
            off = ((px - bx) * dy - (py - by) * dx) / math.hypot(dx, dy)
            sides.append(off if abs(off) > band.half_width_m else 0.0)
        if sides[0] * sides[1] < 0 and abs(sides[0]) < radius:
            return band.kind
    return ""


def _landmarks(town: "Town", place: "WorldPlace", radius: float) -> list[Fact]:
    out = []
    for building in town.scene.buildings_near(place.x_m, place.y_m, radius - 3):
        dx, dy = building.box.x - place.x_m, building.box.y - place.y_m
        if building.landmark and building.dates is None:
            across = _across(town, place, building.box.x, building.box.y, radius)
            out.append(
                Fact(
                    "landmark",
                    building.kind,
                    colours=(building.roof_colour[0],),
                    walls=building.wall_colour[0],
                    direction=compass(dx, dy),
                    detail=f"across the {across}" if across else "",
                )
            )
    return out


_TOLD_AREAS = {
    "pond": 0,
    "pitch": 0,
    "running track": 0,
    "tennis court": 0,
    "sports court": 0,
    "square": 0,
    "bowling green": 0,
    "park": 0,
    "playing field": 0,
    "car park": 1,
    "churchyard": 2,
    "wood": 1,
    "orchard": 1,
    "field": 2,
    "pool": 1,
}


def _areas(town: "Town", place: "WorldPlace", radius: float) -> list[Fact]:
    groups: dict[str, list[tuple[float, float]]] = {}
    for area in town.scene.areas:
        dx, dy = area.box.x - place.x_m, area.box.y - place.y_m
        if area.kind in _TOLD_AREAS and max(abs(dx), abs(dy)) < radius - 2:
            groups.setdefault(area.kind, []).append((dx, dy))
    out = []
    for kind, spots in groups.items():
        dx, dy = np.mean(spots, axis=0)
        spread = max(math.hypot(sx - dx, sy - dy) for sx, sy in spots)
        near = math.hypot(dx, dy) < 10 or spread > 35
        across = _across(town, place, place.x_m + float(dx), place.y_m + float(dy), radius)
        out.append(
            Fact(
                "area",
                kind,
                len(spots),
                direction="" if near else compass(float(dx), float(dy)),
                detail=f"across the {across}" if across and len(spots) == 1 else "",
            )
        )
    return sorted(out, key=lambda fact: (_TOLD_AREAS[fact.name], fact.name))


_UNTOLD = ("shed", "church tower", "minaret", "temple gate", "fuel canopy")


def _buildings(town: "Town", place: "WorldPlace", radius: float) -> list[Fact]:
    groups: dict[str, list[Building]] = {}
    for building in town.scene.buildings_near(place.x_m, place.y_m, radius):
        if (
            building.dates is None
            and building.kind not in _UNTOLD
            and building.kind not in town.scene.landmark_kinds
        ):
            groups.setdefault(building.kind, []).append(building)
    out = []
    for kind, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        roofs = Counter(member.roof_colour[0] for member in members)
        walls = Counter(member.wall_colour[0] for member in members)
        told = [word for word, n in roofs.most_common(2) if n >= 0.25 * len(members)]
        wall, n = walls.most_common(1)[0]
        dx = float(np.mean([member.box.x for member in members])) - place.x_m
        dy = float(np.mean([member.box.y for member in members])) - place.y_m
        storeys = max(round((member.eave_m - 0.3) / 3) for member in members)
        even = math.hypot(dx, dy) < (0.25 if len(members) > 2 else 0.1) * radius
        out.append(
            Fact(
                "building",
                kind,
                len(members),
                tuple(told),
                wall if n > 0.5 * len(members) else "",
                "" if even else compass(dx, dy),
                str(storeys) if storeys >= 3 else "",
            )
        )
    panels = {
        owner.number
        for box, owner in town.scene.solar
        if max(abs(box.x - place.x_m), abs(box.y - place.y_m)) < radius
    }
    if panels:
        out.append(Fact("solar", "solar roof", len(panels)))
    return out


def _trees(town: "Town", place: "WorldPlace", radius: float) -> list[Fact]:
    trees = town.scene.trees
    inside = trees[np.abs(trees[:, :2] - (place.x_m, place.y_m)).max(axis=1) < radius]
    if len(inside) < 4:
        return [Fact("trees", "tree", len(inside))]
    names = ("broadleaf", "conifer", "palm", "cypress", "pine", "shrub", "fruit")
    kind = Counter(inside[:, 4].astype(int).tolist()).most_common(1)[0]
    word = names[kind[0]] if kind[1] > 0.5 * len(inside) else ""
    dx, dy = (inside[:, :2] - (place.x_m, place.y_m)).mean(axis=0)
    where = compass(float(dx), float(dy)) if math.hypot(dx, dy) > 0.22 * radius else ""
    return [Fact("trees", "tree", len(inside), (word,) if word else (), direction=where)]


# -- sentences -------------------------------------------------------------------------------

_INVENTED = ("church", "water tower", "warehouse", "supermarket", "school")


def _spoil(found: list[Fact], region: Region, rng: np.random.Generator, noise: float) -> list[Fact]:
    """Wrong colours, missing landmarks and made-up ones, each at the rate `noise`."""
    words = [word for word, _ in region.roofs + region.flat_roofs]
    out = []
    for fact in found:
        if rng.random() >= noise:
            out.append(fact)
        elif fact.colours and fact.kind == "building":
            others = [word for word in words if word not in fact.colours]
            out.append(replace(fact, colours=(str(rng.choice(others)),)))
        elif fact.direction and fact.kind != "landmark":
            out.append(replace(fact, direction=str(rng.choice(COMPASS))))
        elif fact.kind not in ("landmark", "area"):
            out.append(fact)
    if rng.random() < noise:
        name = str(rng.choice(_INVENTED))
        colour, where = str(rng.choice(words)), str(rng.choice(COMPASS))
        out.append(Fact("landmark", name, colours=(colour,), direction=where))
    return out


_NAMES: dict[str, tuple[str, ...]] = {
    "main road": ("main road", "wide road", "through road"),
    "street": ("street", "side street", "residential street"),
    "lane": ("lane", "narrow lane"),
    "unpaved main road": ("unpaved road", "dirt road"),
    "unpaved street": ("unpaved street", "dirt street", "earth track"),
    "unpaved lane": ("dirt lane", "earth track"),
    "dead end": ("dead end", "cul-de-sac"),
    "T-junction": ("T-junction", "three-way junction"),
    "crossroads": ("crossroads", "four-way junction"),
    "railway": ("railway line", "railway", "rail track"),
    "detached house": ("detached house", "house", "single-family home"),
    "terraced house": ("terraced row", "row of terraced houses"),
    "apartment block": ("apartment block", "block of flats", "apartment building"),
    "shop": ("shop", "store", "commercial building"),
    "shophouse": ("shophouse", "narrow shophouse"),
    "townhouse": ("townhouse", "town house"),
    "supermarket": ("supermarket", "large store"),
    "pitch": ("football pitch", "sports pitch"),
    "car park": ("car park", "parking area"),
    "pool": ("swimming pool", "pool"),
    "wood": ("wood", "patch of woodland"),
    "field": ("field", "farm field"),
    "park": ("park", "small park"),
    "square": ("square", "paved square"),
    "pond": ("pond", "small lake"),
    "playing field": ("playing field", "grass field"),
    "fuel station": ("petrol station", "fuel station"),
    "sports court": ("sports court", "playing court"),
}


def _number(count: int) -> str:
    if count < len(_NUMBERS):
        return _NUMBERS[count]
    return "a dozen" if count <= 13 else "many" if count < 22 else "a great many"


def _plural(noun: str) -> str:
    head, of, tail = noun.partition(" of ")
    if head.endswith(("ch", "s")):
        return head + ("es" if not head.endswith("roads") else "") + of + tail
    return (head[:-1] + "ies" if head.endswith("ry") else head + "s") + of + tail


def _a(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


class _Writer:
    """Chooses words for facts; one random generator decides, so a variant is reproducible."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def pick(self, *options: str) -> str:
        return str(options[int(self.rng.integers(len(options)))])

    def name(self, name: str) -> str:
        return self.pick(*_NAMES.get(name, (name,)))

    def where(self, direction: str) -> str:
        if not direction:
            return ""
        return " " + self.pick(
            f"to the {direction}", f"on the {direction} side", f"towards the {direction}"
        )

    def layout(self, found: list[Fact]) -> str:
        road, nodes = found[0], found[1:]
        way = road.detail.replace("curving ", "")
        bend = self.pick("curving ", "winding ", "bending ") if "curving" in road.detail else ""
        street = _a(bend + self.name(road.name))
        runs = self.pick("runs", "leads", "goes")
        if not nodes:
            return f"{street} {runs} from {way}"
        node = nodes[0]
        name = self.name(node.name)
        if node.name == "junction":
            name = f"junction of {_number(node.count)} streets"
        if node.name == "roundabout" and node.count >= 3:
            name = self.pick("roundabout", f"roundabout with {_number(node.count)} arms")
        verb = self.pick("meets", "reaches", "comes to")
        text = f"{street} from {way} {verb} {_a(name)}{self.where(node.direction)}"
        if len(nodes) > 1:
            other = self.name(nodes[1].name)
            text += f", with {_a(other)}{self.where(nodes[1].direction)}"
        return text

    def water(self, fact: Fact) -> str:
        way = fact.detail.split(",")[0]
        text = f"{_a(self.name(fact.name))} {self.pick('runs', 'passes')} from {way}"
        text += self.where(fact.direction)
        if fact.detail.endswith("bridge"):
            text += self.pick(", crossed by a bridge", ", with a bridge over it")
        return text

    def buildings(self, found: list[Fact]) -> str:
        parts = []
        for fact in found:
            noun = self.name(fact.name)
            if fact.detail and self.rng.random() < 0.7:
                storeys = _number(int(fact.detail))
                noun = (
                    f"up to {storeys} storey " if fact.count > 1 else f"{storeys}-storey "
                ) + noun
            if fact.count == 1:
                text = _a(noun)
            elif noun.startswith("up to"):
                head, _, tail = noun.partition(" storey ")
                text = f"{_number(fact.count)} {_plural(tail)} of {head} storeys"
            else:
                text = f"{_number(fact.count)} {_plural(noun)}"
            roof = " and ".join(fact.colours)
            if roof:
                text += f" with {_a(roof + ' roof') if fact.count == 1 else roof + ' roofs'}"
            if fact.walls and self.rng.random() < 0.8:
                link = " and " if roof else " with "
                text += f"{link}{fact.walls} walls"
            if fact.direction:
                text += self.where(fact.direction)
            elif fact.count > 2:
                text += self.pick(" around", " on all sides", "")
            parts.append(text)
        text = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
        verb = "stands" if found[0].count == 1 and len(found) == 1 else "stand"
        if self.rng.random() < 0.5:
            return f"there {'is' if verb == 'stands' else 'are'} {text}"
        return f"{text} {verb} here" if not found[-1].direction else f"here {verb} {text}"

    def thing(self, fact: Fact) -> str:
        name = self.name(fact.name)
        if fact.kind == "landmark" and fact.colours:
            text = _a(name) + self.pick(
                f" with {_a(fact.colours[0] + ' roof')}", f", roofed in {fact.colours[0]},"
            )
            if fact.walls and "," not in text and self.rng.random() < 0.5:
                text += f" and {fact.walls} walls"
        else:
            text = _a(name) if fact.count == 1 else f"{_number(fact.count)} {_plural(name)}"
        if fact.detail:
            text += f" {fact.detail}"
        return text + self.where(fact.direction)

    def things(self, found: list[Fact]) -> str:
        parts = [self.thing(fact) for fact in found]
        text = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
        one = len(found) == 1 and found[0].count == 1
        return self.pick(
            f"nearby {'is' if one else 'are'} {text}",
            f"there {'is' if one else 'are'} {text}",
            f"close by {'lies' if one else 'lie'} {text}",
        )

    def greenery(self, fact: Fact) -> str:
        sort = fact.colours[0] + " " if fact.colours and fact.colours[0] != "shrub" else ""
        noun = "shrubs" if fact.colours == ("shrub",) else f"{sort}trees"
        if fact.count < 4:
            return self.pick("there are hardly any trees", "the ground is almost without trees")
        if fact.count < 15:
            amount = self.pick("a few", "some", "scattered")
        elif fact.count < 40:
            amount = self.pick("many", "plenty of", "numerous")
        else:
            amount = self.pick("dense", "a great number of", "closely set")
        return f"{amount} {noun} {self.pick('grow', 'stand')}" + (
            self.where(fact.direction) or self.pick(" around", " among the plots", " all over")
        )


# A text encoder takes some 77 tokens, which is about as many words as this.
_MOST_WORDS = 62


def _words(texts: list[str]) -> int:
    return sum(len(text.split()) for text in texts)


def describe(
    town: "Town", place: "WorldPlace", variant: int = 0, noise: float = 0.0, radius_m: float = 50.0
) -> str:
    """Two to four sentences made of the facts; see `Town.describe`.

    Raises:
        WorldError: `noise` is no share.
    """
    if not 0 <= noise <= 1:
        raise WorldError(f"Anchor noise {noise:g} is no share: choose 0 to 1.")
    key = (town.name, round(place.x_m * 10), round(place.y_m * 10))
    found = facts(town, place, radius_m)
    if noise > 0:
        found = _spoil(found, town.region, generator("spoil", *key), noise)
    writer = _Writer(generator("words", *key, variant))
    by_kind: dict[str, list[Fact]] = {}
    for fact in found:
        by_kind.setdefault(fact.kind, []).append(fact)

    first = writer.layout(by_kind["layout"]) if "layout" in by_kind else ""
    # What tells a place best comes first, because the last is dropped where it gets too long.
    rest = []
    told = by_kind.get("landmark", [])[:2]
    told += by_kind.get("area", [])[: max(1, 3 - len(told))]
    told += by_kind.get("solar", [])[: max(0, 3 - len(told))]
    lines = by_kind.get("water", []) + by_kind.get("rail", [])
    if lines:
        rest.append(writer.water(lines[0]))
    if told:
        rest.append(writer.things(told))
    if "building" in by_kind:
        room = _MOST_WORDS - _words([first, *rest])
        both, one = (writer.buildings(by_kind["building"][:n]) for n in (2, 1))
        rest.append(both if _words([both]) <= room else one)
    if len(rest) < 3 and "trees" in by_kind:
        rest.append(writer.greenery(by_kind["trees"][0]))
    while len(rest) > 1 and _words([first, *rest]) > _MOST_WORDS:
        rest.pop()
    order = writer.rng.permutation(len(rest))
    sentences = [first, *(rest[i] for i in order)]
    if writer.rng.random() < 0.3:
        sentences = sentences[1:] + sentences[:1]
    return " ".join(text[0].upper() + text[1:] + "." for text in sentences if text)
