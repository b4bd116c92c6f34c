"""How far the planet's texts tell places apart, how long they are, and how noise spoils them.

python benchmarks/words.py
python benchmarks/words.py --places 200
"""

import argparse
import time
from collections import Counter
from dataclasses import dataclass

from geobridge.world import REGIONS, Town, World, WorldPlace
from geobridge.world.facts import Fact
from geobridge.world.words import tokens, told_facts

RATES = (0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Told:
    """What is told of a place: its text, its facts, and those at each rate of noise."""

    text: str
    clean: list[Fact]
    noisy: dict[float, list[Fact]]
    seconds: float


def tell(town: Town, place: WorldPlace) -> Told:
    """Describe a place."""
    start = time.process_time()
    text = town.describe(place)
    seconds = time.process_time() - start
    noisy = {rate: told_facts(town, place, rate) for rate in RATES}
    return Told(text, told_facts(town, place), noisy, seconds)


def sample(regions: list[str], count: int, seed: int) -> list[Told]:
    """`count` places, evenly from the regions, at most 60 of a town."""
    found: list[Told] = []
    for i, region in enumerate(regions):
        wanted, index = count * (i + 1) // len(regions), 0
        while len(found) < wanted:
            town = World(seed).town(region, index)
            places = town.places(min(60, wanted - len(found)), at_most=True)
            found += [tell(town, place) for place in places]
            index += 1
    return found


def spoilt(places: list[Told], rate: float) -> dict[str, str]:
    """Shares of facts that are wrong, missing or made up at a rate, with what they are shares of.

    Facts are compared in pairs of the same kind, name and count, where those are unique.
    """
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for place in places:
        clean, noisy = place.clean, place.noisy[rate]
        keys = Counter((fact.kind, fact.name, fact.count) for fact in clean)
        there = {(fact.kind, fact.name, fact.count): fact for fact in noisy}
        names = {fact.name for fact in clean}
        right["invented landmark"] += 1
        wrong["invented landmark"] += any(
            fact.kind == "landmark" and fact.name not in names for fact in noisy
        )
        for fact in clean:
            key = (fact.kind, fact.name, fact.count)
            if fact.kind == "landmark":
                right["missing landmark"] += 1
                wrong["missing landmark"] += key not in there
            if key not in there or keys[key] > 1:
                continue
            if fact.colours and fact.kind in ("landmark", "building", "front"):
                right["wrong colour"] += 1
                wrong["wrong colour"] += there[key].colours != fact.colours
            if fact.direction:
                right["wrong direction"] += 1
                wrong["wrong direction"] += there[key].direction != fact.direction
    return {name: f"{wrong[name] / n:.3f} of {n}" for name, n in sorted(right.items())}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--places", type=int, default=1000, help="of each domain")
    parser.add_argument("--seed", type=int, default=0, help="which planet")
    options = parser.parse_args()
    for domain, unseen in (("known", False), ("unseen", True)):
        names = [name for name, region in REGIONS.items() if region.unseen == unseen]
        places = sample(names, options.places, options.seed)
        texts = [place.text for place in places]
        spent = 1000 * sum(place.seconds for place in places) / len(places)
        told = Counter(tuple(place.clean) for place in places)
        shared = sum(n for n in Counter(texts).values() if n > 1)
        alike = sum(n for n in told.values() if n > 1)
        words = sum(len(text.split()) for text in texts) / len(texts)
        longest = max(tokens(text) for text in texts)
        kinds = Counter(fact.kind for facts in told.elements() for fact in facts)
        print(
            f"{domain}: {len(places)} places; {shared} share a text, {alike} share all facts; "
            f"{words:.1f} words on average, {longest} tokens at most; {spent:.1f} ms a text"
        )
        each = [f"{kind} {n / len(places):.2f}" for kind, n in kinds.most_common()]
        print("  facts a text: " + ", ".join(each))
        relations = sum(bool(fact.relation or fact.across) for facts in told for fact in facts)
        print(f"  relations between things: {relations / len(places):.2f} a text")
        for rate in RATES:
            shares = [f"{name} {share}" for name, share in spoilt(places, rate).items()]
            print(f"  noise {rate}: " + ", ".join(shares))


if __name__ == "__main__":
    main()
