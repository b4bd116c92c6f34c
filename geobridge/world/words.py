"""A place in words: two to four sentences made of its facts.

Which facts are told is the same for all wordings of a place. Sentences say where things are by the
compass or by each other, never by left and right, and use no word that fits a single view.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from geobridge.errors import WorldError
from geobridge.world.facts import COMPASS, Fact, compass, facts
from geobridge.world.seeds import generator

if TYPE_CHECKING:
    from geobridge.world.planet import Town, WorldPlace

__all__ = ["COMPASS", "MOST_TOKENS", "Fact", "compass", "describe", "facts", "tokens", "told_facts"]

MOST_TOKENS = 75
"""CLIP reads 77 tokens, two of which are its marks of start and end."""

# fmt: off
_LONG = frozenset((
    "unpaved", "cul", "terraced", "shophouse", "shophouses", "townhouses", "churchyard",
    "churchyards", "warehouses", "silo", "silos", "greenhouses", "bungalows", "masts", "orchards",
    "windmills", "ochre", "tiled", "storeys", "broadleaf", "conifer", "enclose", "curving",
))
# fmt: on
"""Words that CLIP's vocabulary splits in two."""


@lru_cache(maxsize=8192)
def tokens(text: str) -> int:
    """How many tokens CLIP makes of a text of this module's words, without start and end."""
    pieces = re.findall(r"[a-z]+|[^a-z\s]", text.lower())
    return len(pieces) + sum(piece in _LONG for piece in pieces)


# -- which facts are told --------------------------------------------------------------------

_ORDER = (
    ("road", 0),
    ("water", 0),
    ("landmark", 0),
    ("beyond", 0),
    ("node", 0),
    ("area", 0),
    ("building", 0),
    ("front", 0),
    ("landmark", 1),
    ("area", 1),
    ("avenue", 0),
    ("front", 1),
    ("rail", 0),
    ("building", 1),
    ("trees", 0),
    ("node", 1),
    ("solar", 0),
    ("rim", 0),
    ("landmark", 2),
    ("area", 2),
    ("open", 0),
)
"""Kinds of facts and which one of them, in the order in which they may take room."""


def _choose(found: list[Fact], first: Sequence[str] = ("road",)) -> list[Fact]:
    """The weightiest facts that fit, however they are worded; all of the kinds in `first` before.

    The very first always fits.
    """
    by_kind: dict[str, list[Fact]] = {}
    for fact in found:
        by_kind.setdefault(fact.kind, []).append(fact)
    told: list[Fact] = []
    longest = _Writer(None)
    for kind, number in sorted(_ORDER, key=lambda item: item[0] not in first):
        if number < len(by_kind.get(kind, ())):
            more = [*told, by_kind[kind][number]]
            if not told or tokens(longest.text(more)) <= MOST_TOKENS:
                told = more
    return told


def told_facts(
    town: "Town", place: "WorldPlace", noise: float = 0.0, radius_m: float = 50.0
) -> list[Fact]:
    """The facts that every description of a place tells, spoilt at the rate `noise`."""
    told = _choose(facts(town, place, radius_m))
    if noise == 0:
        return told
    # A made-up landmark takes the room of houses and trees, never that of a true one.
    return _choose(_spoil(told, town, place, noise, radius_m), ("road", "landmark", "area"))


# -- facts that are wrong --------------------------------------------------------------------

_INVENTED = (
    "church",
    "mosque",
    "temple",
    "school",
    "supermarket",
    "warehouse",
    "water tower",
    "fuel station",
)


def _spoil(
    told: list[Fact], town: "Town", place: "WorldPlace", noise: float, radius: float
) -> list[Fact]:
    """Wrong colours and directions, missing landmarks and a made-up one, each at rate `noise`.

    Every draw is made whatever the rate, so that what is wrong at a low rate is wrong at a higher.
    """
    rng = generator("spoil", town.name, round(place.x_m * 10), round(place.y_m * 10))
    near = town.scene.buildings_near(place.x_m, place.y_m, radius + 30)
    region = town.region
    roofs = _absent(region.roofs + region.flat_roofs, (b.roof_colour[0] for b in near))
    walls = _absent(region.walls, (b.wall_colour[0] for b in near))
    out = []
    for fact in told:
        missing, colour, wall, turned = rng.random(4) < noise
        roof_pick, wall_pick, turn = rng.integers(99), rng.integers(99), int(rng.integers(2, 7))
        if missing and fact.kind in ("landmark", "area"):
            continue
        if colour and fact.colours and fact.kind in _ROOFED:
            others = [word for word in roofs if word not in fact.colours]
            fact = replace(fact, colours=(others[roof_pick % len(others)],), mix="")
        if wall and fact.walls:
            others = [word for word in walls if word not in fact.walls]
            fact = replace(fact, walls=others[wall_pick % len(others)])
        if turned:
            fact = _turned(fact, turn)
        out.append(fact)
    made_up = rng.random() < noise
    there = {building.kind for building in near}
    names = [name for name in _INVENTED if name not in there]
    name, where = names[rng.integers(len(names))], COMPASS[rng.integers(8)]
    colour_word, wall_word = roofs[rng.integers(len(roofs))], walls[rng.integers(len(walls))]
    if made_up:
        out.insert(0, Fact("landmark", name, 1, (colour_word,), walls=wall_word, direction=where))
    return out


_ROOFED = ("landmark", "building", "front")


def _absent(colours: Iterable[tuple[str, object]], present: Iterable[str]) -> list[str]:
    """A country's colour words of which nothing near is; all of them where too few are left."""
    words = list(dict.fromkeys(word for word, _ in colours))
    gone = set(present)
    left = [word for word in words if word not in gone]
    return left if len(left) > 3 else words


def _turned(fact: Fact, eighths: int) -> Fact:
    """A fact with its directions turned by a quarter or more."""

    def turn(word: str) -> str:
        return COMPASS[(COMPASS.index(word) + eighths) % 8]

    if fact.direction:
        fact = replace(fact, direction=turn(fact.direction))
    word, of, _ = fact.relation.partition(" of")
    return replace(fact, relation=turn(word) + of) if of else fact


# -- sentences -------------------------------------------------------------------------------

_NAMES: dict[str, tuple[str, ...]] = {
    "main road": ("main road", "wide road", "through road"),
    "street": ("street", "side street", "minor road"),
    "lane": ("lane", "narrow lane"),
    "unpaved main road": ("unpaved road", "dirt road"),
    "unpaved street": ("unpaved street", "dirt street", "earth road"),
    "unpaved lane": ("dirt lane", "earth track"),
    "dead end": ("dead end", "cul-de-sac"),
    "T-junction": ("T-junction", "T-shaped junction"),
    "Y-junction": ("Y-junction", "fork"),
    "crossroads": ("crossroads", "four-way junction"),
    "railway": ("railway line", "railway", "rail track"),
    "detached house": ("detached house", "house", "family home"),
    "terraced house": ("terraced row", "row of terraced houses"),
    "apartment block": ("apartment block", "block of flats", "apartment building"),
    "office block": ("office block", "office building"),
    "shop": ("shop", "store", "commercial building"),
    "shophouse": ("shophouse", "narrow shophouse"),
    "townhouse": ("townhouse", "town house"),
    "supermarket": ("supermarket", "large store"),
    "stadium": ("stadium", "sports stadium"),
    "mast": ("mast", "radio mast"),
    "pitch": ("football pitch", "sports pitch"),
    "car park": ("car park", "parking area"),
    "pool": ("swimming pool", "pool"),
    "wood": ("wood", "patch of woodland"),
    "field": ("field", "farm field"),
    "park": ("park", "public park"),
    "square": ("square", "paved square"),
    "pond": ("pond", "small lake"),
    "playing field": ("playing field", "grass field"),
    "fuel station": ("petrol station", "fuel station"),
    "sports court": ("sports court", "playing court"),
}

_TOPS = {"mosque": ("dome", "domes"), "fuel station": ("canopy", "canopies")}

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def _number(count: int) -> str:
    if count < len(_NUMBERS):
        return _NUMBERS[count]
    if count < 14:
        return "about a dozen"
    return "about fifteen" if count < 18 else "about twenty" if count < 23 else "over twenty"


def _plural(noun: str) -> str:
    head, of, tail = noun.partition(" of ")
    if head.endswith("ch"):
        head += "es"
    elif not head.endswith("crossroads"):
        head += "s"
    return head + of + tail


def _a(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _short(name: str) -> str:
    """How something is called once it was named."""
    first, _, rest = name.partition(" ")
    return rest if first in ("football", "sports", "public", "swimming", "paved", "radio") else name


def _listed(parts: list[str], last: str = " and ") -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + last + parts[-1]


class _Writer:
    """Words facts. One random generator decides, or None, which always takes the longest words."""

    def __init__(self, rng: np.random.Generator | None) -> None:
        self.rng = rng

    def pick(self, *options: str) -> str:
        if self.rng is None:
            return max(options, key=tokens)
        return str(options[int(self.rng.integers(len(options)))])

    def text(self, told: list[Fact]) -> str:
        """All sentences."""
        of = {kind: [fact for fact in told if fact.kind == kind] for kind, _ in _ORDER}
        things = of["landmark"] + of["area"]
        street = self.street(of["road"][0], of["node"], of["avenue"]) if of["road"] else ""
        middle = [
            self.lines(of["water"] + of["rail"], of["beyond"]),
            self.things(things),
            self.buildings(of["building"]),
            self.fronts(of["front"]),
            self.open() if of["open"] else "",
        ]
        green = self.green(of["trees"] + of["solar"] + of["rim"])
        sentences = [text for text in middle if text]
        if self.rng is not None:
            sentences = [sentences[i] for i in self.rng.permutation(len(sentences))]
            at_end = self.rng.random() < 0.3
            sentences = [*sentences, street] if at_end else [street, *sentences]
        else:
            sentences = [street, *sentences]
        sentences = [text for text in (*sentences, green) if text]
        while len(sentences) > 4:
            sentences[-2:] = ["; ".join(sentences[-2:])]
        return " ".join(text[0].upper() + text[1:] + "." for text in sentences)

    # Parts of sentences.

    def name(self, name: str) -> str:
        return self.pick(*_NAMES.get(name, (name,)))

    def where(self, direction: str, spread: str = "") -> str:
        if spread == "around":
            return " " + self.pick("all around", "on several sides")
        if not direction:
            return ""
        if spread:
            return " " + self.pick(f"mostly to the {direction}", f"mainly in the {direction}")
        return " " + self.pick(f"to the {direction}", f"on the {direction} side")

    def roofs(self, fact: Fact) -> str:
        if not fact.colours:
            return ""
        top, tops = _TOPS.get(fact.name, ("roof", "roofs"))
        if fact.count == 1:
            return _a(f"{fact.colours[0]} {top}")
        if fact.mix == "others":
            return f"{', '.join(fact.colours)} and other {tops}"
        mostly = self.pick("mostly ", "mainly ") if fact.mix else ""
        return f"{mostly}{' and '.join(fact.colours)} {tops}"

    def look(self, fact: Fact) -> str:
        """Roofs and walls, in either order."""
        parts = [part for part in (self.roofs(fact), fact.walls and f"{fact.walls} walls") if part]
        # "with grey and other roofs" has to stand last, "mostly red and grey roofs" needs no help.
        if len(parts) == 2 and (fact.mix == "others" or self.pick("0", "1") == "1"):
            parts.reverse()
        return " with " + " and ".join(parts) if parts else ""

    def noun(self, fact: Fact, name: str = "") -> str:
        """How many of what, with storeys, roofs and walls."""
        name = name or self.name(fact.name)
        if fact.name in ("water tower", "silo") and fact.colours:
            noun = f"{fact.colours[0]} {name}"
            return _a(noun) if fact.count == 1 else f"{_number(fact.count)} {_plural(noun)}"
        if fact.count > 1:
            floors = f" of up to {_number(fact.storeys)} storeys" if fact.storeys else ""
            return f"{_number(fact.count)} {_plural(name)}{floors}{self.look(fact)}"
        if fact.storeys:
            name = f"{'single' if fact.storeys == 1 else _number(fact.storeys)}-storey {name}"
        return _a(name) + self.look(fact)

    # Sentences.

    def street(self, road: Fact, nodes: list[Fact], avenue: list[Fact]) -> str:
        way = road.detail.replace("curving ", "")
        bend = self.pick("curving ", "winding ") if "curving" in road.detail else ""
        street = _a(bend + self.name(road.name))
        for row in avenue:
            sorts = self.sorts(row)
            if row.direction:
                street += f" with a row of {sorts} on its {row.direction} side"
            else:
                street += self.pick(f" lined with {sorts}", f" between rows of {sorts}")
        runs = self.pick("runs", "leads", "goes")
        way = self.pick(f"from {way}", way)
        if not nodes:
            return f"{street} {runs} {way}"
        parts = [self.node(node) for node in nodes]
        if len(nodes) == 2 and replace(nodes[0], direction=nodes[1].direction) == nodes[1]:
            parts[1] = "another" + (self.where(nodes[1].direction) or " here")
        return f"{street} {runs} {way}{self.pick(', with ', ' and has ')}{_listed(parts)}"

    def node(self, node: Fact) -> str:
        name = self.name(node.name)
        if node.name == "junction":
            name = f"junction of {_number(node.count)} streets"
        elif node.name == "roundabout":
            name = f"roundabout with {_number(node.count)} arms"
        link = " on " if node.name == "roundabout" else " with "
        onto = link + self.pick("a main road", "a wide road") if node.detail else ""
        return (
            f"{_a(name)}{onto}{self.where(node.direction) or self.pick(' here', ' in the middle')}"
        )

    def lines(self, found: list[Fact], beyond: list[Fact]) -> str:
        parts = []
        for fact in found:
            way, _, bridge = fact.detail.partition(", ")
            text = f"{_a(self.name(fact.name))} {self.pick('runs', 'passes')} from {way}"
            text += f" on the {fact.direction} side" if fact.direction else ""
            text += self.pick(" under a bridge", " below a bridge") if bridge else ""
            for other in beyond:
                if other.across == fact.name:
                    text += f", with {self.noun(other)} across the water"
            parts.append(text)
        return _listed(parts) if parts else ""

    def thing(self, fact: Fact, names: dict[str, str]) -> str:
        text = self.noun(fact, names[fact.name])
        text += " with a fountain" if fact.detail == "fountain" else ""
        if fact.to in names:
            return f"{text} {fact.relation} the {_short(names[fact.to])}"
        text += self.where(fact.direction)
        return text + (f" across the {fact.across}" if fact.across else "")

    def things(self, found: list[Fact]) -> str:
        if not found:
            return ""
        names = {fact.name: self.name(fact.name) for fact in found}
        parts = [self.thing(fact, names) for fact in found]
        text = _listed(parts, ", and " if len(parts) > 2 else " and ")
        one = len(found) == 1 and found[0].count == 1
        return self.pick(
            f"nearby {'is' if one else 'are'} {text}",
            f"there {'is' if found[0].count == 1 else 'are'} {text}",
            f"close by {'lies' if one else 'lie'} {text}",
            f"the surroundings include {text}",
        )

    def buildings(self, found: list[Fact]) -> str:
        if not found:
            return ""
        groups = [self.noun(fact) for fact in found]
        wheres = [self.where(fact.direction, fact.spread).strip() for fact in found]
        one = found[0].count == 1
        there = "there is" if one else "there are"
        stand = self.pick("stands" if one else "stand", there)
        # Roofs and walls come last, so that no direction seems to be theirs.
        first = f"{wheres[0]} {stand}" if wheres[0] else there
        clauses = [f"{first} {groups[0]}"]
        rest = zip(wheres[1:], groups[1:], strict=True)
        clauses += [f"{where} {group}".strip() for where, group in rest]
        return _listed(clauses, ", and ")

    def fronts(self, found: list[Fact]) -> str:
        if not found:
            return ""
        first = self.noun(found[0])
        where = f"to the {found[0].direction}"
        texts = [
            f"{first} faces the road {where}",
            f"by the road {where} stands {first}",
            f"{first} stands beside the road {where}",
        ]
        if len(found) == 2:
            other = self.noun(found[1])
            texts = [text + f", across from {other}" for text in texts]
        return self.pick(*texts)

    def sorts(self, fact: Fact) -> str:
        """The sorts of trees, in words."""
        names = [sort for sort in fact.colours if sort != "shrub"]
        parts = [f"{' and '.join(names)} trees"] if names else []
        parts += ["shrubs"] if "shrub" in fact.colours else []
        return " and ".join(parts) or "trees"

    def green(self, found: list[Fact]) -> str:
        return _listed([getattr(self, fact.kind)(fact) for fact in found]) if found else ""

    def trees(self, fact: Fact) -> str:
        if fact.count < 4:
            return self.pick("there are hardly any trees", "the ground is almost without trees")
        if fact.count < 15:
            amount = self.pick("a few", "some")
        elif fact.count < 40:
            amount = self.pick("many", "plenty of", "numerous")
        else:
            amount = self.pick("very many", "a great number of")
        where = self.where(fact.direction, fact.spread)
        return f"{amount} {self.sorts(fact)} {self.pick('grow', 'stand')}{where or ' around'}"

    def solar(self, fact: Fact) -> str:
        if fact.count == 1:
            return self.pick("one roof carries solar panels", "one roof has solar panels")
        number = _number(fact.count)
        return self.pick(f"{number} roofs carry solar panels", f"{number} roofs have solar panels")

    def open(self) -> str:
        return self.pick(
            "this is open ground without streets or houses",
            "the ground is open, with neither streets nor houses",
        )

    def rim(self, fact: Fact) -> str:
        fences = "hedges" if fact.name == "hedge" else self.pick("walls", "garden walls")
        return f"{fences} {self.pick('enclose', 'divide')} the plots"


def describe(
    town: "Town", place: "WorldPlace", variant: int = 0, noise: float = 0.0, radius_m: float = 50.0
) -> str:
    """Two to four sentences made of the facts, away from streets one to four; see `Town.describe`.

    Raises:
        WorldError: `noise` is no share, or `radius_m` is not above 5 and at most 400 m.
    """
    if not 0 <= noise <= 1:
        raise WorldError(f"Anchor noise {noise:g} is no share: choose 0 to 1.")
    key = (town.name, round(place.x_m * 10), round(place.y_m * 10))
    writer = _Writer(generator("words", *key, variant))
    return writer.text(told_facts(town, place, noise, radius_m))
