"""Places in words, read back and compared with the scene.

The reader below knows the vocabulary and takes every word of a text as a claim; the checks measure
the claim on the scene in slow, obvious ways of their own.
"""

import math
import re
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from geobridge.errors import WorldError
from geobridge.world import REGIONS, World
from geobridge.world import kernels as k
from geobridge.world.scene import Area, Band, Box, Building
from geobridge.world.words import MOST_TOKENS, _plural, _spoil, compass, facts, tokens, told_facts

HALF = 50.0

# -- the vocabulary --------------------------------------------------------------------------

HOUSES = {
    "detached house": "detached house", "house": "house", "family home": "detached house",
    "terraced row": "terraced house", "row of terraced houses": "terraced house",
    "apartment block": "apartment block", "block of flats": "apartment block",
    "apartment building": "apartment block", "office block": "office block",
    "office building": "office block", "shop": "shop", "store": "shop",
    "commercial building": "shop", "shophouse": "shophouse", "narrow shophouse": "shophouse",
    "townhouse": "townhouse", "town house": "townhouse", "bungalow": "bungalow", "villa": "villa",
    "barn": "barn", "workshop": "workshop",
}  # fmt: skip
LANDMARKS = {
    "church": "church", "mosque": "mosque", "temple": "temple", "school": "school",
    "supermarket": "supermarket", "large store": "supermarket", "warehouse": "warehouse",
    "water tower": "water tower", "silo": "silo", "windmill": "windmill", "stadium": "stadium",
    "sports stadium": "stadium", "petrol station": "fuel station", "fuel station": "fuel station",
    "bell tower": "bell tower", "greenhouse": "greenhouse", "mast": "mast", "radio mast": "mast",
}  # fmt: skip
AREAS = {
    "football pitch": "pitch", "sports pitch": "pitch", "car park": "car park",
    "parking area": "car park", "swimming pool": "pool", "pool": "pool", "pond": "pond",
    "small lake": "pond", "tennis court": "tennis court", "sports court": "sports court",
    "playing court": "sports court", "orchard": "orchard", "running track": "running track",
    "bowling green": "bowling green", "wood": "wood", "patch of woodland": "wood",
    "field": "field", "farm field": "field", "playing field": "playing field",
    "grass field": "playing field", "churchyard": "churchyard", "park": "park",
    "public park": "park", "square": "square", "paved square": "square",
}  # fmt: skip
THINGS = {**LANDMARKS, **AREAS}
SHORT = {"pitch": "pitch", "stadium": "stadium", "mast": "mast", "lake": "pond"}
STREETS = {
    "main road": "main road", "wide road": "main road", "through road": "main road",
    "street": "street", "side street": "street", "minor road": "street", "lane": "lane",
    "narrow lane": "lane", "unpaved road": "unpaved main road", "dirt road": "unpaved main road",
    "unpaved street": "unpaved street", "dirt street": "unpaved street",
    "earth road": "unpaved street", "dirt lane": "unpaved lane", "earth track": "unpaved lane",
}  # fmt: skip
BANDS = {
    "river": "river", "canal": "canal", "railway line": "railway", "railway": "railway",
    "rail track": "railway",
}  # fmt: skip
PARTS = ("shed", "church tower", "minaret", "temple gate", "fuel canopy", "wing", "crane")
TREES = ("broadleaf", "conifer", "palm", "cypress", "pine", "shrub", "fruit")
POINTS = {
    "north": 0, "north-east": 45, "east": 90, "south-east": 135, "south": 180,
    "south-west": 225, "west": 270, "north-west": 315,
}  # fmt: skip
COUNTS = {
    "a": (1, 1), "an": (1, 1), "one": (1, 1), "two": (2, 2), "three": (3, 3), "four": (4, 4),
    "five": (5, 5), "six": (6, 6), "seven": (7, 7), "eight": (8, 8), "nine": (9, 9),
    "ten": (10, 10), "about a dozen": (11, 13), "about fifteen": (14, 17),
    "about twenty": (18, 22), "over twenty": (23, 999),
}  # fmt: skip


def either(words):
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def plurals(names):
    heads = {name: name.partition(" of ") for name in names}
    out = {}
    for name, (head, of, tail) in heads.items():
        out[(head + ("es" if head.endswith("ch") else "s")) + of + tail] = names[name]
    return {**names, **out}


COLOUR = either(
    {word for r in REGIONS.values() for word, _ in r.roofs + r.flat_roofs + r.walls}
    | {"pale", "red", "dark timber", "green", "grey", "white", "silver", "orange", "brown", "blue"}
)
D = f"(?:{either(POINTS)})"
TOPS = "(?:roofs?|domes?|canopy|canopies)"
ROOFS = rf"(?:an? )?(?:mostly |mainly )?(?:{COLOUR})(?:(?:, | and )(?:{COLOUR}|other))* {TOPS}"
WALLS = rf"(?:mostly )?(?:{COLOUR}) walls"
LOOK = (
    rf"(?: with (?:(?P<roof>{ROOFS})(?: and (?P<wall>{WALLS}))?"
    rf"|(?P<wall2>{WALLS})(?: and (?P<roof2>{ROOFS}))?))?"
)
WHERE = (
    rf"(?:(?P<how>mostly to|mainly in|to|on) the (?P<at>{D})(?: side)?"
    r"|(?P<around>all around|on several sides))"
)


def noun(names):
    return re.compile(
        rf"(?P<n>{either(COUNTS)}) (?:(?P<adjective>white|silver) )?"
        rf"(?:(?P<floors>[a-z]+)-storey )?(?P<noun>{either(plurals(names))})\b"
        rf"(?: of up to (?P<most>[a-z]+) storeys)?{LOOK}(?P<fountain> with a fountain)?",
    )


HOUSE, THING = noun(HOUSES), noun(THINGS)
PLACED = re.compile(
    rf"(?: (?P<rel>in|{D} of|across the [a-z]+ from) the (?P<to>{either({**THINGS, **SHORT})})\b"
    rf"|(?: {WHERE})?(?: across the (?P<across>river|canal|railway))?)"
)
THINGS_BEGIN = re.compile(
    r"(?:nearby (?:is|are)|there (?:is|are)|close by (?:lies|lie)|the surroundings include) "
)
ACROSS = r"(?: across the (?P<across>river|canal|railway))?"
HOUSES_BEGIN = re.compile(rf"(?:{WHERE}{ACROSS} (?:stands?|there is|there are)|there (?:is|are)) ")
BETWEEN = re.compile(r", and |, | and ")
SORTS = r"(?:(?:[a-z]+ and )?[a-z]+ trees(?: and shrubs)?|shrubs|trees)"
NODE = (
    r"(?:an? )?(T-junction|T-shaped junction|Y-junction|fork|crossroads|four-way junction"
    r"|dead end|cul-de-sac|roundabout with [a-z]+ arms|junction of [a-z]+ streets|another)"
    rf"( (?:on|with) a (?:main|wide) road)?(?: (?:to|on) the ({D})(?: side)?| here| in the middle)"
)
STREET = re.compile(
    rf"an? (?P<bend>curving |winding )?(?P<name>{either(STREETS)})"
    rf"(?: with a row of (?P<row>{SORTS}) on its (?P<side>{D}) side"
    rf"|(?: lined with| between rows of) (?P<rows>{SORTS}))?"
    rf" (?:runs|leads|goes) (?:from )?(?P<a>{D}) to (?P<b>{D})"
    rf"(?:(?:, with| and has) (?P<nodes>{NODE}(?: and {NODE})?))?"
)
LINE = re.compile(
    rf"an? (?P<name>{either(BANDS)}) (?:runs|passes) from (?P<a>{D}) to (?P<b>{D})"
    rf"(?: (?:to|on) the (?P<at>{D})(?: side)?)?(?P<bridge> (?:under|below) a bridge)?"
    rf"(?:, with (?P<n>{either(COUNTS)}) (?P<houses>{either(plurals(HOUSES))}) across the water)?"
)
FRONT = (
    re.compile(rf"by the road to the (?P<at>{D}) stands (?P<first>.+)"),
    re.compile(rf"(?P<first>.+) (?:faces|stands beside) the road to the (?P<at>{D})(?P<rest>.*)"),
)
OPEN = (
    "this is open ground without streets or houses",
    "the ground is open, with neither streets nor houses",
)
AMOUNTS = {
    "a few": (4, 14), "some": (4, 14), "many": (15, 39), "plenty of": (15, 39),
    "numerous": (15, 39), "very many": (40, 9999), "a great number of": (40, 9999),
}  # fmt: skip
GREEN = re.compile(
    rf"(?P<amount>{either(AMOUNTS)}) (?P<sorts>{SORTS}) (?:grow|stand)"
    rf"(?: (?:mostly to|mainly in) the (?P<at>{D})| around)"
    r"|(?P<bare>there are hardly any trees|the ground is almost without trees)"
    rf"|(?P<n>{either(COUNTS)}) roofs? (?:carry|carries|have|has) solar panels"
    r"|(?P<rim>hedges|walls|garden walls) (?:enclose|divide) the plots"
)


# -- the scene, measured slowly --------------------------------------------------------------


class Ground:
    """Everything on the square of 100 m around a place."""

    def __init__(self, town, place):
        self.scene, self.x, self.y = town.scene, place.x_m, place.y_m
        self.roads = [r for r in town.scene.network.roads if self.near(*r.points.T)]
        self.buildings = [b for b in town.scene.buildings if self.near(b.box.x, b.box.y)]
        gaps = [np.hypot(*(dense(r.points) - (self.x, self.y)).T).min() for r in self.roads]
        # Where streets meet, the place lies on the one that it is headed along.
        met = [r for r, gap in zip(self.roads, gaps, strict=True) if gap < min(gaps) + 1.5]
        self.road = min(met, key=lambda road: self.aslant(road, place.heading_deg), default=None)
        self.axis = dense(self.road.points) - (self.x, self.y) if met else np.zeros((0, 2))

    def aslant(self, road, heading_deg):
        """Degrees between a road near the place and a heading."""
        line = dense(road.points)
        i = int(np.hypot(*(line - (self.x, self.y)).T).argmin())
        gap = bearing(line[min(i + 3, len(line) - 1)] - line[max(i - 3, 0)]) - heading_deg
        return abs((gap + 90) % 180 - 90)

    def near(self, x, y):
        """Whether anything of a line or a point is worth a closer look."""
        return bool((np.maximum(abs(x - self.x), abs(y - self.y)) < 150).any())

    def on(self, box):
        """The points of a lattice on a box that are on the square too, and what share they are."""
        reach = math.hypot(box.half_width_m, box.half_depth_m)
        if max(abs(box.x - self.x), abs(box.y - self.y)) > HALF + reach:
            return np.zeros((0, 2)), 0.0
        steps = np.linspace(-reach, reach, 60)
        rel = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        along, away = rel @ (box.ux, box.uy), rel @ (-box.uy, box.ux)
        rel = rel[(abs(along) <= box.half_width_m) & (abs(away) <= box.half_depth_m)]
        points = rel + np.array([box.x - self.x, box.y - self.y])
        held = points[self.inside(points)]
        return held, len(held) / len(points)

    def members(self, kinds, things):
        """Those that surely lie on the square and those that may, each with its middle."""
        sure, maybe = [], []
        for thing in things:
            points, share = self.on(thing.box) if thing.kind in kinds else ((), 0.0)
            if share == 0:
                continue
            big = share * thing.box.half_width_m * thing.box.half_depth_m / HALF**2
            item = (thing, points.mean(axis=0))
            if share > 0.56 or (big > 0.13 and hasattr(thing, "wobble")):
                sure.append(item)
            elif share > 0.44 or (big > 0.11 and hasattr(thing, "wobble")):
                maybe.append(item)
        return sure, maybe

    def landmarks(self, kind):
        """Those of a kind that lie on the square; all buildings around one are its wings."""
        sure, maybe = [], []
        stand = [b for b in self.scene.buildings if b.dates is None and b.kind == kind]
        chiefs = [b for b in stand if b.landmark or kind in ("silo", "greenhouse")]
        for chief in chiefs:
            whole, held, moment = 0.0, 0.0, np.zeros(2)
            for wing in stand:
                gaps = [apart(c.box, wing.box) for c in chiefs]
                near = chiefs[gaps.index(min(gaps))]
                if wing is chief or (wing not in chiefs and near is chief):
                    points, share = self.on(wing.box)
                    size = 4 * wing.box.half_width_m * wing.box.half_depth_m
                    whole, held = whole + size, held + share * size
                    moment += points.mean(axis=0) * share * size if share else 0
            if held > 0.44 * whole:
                item = (self.with_top(chief), moment / held)
                (sure if held > 0.56 * whole else maybe).append(item)
        return sure, maybe

    def with_top(self, landmark):
        """A landmark with the colour of what is highest of it."""
        for other in self.buildings:
            canopy = landmark.kind == "fuel station" and other.kind == "fuel canopy"
            if canopy and apart(other.box, landmark.box) < 15:
                return replace(landmark, roof_colour=other.roof_colour)
        return landmark

    def lasting(self):
        return [b for b in self.buildings if b.dates is None and b.kind not in PARTS]

    def inside(self, points):
        return np.abs(points).max(axis=1) < HALF


def dense(points, step_m=0.5):
    """A line's points, at most `step_m` apart."""
    out = []
    for a, b in pairwise(points):
        n = max(1, math.ceil(math.hypot(*(b - a)) / step_m))
        out += [a + (b - a) * i / n for i in range(n)]
    return np.array([*out, points[-1]])


def apart(a, b):
    return math.hypot(a.x - b.x, a.y - b.y)


def bearing(vector):
    return math.degrees(math.atan2(vector[0], vector[1])) % 360


def off(vector, word):
    """Degrees between a vector and a word of the compass."""
    return abs((bearing(vector) - POINTS[word] + 180) % 360 - 180)


def storeys_of(building):
    # Walls are 3 m a storey and 0.3 or 1.2 m more.
    return max(1, math.floor(building.eave_m / 3))


def turned_off(vector, a, b):
    """Degrees between a line's direction and that told as `from a to b`."""
    return min(off(vector, a), off(vector, b))


# -- claims ----------------------------------------------------------------------------------


def colours_hold(told, words):
    """Whether "red and grey roofs", "mostly red roofs" or "red, grey and other roofs" is right."""
    told = re.sub(r"^an? | (roofs?|domes?|canopy|canopies|walls)$", "", told)
    mostly = re.match(r"mostly |mainly ", told)
    names = re.split(r", | and ", told[mostly.end() :] if mostly else told)
    if names[-1] == "other":
        return set(names[:-1]) < set(words)
    share = sum(word in names for word in words) / len(words)
    return set(names) <= set(words) and (0.5 <= share < 1 if mostly else share == 1)


def look_holds(match, members):
    roof, wall = match["roof"] or match["roof2"], match["wall"] or match["wall2"]
    things = [thing for thing, _ in members]
    if match["adjective"] and {t.roof_colour[0] for t in things} != {match["adjective"]}:
        return False
    if roof and not colours_hold(roof, [t.roof_colour[0] for t in things]):
        return False
    if wall and not colours_hold(wall, [t.wall_colour[0] for t in things]):
        return False
    if match["most"] and max(map(storeys_of, things)) != COUNTS[match["most"]][0]:
        return False
    floors = match["floors"]
    told = floors and (1 if floors == "single" else COUNTS[floors][0])
    return not told or {storeys_of(t) for t in things} == {told}


def where_holds(how, at, around, members):
    middles = np.array([middle for _, middle in members])
    if around:
        return len({(x > 0, y > 0) for x, y in middles}) >= 3
    if not at:
        return True
    mean = middles.mean(axis=0)
    ahead = (middles @ mean > 0).mean()
    return off(mean, at) < 27 and ahead >= (0.55 if how in ("mostly to", "mainly in") else 1)


def group_holds(match, where, sure, maybe):
    """Whether count, colours, storeys and direction fit, whoever on the edge is counted."""
    low, high = COUNTS[match["n"]]
    for more in range(len(maybe) + 1):
        for extra in combinations(maybe, more):
            members = sure + list(extra)
            if (
                members
                and low <= len(members) <= high
                and look_holds(match, members)
                and where_holds(*where, members)
            ):
                return True
    return False


class Reader:
    """Reads one text against the ground; every claim that fails raises with the text."""

    def __init__(self, town, place, text):
        self.town, self.text, self.seen = town, text, []
        self.ground = Ground(town, place)
        self.landmark_kinds = {b.kind for b in town.scene.buildings if b.landmark}

    def sure(self, holds, claim):
        assert holds, f"{claim!r} in {self.text!r}"
        self.seen.append(claim)

    def read(self):
        for sentence in re.split(r"\. |; ", self.text.removesuffix(".")):
            clause = sentence[0].lower() + sentence[1:]
            readers = (self.street, self.line, self.things, self.houses, self.fronts, self.green,
                       self.open)  # fmt: skip
            assert any(read(clause) for read in readers), f"{clause!r} in {self.text!r}"
        return self.seen

    def street(self, clause):
        m = STREET.fullmatch(clause)
        if not m:
            return False
        road, axis = self.ground.road, self.ground.axis
        name = road.kind if road.paved else "unpaved " + road.kind
        self.sure(STREETS[m["name"]] == name, m["name"])
        seen = axis[np.hypot(*axis.T) < 40]
        self.sure(turned_off(seen[-1] - seen[0], m["a"], m["b"]) < 24, f"{m['a']} to {m['b']}")
        if m["bend"]:
            ends = seen[10] - seen[0], seen[-1] - seen[-11]
            turn = abs(bearing(ends[0]) - bearing(ends[1])) % 360
            self.sure(min(turn, 360 - turn) > 20, "bend")
        if m["row"] or m["rows"]:
            self.avenue(m["row"] or m["rows"], m["side"])
        last = ""
        for name, main, at in re.findall(NODE, m["nodes"] or ""):
            last = last if name == "another" else name
            self.node(last, main, at)
        return True

    def avenue(self, sorts, side):
        trees = self.ground.scene.trees
        rel = trees[:, :2] - (self.ground.x, self.ground.y)
        held = self.ground.inside(rel)
        rel, kinds = rel[held], trees[held, 4].astype(int)
        gaps = np.hypot(*(rel[:, None] - self.ground.axis[None]).transpose(2, 0, 1))
        feet = self.ground.axis[gaps.argmin(axis=1)]
        half = self.ground.road.half_width_m
        kerb = (gaps.min(axis=1) > half - 0.5) & (gaps.min(axis=1) < half + 2.5)
        out = rel - feet
        if side:
            kerb &= np.array([off(v, side) < 100 for v in out])
        self.sure(kerb.sum() >= (3 if side else 6), f"row of {sorts}")
        told = [TREES.index(s) for s in TREES if re.search(rf"\b{s}s?\b", sorts)]
        if told:
            self.sure(np.isin(kinds[kerb], told).mean() > 0.6, sorts)

    def node(self, name, main, at):
        network, ground = self.ground.scene.network, self.ground
        for number in ground.road.nodes:
            x, y = network.nodes[number][0] - ground.x, network.nodes[number][1] - ground.y
            meeting = [road for road in network.roads if number in road.nodes]
            near = math.hypot(x, y) < 12.5
            if max(abs(x), abs(y)) > HALF or (off((x, y), at) > 23 if at else not near):
                continue
            if main and not any(road.kind == "main road" for road in meeting):
                continue
            if name in node_names(network, number, meeting):
                self.sure(True, name)
                return
        self.sure(False, f"{name}{main} {at}")

    def line(self, clause):
        at = 0
        while match := LINE.match(clause, at):
            self.sure(self.band_holds(match), match[0])
            if match["houses"]:
                self.sure(self.beyond(match), f"{match['n']} {match['houses']} across the water")
            at = match.end()
            at += len(" and ") * clause.startswith(" and ", at)
        assert at in (0, len(clause)), self.text
        return at > 0

    def band_holds(self, m):
        for band in self.ground.scene.bands:
            points = dense(band.points) - (self.ground.x, self.ground.y)
            points = points[self.ground.inside(points)]
            if band.kind != BANDS[m["name"]] or len(points) < 20:
                continue
            nearest = points[np.hypot(*points.T).argmin()]
            if turned_off(points[-1] - points[0], m["a"], m["b"]) > 24:
                continue
            if m["at"] and off(nearest, m["at"]) > 24:
                continue
            return not m["bridge"] or self.bridged(points)
        return False

    def beyond(self, m):
        kind = plurals(HOUSES)[m["houses"]]
        for name in {kind, "detached house"} if kind == "house" else {kind}:
            sure, maybe = (
                sum(self.crosses(BANDS[m["name"]], np.zeros(2), middle) for _, middle in part)
                for part in self.ground.members({name}, self.ground.lasting())
            )
            low, high = COUNTS[m["n"]]
            if sure <= high and sure + maybe >= low:
                return True
        return False

    def bridged(self, points):
        lines = [dense(road.points) - (self.ground.x, self.ground.y) for road in self.ground.roads]
        roads = np.concatenate(lines)
        roads = roads[self.ground.inside(roads)]
        return np.hypot(*(roads[:, None] - points[None]).transpose(2, 0, 1)).min() < 1

    def things(self, clause):
        begin = THINGS_BEGIN.match(clause)
        if not begin or not THING.match(clause, begin.end()):
            return False
        at, found = begin.end(), {}
        while True:
            m = THING.match(clause, at)
            assert m, f"{clause[at:]!r} in {self.text!r}"
            where = PLACED.match(clause, m.end())
            found[plurals(THINGS)[m["noun"]]] = self.thing(m, where, found)
            at = where.end()
            if at == len(clause):
                return True
            between = BETWEEN.match(clause, at)
            assert between, f"{clause[at:]!r} in {self.text!r}"
            at = between.end()

    def thing(self, m, where, found):
        kind, ground = plurals(THINGS)[m["noun"]], self.ground
        if m["noun"] in plurals(LANDMARKS):
            sure, maybe = ground.landmarks(kind)
        else:
            sure, maybe = ground.members({kind}, ground.scene.areas)
            if kind == "pitch":
                tracks = [a.box for a in ground.scene.areas if a.kind == "running track"]
                stadiums = [i[1] for part in ground.landmarks("stadium") for i in part]
                inner = [
                    any(over(track, i[0].box) for track in tracks)
                    or any(math.hypot(*(i[1] - spot)) < 25 for spot in stadiums)
                    for i in sure
                ]
                maybe += [i for i, within in zip(sure, inner, strict=True) if within]
                sure = [i for i, within in zip(sure, inner, strict=True) if not within]
        holds = group_holds(m, (where["how"], where["at"], where["around"]), sure, maybe)
        self.sure(holds, m[0] + where[0])
        middle = np.mean([i[1] for i in sure or maybe], axis=0)
        if m["fountain"]:
            spouts = [a.box for a in ground.scene.areas if a.kind == "fountain"]
            self.sure(any(over(i[0].box, s) for i in sure + maybe for s in spouts), "fountain")
        if where["across"]:
            self.sure(self.crosses(where["across"], np.zeros(2), middle), where[0])
        if where["rel"]:
            other = {**THINGS, **SHORT}[where["to"]]
            self.relation(where["rel"], middle, found[other], (sure + maybe)[0][0])
        return middle, (sure + maybe)[0][0]

    def relation(self, word, middle, other, thing):
        if word == "in":
            self.sure(over(other[1].box, thing.box), "in")
        elif word.startswith("across"):
            self.sure(self.crosses(word.split()[2], other[0], middle), word)
        else:
            self.sure(off(middle - other[0], word.removesuffix(" of")) < 22.5, word)

    def crosses(self, kind, a, b):
        way = dense(np.array([a, b], float))
        lines = [dense(band.points) for band in self.ground.scene.bands if band.kind == kind]
        return any(
            np.hypot(*(way[:, None] + (self.ground.x, self.ground.y) - line[None]).T).min() < 1
            for line in lines
        )

    def houses(self, clause):
        begin = HOUSES_BEGIN.match(clause)
        if not begin or not HOUSE.match(clause, begin.end()):
            return False
        where, at = begin, begin.end()
        while True:
            m = HOUSE.match(clause, at)
            assert m, f"{clause[at:]!r} in {self.text!r}"
            kind = plurals(HOUSES)[m["noun"]]
            kinds = {kind, "detached house"} if kind == "house" else {kind}
            holds = any(
                group_holds(
                    m,
                    (where["how"], where["at"], where["around"]),
                    *self.ground.members({k} - self.landmark_kinds, self.ground.lasting()),
                )
                for k in kinds
            )
            self.sure(holds, m[0])
            at = m.end()
            if at == len(clause):
                return True
            where = re.compile(rf", and (?:{WHERE} )?").match(clause, at)
            assert where, f"{clause[at:]!r} in {self.text!r}"
            at = where.end()

    def fronts(self, clause):
        m = next((m for m in (form.fullmatch(clause) for form in FRONT) if m), None)
        if not m:
            return False
        first, _, second = (m["first"] + m.groupdict().get("rest", "")).partition(", across from ")
        sides = self.front(first, m["at"])
        if second:
            self.sure(self.front(second, None) - sides or len(sides) == 2, "across from")
        return True

    def front(self, told, at):
        """The sides of the street on which such a building stands first."""
        m = HOUSE.fullmatch(told)
        assert m, f"{told!r} in {self.text!r}"
        kind = plurals(HOUSES)[m["noun"]]
        kinds = {kind, "detached house"} if kind == "house" else {kind}
        gap = np.hypot(*self.ground.axis.T)
        self.sure(gap.min() < self.ground.road.half_width_m + 3.5, "by the road")
        i = int(gap.argmin())
        step = self.ground.axis[min(i + 2, len(gap) - 1)] - self.ground.axis[max(i - 2, 0)]
        everything, sides = self.ground.lasting(), set()
        for building in everything:
            if building.kind not in kinds or not look_holds(m, [(building, None)]):
                continue
            wall = self.nearest_wall(building)
            if math.hypot(*wall) > 22.5 or (at and off(wall, at) > 24):
                continue
            if not any(self.hides(other, wall) for other in everything if other is not building):
                sides.add(bool(step[0] * wall[1] - step[1] * wall[0] > 0))
        self.sure(sides, told)
        return sides

    def nearest_wall(self, building):
        box = building.box
        if math.hypot(box.x - self.ground.x, box.y - self.ground.y) > 80:
            return np.array([999.0, 999.0])
        ends = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
        corners = [box.point(a * box.half_width_m, b * box.half_depth_m) for a, b in ends]
        walls = dense(np.array(corners), 0.1) - (self.ground.x, self.ground.y)
        return walls[np.hypot(*walls.T).argmin()]

    def hides(self, building, wall):
        """Whether a building stands in the line of sight, short of the wall that is looked at."""
        box = building.box
        for share in np.linspace(0.05, 0.9, 40):
            x, y = self.ground.x + wall[0] * share, self.ground.y + wall[1] * share
            if over(box, x=x, y=y):
                return True
        return False

    def green(self, clause):
        at = 0
        while match := GREEN.match(clause, at):
            self.growth(match)
            at = match.end()
            between = BETWEEN.match(clause, at)
            at = between.end() if between else at
        assert at in (0, len(clause)), f"{clause[at:]!r} in {self.text!r}"
        return at > 0

    def open(self, clause):
        if clause not in OPEN:
            return False
        lines = [dense(road.points) - (self.ground.x, self.ground.y) for road in self.ground.roads]
        self.sure(not any(self.ground.inside(line).any() for line in lines), "no streets")
        houses = [b for b in self.ground.buildings if len(self.ground.on(b.box)[0])]
        self.sure(not houses, "no houses")
        return True

    def growth(self, m):
        scene, here = self.ground.scene, (self.ground.x, self.ground.y)
        trees = scene.trees[self.ground.inside(scene.trees[:, :2] - here)]
        if m["bare"]:
            self.sure(len(trees) < 4, m[0])
        elif m["amount"]:
            low, high = AMOUNTS[m["amount"]]
            self.sure(low <= len(trees) <= high, m[0])
            told = [TREES.index(s) for s in TREES if re.search(rf"\b{s}s?\b", m["sorts"])]
            shares = [(trees[:, 4] == kind).mean() for kind in told]
            self.sure(not told or (sum(shares) >= 0.7 and min(shares) > 0.1), m["sorts"])
            if m["at"]:
                self.sure(off(trees[:, :2].mean(axis=0) - here, m["at"]) < 23, m[0])
        elif m["n"]:
            owners = {
                owner.number
                for box, owner in scene.solar
                if max(abs(box.x - here[0]), abs(box.y - here[1])) < HALF
            }
            self.sure(COUNTS[m["n"]][0] <= len(owners) <= COUNTS[m["n"]][1], m[0])
        else:
            total = {"hedge": 0.0, "wall": 0.0}
            for strip in scene.strips:
                box = strip.box
                near = max(abs(box.x - here[0]), abs(box.y - here[1])) < HALF
                if near and strip.kind in total:
                    total[strip.kind] += 2 * max(box.half_width_m, box.half_depth_m)
            told = "hedge" if m["rim"] == "hedges" else "wall"
            self.sure(total[told] >= 120 and total[told] == max(total.values()), m[0])


def node_names(network, number, meeting):
    arms = len(meeting)
    words = [word for word, (low, high) in COUNTS.items() if low == arms == high]
    if number in network.roundabouts and arms >= 3:
        return {f"roundabout with {word} arms" for word in words}
    if arms == 3:
        angles = []
        for road in meeting:
            line = dense(road.points)
            line = line if road.nodes[0] == number else line[::-1]
            angles.append(bearing(line[min(30, len(line) - 1)] - line[0]))
        pairs = [abs((a - b + 180) % 360 - 180) for a, b in combinations(angles, 2)]
        straight = {"T-junction", "T-shaped junction"} if max(pairs) > 148 else set()
        return straight | ({"Y-junction", "fork"} if max(pairs) < 152 else set())
    named = {1: {"dead end", "cul-de-sac"}, 4: {"crossroads", "four-way junction"}}
    return named.get(arms, {f"junction of {word} streets" for word in words})


def over(box, other=None, x=None, y=None):
    """Whether a box holds the centre of another, or a point."""
    dx, dy = (other.x if other else x) - box.x, (other.y if other else y) - box.y
    along, away = dx * box.ux + dy * box.uy, -dx * box.uy + dy * box.ux
    return abs(along) <= box.half_width_m and abs(away) <= box.half_depth_m


# -- texts are true --------------------------------------------------------------------------


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_every_word_of_a_text_is_true(region):
    town, claims = World(0).town(region, 4), 0
    for place in town.places(25, at_most=True):
        claims += len(Reader(town, place, town.describe(place, variant=place.index)).read())
    assert claims > 100


def test_the_reader_finds_what_is_wrong(town):
    found = 0
    for place in town.places(30):
        try:
            Reader(town, place, town.describe(place, noise=1.0)).read()
        except AssertionError:
            found += 1
    assert found >= 29


def test_things_are_related_to_each_other_and_across_water():
    told = []
    for region, index in (("lowland", 0), ("lowland", 1), ("prairie", 2)):
        town = World(0).town(region, index)
        for place in town.places(80, at_most=True):
            here = told_facts(town, place)
            if any(fact.relation or fact.across for fact in here):
                told += Reader(town, place, town.describe(place)).read()
    assert sum(claim.endswith(" of") for claim in told) > 10
    assert sum("across" in claim for claim in told) > 5


# -- away from streets -----------------------------------------------------------------------


@pytest.mark.parametrize("at", [(-440, 440), (440, 440), (300, -300)])
def test_a_place_without_a_street_is_described(town, at):
    place = town.place_at(*at)
    assert not {"road", "node", "avenue", "front"} & {fact.kind for fact in facts(town, place)}
    for variant in range(4):
        assert Reader(town, place, town.describe(place, variant)).read()


@pytest.mark.parametrize(("region", "index"), [("albion", 0), ("prairie", 1)])
def test_every_word_is_true_anywhere_in_a_town(region, index):
    town, rng = World(0).town(region, index), np.random.default_rng(5)
    for x, y in rng.uniform(-450, 450, (60, 2)):
        place = town.place_at(float(x), float(y), float(rng.uniform(0, 360)))
        assert Reader(town, place, town.describe(place)).read()
        assert town.describe(place, noise=1.0)


def test_ground_with_nothing_on_it_is_open(bare):
    town, place = bare
    town.scene.network.roads = []
    assert [fact.kind for fact in facts(town, place)] == ["trees", "open"]
    text = town.describe(place)
    assert "open" in text
    assert Reader(town, place, text).read()


def test_ground_where_a_house_stands_on_some_date_is_not_open(bare):
    town, place = bare
    town.scene.network.roads = []
    put(town, place, "shed", 45, 45, dates=frozenset({1}))
    assert [fact.kind for fact in facts(town, place)] == ["trees"]
    assert Reader(town, place, town.describe(place)).read()


@pytest.mark.parametrize("radius_m", [5.0, 0.0, -50.0, 400.5, math.inf, math.nan])
def test_a_radius_is_more_than_5_and_at_most_400_m(town, radius_m):
    place = town.places(1)[0]
    with pytest.raises(WorldError, match="choose a radius_m above 5 and up to 400 m"):
        town.describe(place, radius_m=radius_m)


@pytest.mark.parametrize("radius_m", [5.1, 12.0, 100.0, 400.0])
def test_any_radius_within_bounds_gives_a_text(town, radius_m):
    for at in ((0, 0), (-440, 440), (300, -300)):
        assert town.describe(town.place_at(*at), radius_m=radius_m)


# -- texts are plain and short ---------------------------------------------------------------


@pytest.fixture(scope="module")
def towns():
    """One town each of some regions."""
    return [World(1).town(region, 0) for region in ("boreal", "edo", "lowland", "mesa", "riviera")]


def sample(towns, per_town):
    return [(town, place) for town in towns for place in town.places(per_town, at_most=True)]


def test_texts_are_two_to_four_plain_sentences_that_clip_can_hold(towns):
    passing = (
        r"\b(cars?(?! park)|vehicles?|vans?|people|sun|sunny|shadows?|cloud\w*|snow|rain|fog|haze"
        r"|summer|winter|autumn|spring|season\w*|cranes?|scaffold\w*|building site|construction"
        r"|today|currently|now|temporary|parked)\b"
    )
    of_a_view = (
        r"\b(left|right|above|overhead|aerial|satellite|drone|bird|street view|panorama|photo\w*"
        r"|pictures?|image\w*|view\w*|seen|visible|camera|foreground|background|top|bottom|map)\b"
    )
    for town, place in sample(towns, 40):
        text = town.describe(place, variant=place.index)
        assert 2 <= len(re.split(r"\. ", text)) <= 4, text
        assert tokens(text) <= MOST_TOKENS == 75, text
        assert re.fullmatch(r"([A-Z][a-zT ,;-]*\. )*[A-Z][a-zTY ,;-]*\.", text), text
        assert not re.search(r"  | ,| \.|\b(\w+) \1\b|\ba [aeiou]|\ban [^aeiou]", text), text
        assert not re.search(passing, text.lower()), text
        assert not re.search(of_a_view, text.lower()), text


def test_tokens_are_counted_as_clip_counts_them():
    # Counted with CLIP's own vocabulary: hyphens and commas are tokens, some words are two.
    assert tokens("A T-junction to the north-west, with a hedge.") == 14
    assert tokens("two white-tiled shophouses of up to four storeys") == 13
    assert tokens("three broadleaf and conifer trees") == 7


@pytest.mark.parametrize(
    ("name", "many"),
    [
        ("church", "churches"),
        ("house", "houses"),
        ("block of flats", "blocks of flats"),
        ("patch of woodland", "patches of woodland"),
        ("terraced row", "terraced rows"),
    ],
)
def test_plurals(name, many):
    assert _plural(name) == many


# -- one place, many wordings; many places, many texts ---------------------------------------


def test_wordings_differ_and_tell_the_same_facts(town):
    for place in town.places(12):
        texts = [town.describe(place, variant) for variant in range(8)]
        assert len(set(texts)) >= 7
        assert town.describe(place, 3) == texts[3]
        told = {tuple(sorted(claims(text))) for text in texts}
        assert len(told) == 1, texts
        orders = {subjects(text) for text in texts}
        # The same sentences, in more than one order.
        assert len({tuple(sorted(order)) for order in orders}) == 1, texts
        assert len(orders) > 1, texts


def subjects(text):
    """What each sentence of a text is about, in the order of the sentences."""
    forms = {
        "street": (STREET,),
        "line": (LINE,),
        "fronts": FRONT,
        "things": (re.compile(THINGS_BEGIN.pattern + THING.pattern),),
        "houses": (re.compile(HOUSES_BEGIN.pattern + HOUSE.pattern),),
        "green": (GREEN,),
    }
    order = []
    for sentence in re.split(r"\. |; ", text.removesuffix(".")):
        clause = sentence[0].lower() + sentence[1:]
        (about,) = (s for s, fs in forms.items() if any(form.match(clause) for form in fs))
        order.append(about)
    return tuple(order)


def test_subjects_are_told_apart():
    text = "A lane runs from north to south. Two ponds to the east; many pine trees grow around."
    with pytest.raises(ValueError, match="not enough values"):
        subjects(text)
    assert subjects(text.replace("Two", "There are two")) == ("street", "things", "green")
    # Longer words are no other order.
    assert subjects("A narrow lane leads north to south. Many trees grow around.") == subjects(
        "A lane runs from north to south. Plenty of trees stand around."
    )


def claims(text):
    """What a text says whatever the words: counts, things, colours, directions, storeys."""
    canonical = {**plurals(THINGS), **plurals(HOUSES), **STREETS, **BANDS, **SHORT}
    canonical |= {word: word for word in (*POINTS, *TREES, "hedges", "walls", "solar", "bridge")}
    canonical |= {word: str(count) for word, count in COUNTS.items() if word not in ("a", "an")}
    canonical |= {"house": "detached house", "houses": "detached house"}
    canonical |= {"T-shaped junction": "T-junction", "T-junction": "T-junction", "fork": "Y"}
    canonical |= {"Y-junction": "Y", "cul-de-sac": "dead end", "dead end": "dead end"}
    canonical |= {"four-way junction": "crossroads", "crossroads": "crossroads"}
    canonical |= {"roundabout": "roundabout", "terraced houses": "", "by the road": ""}
    canonical |= {word: word for word in re.split(r"\|", COLOUR.replace("\\", ""))}
    canonical |= {"faces the road": "", "beside the road": "", "one roof": "1", "dome": "dome"}
    lower = text[0].lower() + text[1:]
    found = re.findall(rf"(?<![\w-])(?:{either(canonical)})(?![\w])", lower.replace(". A ", ". a "))
    return [canonical[word] for word in found if canonical[word]]


@pytest.mark.parametrize("region", ["prairie", "lowland", "formosa", "edo"])
def test_places_share_a_text_only_where_their_facts_are_the_same(region):
    told = {}
    for index in (0, 1):
        town = World(0).town(region, index)
        for place in town.places(60, at_most=True):
            facts_here = told_facts(town, place)
            assert told.setdefault(town.describe(place), facts_here) == facts_here
    distinct = {tuple(facts_here) for facts_here in told.values()}
    assert len(told) >= 100
    # Facts, too, are hardly ever those of another place.
    assert len(distinct) >= 0.99 * len(told)


# -- noise -----------------------------------------------------------------------------------


def close(share, rate, n):
    """Whether a share of n draws is within three standard deviations of their rate."""
    assert n >= 100
    return abs(share - rate) <= 3 * math.sqrt(rate * (1 - rate) / n)


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_noise_spoils_each_sort_of_fact_at_its_rate(towns, rate):
    colours, directions, missing, invented = [], [], [], []
    for town, place in sample(towns, 120):
        clean, spoilt = told_facts(town, place), told_facts(town, place, noise=rate)
        left = {(f.kind, f.name, f.count): f for f in spoilt}
        kinds = {f.name for f in clean if f.kind == "landmark"}
        invented.append(any(f.kind == "landmark" and f.name not in kinds for f in spoilt))
        for fact in clean:
            same = left.get((fact.kind, fact.name, fact.count))
            alike = sum((f.kind, f.name, f.count) == (fact.kind, fact.name, fact.count)
                        for f in clean)  # fmt: skip
            if fact.kind == "landmark":
                missing.append(same is None)
            if same is None or alike > 1:
                continue
            if fact.colours and fact.kind in ("landmark", "building", "front"):
                colours.append(same.colours != fact.colours)
            if fact.direction:
                directions.append(same.direction != fact.direction)
                if same.direction != fact.direction:
                    turn = POINTS[same.direction] - POINTS[fact.direction]
                    assert 90 <= turn % 360 <= 270
    for spoils in (colours, directions, missing, invented):
        assert close(np.mean(spoils), rate, len(spoils))


def test_a_made_up_landmark_pushes_no_true_one_out(towns):
    for town, place in sample(towns, 60):
        left = _spoil(told_facts(town, place), town, place, 0.5, HALF)
        noisy = told_facts(town, place, noise=0.5)
        for kind in ("landmark", "area"):
            names = [sorted(f.name for f in found if f.kind == kind) for found in (left, noisy)]
            assert names[0] == names[1]


def test_without_noise_the_text_is_the_clean_one(town):
    places = town.places(20)
    clean = [town.describe(place, variant=2) for place in places]
    assert [town.describe(place, variant=2, noise=0.0) for place in places] == clean
    assert all(told_facts(town, place, noise=0.0) == told_facts(town, place) for place in places)
    spoilt = [town.describe(place, variant=2, noise=1.0) for place in places]
    assert all(a != b for a, b in zip(clean, spoilt, strict=True))
    assert all(tokens(text) <= MOST_TOKENS for text in spoilt)


def test_what_is_wrong_at_a_low_rate_is_wrong_at_a_higher(town):
    for place in town.places(20):
        low, high = (invented_names(town, place, noise) for noise in (0.2, 0.7))
        assert low <= high


def invented_names(town, place, noise):
    clean = {fact.name for fact in told_facts(town, place)}
    spoilt = told_facts(town, place, noise=noise)
    return {fact.name for fact in spoilt if fact.kind == "landmark"} - clean


def test_noise_is_a_share(town):
    with pytest.raises(WorldError, match="no share"):
        town.describe(town.places(1)[0], noise=1.5)


# -- things put there by hand ----------------------------------------------------------------


@pytest.fixture
def bare():
    """A town whose streets are all that is left, and a place on one of them."""
    town = World(0).town("prairie", 0)
    town.scene.buildings = []
    town.scene.areas, town.scene.bands, town.scene.strips, town.scene.solar = [], [], [], []
    town.scene.trees = np.zeros((0, 6))
    return town, town.places(1)[0]


def put(town, place, kind, dx, dy, *, dates=None, landmark=False, half=5.0, eave=6.3):
    box = Box(place.x_m + dx, place.y_m + dy, 1.0, 0.0, half, half)
    number = len(town.scene.buildings) + 1
    building = Building(number, kind, box, eave, 0, k.FLAT, k.ROOF_FLAT, ("red", (1, 1, 1)),
                        ("white", (1, 1, 1)), "windows", dates, landmark)  # fmt: skip
    town.scene.buildings.append(building)


def lay(town, place, kind, dx, dy, half_width=6.0, half_depth=6.0):
    box = Box(place.x_m + dx, place.y_m + dy, 1.0, 0.0, half_width, half_depth)
    town.scene.areas.append(Area(kind, box, (1, 1, 1)))


def told(town, place, kind):
    return [fact for fact in facts(town, place) if fact.kind == kind]


def test_what_stands_on_some_dates_and_parts_of_houses_are_never_told(bare):
    town, place = bare
    put(town, place, "crane", 20, 20, dates=frozenset({1, 2}))
    put(town, place, "crane", -20, 20)
    put(town, place, "church", 20, -20, dates=frozenset({1}), landmark=True)
    put(town, place, "villa", -15, -20, dates=frozenset({0, 1}))
    put(town, place, "wing", 0, 20)
    put(town, place, "shed", 0, -20)
    assert {fact.kind for fact in facts(town, place)} <= {"road", "node", "trees"}


def test_a_building_counts_from_half_of_it_on(bare):
    town, place = bare
    put(town, place, "villa", 49, 0)
    put(town, place, "villa", -51, 0)
    put(town, place, "villa", 0, 40)
    assert [(fact.name, fact.count) for fact in told(town, place, "building")] == [("villa", 2)]


def test_landmarks_of_a_kind_are_counted_and_sets_too(bare):
    town, place = bare
    put(town, place, "church", 30, 30, landmark=True)
    put(town, place, "church", 32, 14, landmark=True)
    for dx in (-30, -22, -14):
        put(town, place, "silo", dx, -30, landmark=dx == -22, half=3)
    found = {fact.name: fact for fact in told(town, place, "landmark")}
    assert (found["church"].count, found["church"].direction) == (2, "north-east")
    assert (found["silo"].count, found["silo"].direction) == (3, "south-west")
    assert "three silver silos" not in town.describe(place)  # these are red
    assert "three red silos" in town.describe(place)


def test_new_landmarks_are_told_without_more_code(bare):
    town, place = bare
    for dx, dy in ((-40, 0), (-10, 0), (-25, -15), (-25, 15)):
        put(town, place, "stadium", dx, dy, landmark=dx == -40, half=5)
    lay(town, place, "pitch", -25, 0)
    put(town, place, "greenhouse", 30, 30, landmark=True)
    put(town, place, "greenhouse", 30, 18)
    put(town, place, "mast", 30, -30, landmark=True, half=1)
    text = town.describe(place)
    (stadium, *_) = told(town, place, "landmark")
    assert (stadium.name, stadium.count, stadium.direction) == ("stadium", 1, "west")
    assert "pitch" not in text
    assert "two greenhouses" in text
    assert re.search(r"a (radio )?mast\b(?! with)", text)


def test_a_fuel_station_has_the_colour_of_its_canopy(bare):
    town, place = bare
    put(town, place, "fuel station", 20, 20, landmark=True)
    put(town, place, "fuel canopy", 20, 8)
    canopy = town.scene.buildings.pop()
    town.scene.buildings.append(replace(canopy, roof_colour=("blue", (1, 1, 1))))
    assert "a blue canopy" in town.describe(place)


def test_a_pond_lies_north_of_the_school(bare):
    town, place = bare
    put(town, place, "school", 30, -20, landmark=True)
    lay(town, place, "pond", 30, 20)
    school, pond = (*told(town, place, "landmark"), *told(town, place, "area"))
    assert (pond.relation, pond.to) == ("north of", "school")
    assert (school.relation, school.direction) == ("", "south-east")
    assert re.search("(pond|small lake) north of the school", town.describe(place))


def test_no_relation_where_the_direction_is_between_two_words(bare):
    town, place = bare
    put(town, place, "school", 0, 0, landmark=True)
    # 22 degrees from north lies halfway to north-east.
    lay(town, place, "pond", 40 * math.sin(math.radians(22)), 40 * math.cos(math.radians(22)))
    (pond,) = told(town, place, "area")
    assert pond.relation == ""


def canal(place, dx):
    """A canal from south to north, `dx` metres east of a place."""
    along = np.arange(-300.0, 301, 12)
    points = np.stack([np.full_like(along, place.x_m + dx), place.y_m + along], axis=1)
    return Band("canal", points, 5.0)


def test_a_church_stands_across_the_canal_from_the_car_park(bare):
    town, place = bare
    town.scene.bands = [canal(place, 15)]
    put(town, place, "church", 35, 0, landmark=True)
    lay(town, place, "car park", -25, 0)
    church, car_park = (*told(town, place, "landmark"), *told(town, place, "area"))
    # The relation tells that the church is across the canal.
    assert (church.across, church.direction) == ("", "east")
    assert (car_park.relation, car_park.to) == ("across the canal from", "church")
    assert car_park.across == ""
    (water,) = told(town, place, "water")
    assert (water.direction, water.detail.partition(",")[0]) == ("east", "north to south")


def test_houses_across_the_canal_are_counted(bare):
    town, place = bare
    town.scene.bands = [canal(place, 15)]
    for dx, dy in ((35, 30), (35, -30), (30, 10), (-35, 30)):
        put(town, place, "villa", dx, dy)
    (beyond,) = told(town, place, "beyond")
    assert (beyond.name, beyond.count, beyond.across) == ("villa", 3, "canal")
    assert ", with three villas across the water" in town.describe(place)


def test_things_on_one_side_of_a_canal_are_not_across_it(bare):
    town, place = bare
    town.scene.bands = [canal(place, -20)]
    put(town, place, "church", 35, 20, landmark=True)
    lay(town, place, "car park", 35, -20)
    assert {fact.across for fact in facts(town, place)} == {""}
    assert not any("across" in fact.relation for fact in facts(town, place))


def test_the_nearest_house_on_each_side_faces_the_street(bare):
    town, place = bare
    right = math.radians(place.heading_deg + 90)
    for away, kind, eave in ((14, "villa", 6.3), (24, "barn", 3.3), (-12, "shop", 9.3)):
        dx, dy = away * math.sin(right), away * math.cos(right)
        put(town, place, kind, dx, dy, half=2.0, eave=eave)
    found = {fact.name: fact for fact in told(town, place, "front")}
    assert set(found) == {"villa", "shop"}
    assert (found["villa"].storeys, found["shop"].storeys) == (2, 3)
    assert found["villa"].direction == compass(math.sin(right), math.cos(right))
    assert (found["villa"].walls, found["villa"].colours) == ("white", ("red",))
    text = town.describe(place)
    assert re.search(
        "two-storey villa with (white walls and a red roof|a red roof and white)", text
    )
    assert ", across from a" in text


@pytest.mark.parametrize("sides", [(1,), (1, -1)])
def test_trees_along_the_street_are_told(bare, sides):
    town, _ = bare
    road = max(town.scene.network.roads, key=lambda r: r.length_m)
    middle = road.length_m / 2
    x, y, _, _ = road.at(middle)
    place = town.place_at(x, y)
    rows = []
    for station in np.arange(5, road.length_m - 5, 10):
        for side in sides:
            px, py, dx, dy = road.at(float(station))
            away = side * (road.half_width_m + 1.2)
            rows.append((px + dy * away, py - dx * away, 2.0, 8.0, k.PALM, 0.5))
    town.scene.trees = np.array(rows)
    (avenue,) = told(town, place, "avenue")
    assert avenue.colours == ("palm",)
    _, _, dx, dy = road.at(middle)
    assert avenue.direction == (compass(dy, -dx) if len(sides) == 1 else "")
    told_text = town.describe(place)
    wanted = "a row of palm trees on its" if len(sides) == 1 else "(lined with|rows of) palm trees"
    assert re.search(wanted, told_text)


def test_colours_go_as_far_as_they_go(bare):
    town, place = bare
    for i, roof in enumerate(["red"] * 5 + ["grey"]):
        put(town, place, "villa", 8 * i - 20, 30, half=3)
        building = town.scene.buildings.pop()
        town.scene.buildings.append(replace(building, roof_colour=(roof, (1, 1, 1))))
    (villas,) = told(town, place, "building")
    assert (villas.colours, villas.mix) == (("red",), "mostly")
    assert villas.walls == "white"
