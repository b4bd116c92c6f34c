"""Checks a data set before anyone trains on it or measures with it.

Nothing is repaired or left out: each check says what was found, what was expected, and everything
that offends. What makes results or a training run wrong is a `problem`; what a person should know
of is a `warning`.
"""

import csv
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from geobridge.errors import EvaluationError, PositionError
from geobridge.evaluation.benchmarks.benchmark import Benchmark
from geobridge.evaluation.pictures import Seen, Shown, near_pairs, see_all
from geobridge.evaluation.tasks import Items
from geobridge.geo.distance import check_position, distance_m, unwrap_lon
from geobridge.progress import Report, unheard
from geobridge.views import Modality

Verdict = Literal["ok", "warning", "problem"]

LEAK_M = 50.0
"""Places of two splits that are nearer than this are told of."""

WHOLE = "all"
"""A split of this name holds all others, and is compared with none of them."""

# A swapped position is told from where the others of its set or region are: farther from their
# median than so many times their reach, which holds nearly all of a town or a country.
_FAR = 3.0
_LEAST_REACH_M = 10_000.0
_LEAST_NEIGHBOURS = 4

# Metres a degree of latitude, rounded down, so that boxes of degrees are rather too large.
_DEGREE_M = 110_000.0


@dataclass(frozen=True)
class Finding:
    """One thing that offends a check.

    Attributes:
        where: set it was found in, such as `train/drone`; two joined by ` and ` where both.
        name: of the item or place, empty where `detail` says all.
        detail: what is wrong with it.
        file: its picture, None where it has none.
    """

    where: str
    name: str
    detail: str
    file: Path | None = None


@dataclass(frozen=True)
class Check:
    """What came of one check.

    Attributes:
        what: was checked.
        found: in words.
        expected: in words.
        verdict: of the check.
        findings: everything that offends it.
    """

    what: str
    found: str
    expected: str
    verdict: Verdict
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """What came of all checks, in the order a person reads them."""

    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        order: tuple[Verdict, ...] = ("ok", "warning", "problem")
        return max((check.verdict for check in self.checks), key=order.index, default="ok")

    def write_csv(self, path: str | Path) -> None:
        """Every finding as a row: check, verdict, where, name, detail, file.

        Raises:
            EvaluationError: the file cannot be written.
        """
        try:
            with Path(path).open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(("check", "verdict", "where", "name", "detail", "file"))
                for check in self.checks:
                    for each in check.findings:
                        row = (check.what, check.verdict, each.where, each.name, each.detail)
                        writer.writerow((*row, each.file or ""))
        except OSError as error:
            raise EvaluationError(
                f"{path} cannot be written ({error.strerror}): give another path."
            ) from error


@dataclass(frozen=True)
class _Entry:
    """One picture of one set, and which of the looks at pictures is its."""

    where: str
    modality: Modality
    name: str
    place: str | None
    content: Shown
    row: int

    @property
    def split(self) -> str:
        return split_of(self.where)

    @property
    def file(self) -> Path | None:
        return self.content if isinstance(self.content, Path) else None

    def finding(self, detail: str) -> Finding:
        return Finding(self.where, self.name, detail, self.file)


def examine(
    benchmark: Benchmark[Any],
    root: str | Path,
    *,
    quick: bool = False,
    leak_m: float = LEAK_M,
    workers: int = 2,
    progress: Report = unheard,
) -> Diagnosis:
    """Check all of a data set: every split, training included.

    Args:
        benchmark: whose layout the data set is in.
        root: of the data set.
        quick: read the heads of pictures only; those that are cut off or look alike stay unknown.
        leak_m: places of two splits nearer than this are told of.
        workers: threads that read pictures.
        progress: is told how many pictures are done.

    Raises:
        EvaluationError: the root holds something else, or `leak_m` or `workers` cannot be.
    """
    if not leak_m >= 0:
        raise EvaluationError(f"places cannot be {leak_m} m apart: give a leak_m of 0 or more.")
    if workers < 1:
        raise EvaluationError(f"{workers} workers read nothing: give 1 or more.")
    root = Path(root)
    sets = benchmark.splits(root)
    entries, contents = _entries(sets)
    seen = see_all(contents, quick=quick, workers=workers, progress=progress)
    groups = _groups(entries, seen)
    return Diagnosis(
        (
            *check_counts(sets, benchmark.counts),
            _check_layout(benchmark, root),
            *check_pairs(sets),
            *_check_files(entries, seen, quick=quick),
            *_check_texts(sets),
            _check_copies(groups),
            _NOT_LOOKED_AT if quick else _check_looks(groups, seen),
            *_check_ids(sets),
            *check_positions(sets),
            *check_leaks(sets, groups, leak_m, benchmark.overlap),
        )
    )


def split_of(where: str) -> str:
    """The split of a set, `train` of `train/drone`."""
    return where.partition("/")[0]


# How many there are


def check_counts(sets: Mapping[str, Items], published: Mapping[str, int]) -> list[Check]:
    """How many items and places each set has, beside what was published."""
    found = {name: len(items) for name, items in sets.items()}
    for name in published:
        whose = name.removesuffix(" places")
        if whose != name and whose in sets:
            found[name] = len(set(sets[whose].places or ()))
    checks = []
    for name in [*found, *(name for name in published if name not in found)]:
        count, wanted = found.get(name), published.get(name)
        expected = "not published" if wanted is None else f"{wanted:,}"
        if count is None:
            checks.append(Check(name, "not there", expected, "warning"))
        else:
            is_wrong = count != wanted if wanted is not None else count == 0
            checks.append(Check(name, f"{count:,}", expected, "problem" if is_wrong else "ok"))
    return checks


def _check_layout(benchmark: Benchmark[Any], root: Path) -> Check:
    findings = tuple(Finding("", "", fault) for fault in benchmark.faults(root))
    return _check("layout", f"{len(findings):,}", "0", "problem", findings)


def check_pairs(sets: Mapping[str, Items]) -> Iterator[Check]:
    """Places of a split that lack one of its modalities."""
    held: dict[str, dict[Modality, dict[str, None]]] = {}
    for where, items in sets.items():
        if items.places is not None:
            of_split = held.setdefault(split_of(where), {})
            of_split.setdefault(items.modality, {}).update(dict.fromkeys(items.places))
    for split, places in held.items():
        if len(places) < 2:
            continue
        every = {place: None for of in places.values() for place in of}
        findings = tuple(
            Finding(split, place, f"has no {modality}")
            for modality, of in places.items()
            for place in every
            if place not in of
        )
        found = ", ".join(f"{len(of):,} with {modality}" for modality, of in places.items())
        apart = [
            modality
            for modality, of in places.items()
            if not any(
                of.keys() & other.keys() for name, other in places.items() if name != modality
            )
        ]
        worst: Verdict = "problem" if apart else "warning"
        yield _check(f"{split}: places", found, f"{len(every):,} with each", worst, findings)


# Files and texts


def _entries(sets: Mapping[str, Items]) -> tuple[list[_Entry], list[Shown]]:
    """Every picture of every set, and the different ones of them: a file is looked at once."""
    rows: dict[Path, int] = {}
    entries: list[_Entry] = []
    contents: list[Shown] = []
    for where, items in sets.items():
        for number, (name, content) in enumerate(zip(items.names, items.contents, strict=True)):
            if isinstance(content, str):
                continue
            row = rows.get(content) if isinstance(content, Path) else None
            if row is None:
                row = len(contents)
                contents.append(content)
                if isinstance(content, Path):
                    rows[content] = row
            place = items.places[number] if items.places is not None else None
            entries.append(_Entry(where, items.modality, name, place, content, row))
    return entries, contents


def _check_files(entries: Sequence[_Entry], seen: Sequence[Seen], *, quick: bool) -> list[Check]:
    firsts = list({entry.row: entry for entry in reversed(entries)}.values())[::-1]
    missing = [e.finding("is not there") for e in firsts if seen[e.row].size < 0]
    empty = [
        e.finding("has no bytes") for e in firsts if seen[e.row].size == 0 and e.file is not None
    ]
    troubles = [e.finding(trouble) for e in firsts if (trouble := seen[e.row].trouble)]
    how = f"of {len(firsts):,}, {'heads only' if quick else 'each decoded'}"
    return [
        _check("missing files", f"{len(missing):,} of {len(firsts):,}", "0", "problem", missing),
        _check("empty files", f"{len(empty):,} of {len(firsts):,}", "0", "problem", empty),
        _check("unreadable pictures", f"{len(troubles):,} {how}", "0", "problem", troubles),
    ]


def _check_texts(sets: Mapping[str, Items]) -> Iterator[Check]:
    texts = [
        (where, name, content)
        for where, items in sets.items()
        for name, content in zip(items.names, items.contents, strict=True)
        if isinstance(content, str)
    ]
    if texts:
        blank = [
            Finding(where, name, "is blank") for where, name, text in texts if not text.strip()
        ]
        yield _check("blank texts", f"{len(blank):,} of {len(texts):,}", "0", "problem", blank)


# Copies


def _groups(entries: Sequence[_Entry], seen: Sequence[Seen]) -> list[list[_Entry]]:
    """Entries whose pictures are the same byte for byte; those that are alone too."""
    groups: dict[Any, list[_Entry]] = {}
    for entry in entries:
        digest = seen[entry.row].digest
        groups.setdefault(entry.row if digest is None else digest, []).append(entry)
    return list(groups.values())


def _check_copies(groups: Sequence[Sequence[_Entry]]) -> Check:
    """Pictures that are there twice, worst where they are said to show two places."""
    findings = []
    worst: Verdict = "warning"
    for group in groups:
        told = _copy(group)
        if told is not None:
            findings.append(told[0])
            worst = "problem" if told[1] else worst
    return _check("copied pictures", f"{len(findings):,}", "0", worst, findings)


def _copy(group: Sequence[_Entry]) -> tuple[Finding, bool] | None:
    """What is wrong with equal pictures, and whether their places contradict each other."""
    first = group[0]
    for other in group[1:]:
        if None not in (first.place, other.place) and first.place != other.place:
            return first.finding(f"is also the picture of {_named(other)}, another place"), True
    for other in group[1:]:
        if other.row != first.row and other.modality != first.modality:
            return first.finding(f"is also the {other.modality} picture {_named(other)}"), True
    # A query may be in the gallery of its own view: only within a set one of them is too many.
    held: dict[str, _Entry] = {}
    for entry in group:
        other = held.setdefault("" if entry.place is None else entry.where, entry)
        if other.row != entry.row:
            return other.finding(f"is also there as {_named(entry)}"), False
    return None


_ALIKE = "pictures that look alike"
_NOT_LOOKED_AT = Check(_ALIKE, "not looked at", "0", "ok")


def _check_looks(groups: Sequence[Sequence[_Entry]], seen: Sequence[Seen]) -> Check:
    """Pictures of different places that look alike without being equal."""
    firsts: list[_Entry] = []
    looks: list[NDArray[np.uint8]] = []
    for group in groups:
        look = seen[group[0].row].look
        if look is not None:
            firsts.append(group[0])
            looks.append(look)
    if not looks:
        return Check(_ALIKE, "0", "0", "ok")
    numbers: dict[str, int] = {}
    places = [
        numbers.setdefault(entry.name if entry.place is None else entry.place, len(numbers))
        for entry in firsts
    ]
    findings = [
        firsts[a].finding(f"looks like {_named(firsts[b])}, another place")
        for a, b in sorted(near_pairs(np.stack(looks), np.array(places, np.int64)))
    ]
    return _check(_ALIKE, f"{len(findings):,}", "0", "warning", findings)


def _named(entry: _Entry) -> str:
    return f"{entry.name} in {entry.where}"


# Ids


def _check_ids(sets: Mapping[str, Items]) -> Iterator[Check]:
    """Ids that are empty, or that a person or another program would write alike."""
    held: dict[str, str] = {}
    for where, items in sets.items():
        for place in items.places or ():
            held.setdefault(place, where)
    if not held:
        return
    empty = [
        Finding(where, place, "is no id") for place, where in held.items() if not place.strip()
    ]
    kin: dict[str, list[str]] = {}
    for place in held:
        kin.setdefault(_plain(place), []).append(place)
    alike = [
        Finding(held[others[0]], others[0], f"differs from {other!r} only in case, blanks or zeros")
        for others in kin.values()
        for other in others[1:]
        if other.strip()
    ]
    worst: Verdict = "problem" if empty else "warning"
    found = f"{len(empty):,} empty and {len(alike):,} hardly different of {len(held):,}"
    yield _check("ids", found, "0 and 0", worst, [*empty, *alike])


def _plain(place: str) -> str:
    """An id without case, blanks, composed signs and leading zeros."""
    words = unicodedata.normalize("NFKC", place).casefold().split()
    plain = "".join(words)
    return plain.lstrip("0") or plain[-1:] if plain.isdigit() else plain


# Positions


def check_positions(sets: Mapping[str, Items]) -> Iterator[Check]:
    """Positions that are no place on the earth, or that seem to have lat and lon swapped.

    One seems swapped if it lies far from the other positions of its set (of its region, where the
    set has regions) and would lie among them the other way round. Far is 3 times their reach from
    their median, the reach being 3 times the median distance from it, 10 km at least. So a data
    set of the whole world has none that are far, unless its regions are told.
    """
    # A place is told of once in a split, however many pictures share its position.
    impossible: dict[tuple[str, str, str], Finding] = {}
    swapped: dict[tuple[str, str, str], Finding] = {}
    known = total = 0
    for where, items in sets.items():
        if items.lat is None or items.lon is None:
            continue
        total += len(items)
        known += int((~np.isnan(items.lat)).sum())
        for findings, told in (
            (impossible, _impossible(items.lat, items.lon)),
            (swapped, _swapped(items.lat, items.lon, items.regions)),
        ):
            for row, detail in told:
                key = (split_of(where), _place(items, row), detail)
                findings[key] = Finding(where, items.names[row], detail, _file(items, row))
    if total:
        found = f"{len(impossible):,}; {known:,} of {total:,} items have one"
        yield _check("positions off the earth", found, "0", "problem", [*impossible.values()])
        yield _check(
            "swapped lat and lon", f"{len(swapped):,}", "0", "problem", [*swapped.values()]
        )


def _is_possible(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.bool_]:
    # NaN compares false.
    inside = (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
    possible: NDArray[np.bool_] = inside & ~((lat == 0) & (lon == 0))
    return possible


def _impossible(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> Iterator[tuple[int, str]]:
    """Rows of positions that no place has, and why."""
    known = ~(np.isnan(lat) & np.isnan(lon))
    for row in np.flatnonzero(known & ~_is_possible(lat, lon)).tolist():
        try:
            check_position(float(lat[row]), float(lon[row]), "its position")
        except PositionError as error:
            yield row, str(error)


def _swapped(
    lat: NDArray[np.float64], lon: NDArray[np.float64], regions: Sequence[str] | None
) -> Iterator[tuple[int, str]]:
    """Rows of positions that fit their region better when swapped, and how much."""
    names = np.array(regions if regions is not None else [""] * len(lat))
    possible = _is_possible(lat, lon)
    for name in np.unique(names):
        rows = np.flatnonzero(possible & (names == name))
        for at, apart_m, swapped_m in _strangers(lat[rows], lon[rows]):
            row = int(rows[at])
            yield (
                row,
                f"lat {lat[row]}, lon {lon[row]} is {apart_m / 1000:,.0f} km from the middle of "
                f"the others, and {swapped_m / 1000:,.0f} km with both swapped",
            )


def _strangers(
    lat: NDArray[np.float64], lon: NDArray[np.float64]
) -> Iterator[tuple[int, float, float]]:
    """Rows far from the others that would be near if swapped, with both distances in metres."""
    if len(lat) <= _LEAST_NEIGHBOURS:
        return
    middle = float(np.median(lat)), float(np.median(unwrap_lon(lon, lon[0])))
    apart_m = distance_m(lat, lon, *middle)
    reach_m = max(3 * float(np.median(apart_m)), _LEAST_REACH_M)
    for row in np.flatnonzero((apart_m > _FAR * reach_m) & (np.abs(lon) <= 90)):
        swapped_m = float(distance_m(lon[row], lat[row], *middle))
        if swapped_m <= reach_m:
            yield int(row), float(apart_m[row]), swapped_m


def _place(items: Items, row: int) -> str:
    """What an item shows; an item without an id is a place of its own."""
    return items.names[row] if items.places is None else items.places[row]


def _file(items: Items, row: int) -> Path | None:
    content = items.contents[row]
    return content if isinstance(content, Path) else None


# Leaks


def check_leaks(
    sets: Mapping[str, Items],
    groups: Iterable[Sequence[_Entry]],
    leak_m: float,
    overlap: str | None,
) -> Iterator[Check]:
    """What two splits have in common: ids, pictures, ground."""
    splits = [split for split in dict.fromkeys(map(split_of, sets)) if split != WHOLE]
    if len(splits) < 2:
        return
    ids = {split: _ids(sets, split) for split in splits}
    spots = {split: _spots(sets, split) for split in splits}
    same_ids: list[Finding] = []
    near: list[Finding] = []
    for one, other in combinations(splits, 2):
        both = f"{one} and {other}"
        same_ids += [
            Finding(both, place, "is in both") for place in ids[one] if place in ids[other]
        ]
        near += _near_spots(spots[one], spots[other], leak_m, both)
    pictures = _shared_pictures(groups, splits)
    worst: Verdict = "problem" if overlap is None else "warning"
    wanted = "0" if overlap is None else overlap
    if any(ids.values()):
        of = f"of {sum(map(len, ids.values())):,} places"
        yield _check("ids in two splits", f"{len(same_ids):,} {of}", wanted, worst, same_ids)
    yield _check("pictures in two splits", f"{len(pictures):,}", wanted, worst, pictures)
    if any(of_split.names for of_split in spots.values()):
        found = (
            f"{len(near):,} of {sum(len(of_split.names) for of_split in spots.values()):,} places"
        )
        what = f"places nearer than {leak_m:g} m to another split"
        yield _check(what, found, wanted, "warning", near)


def _ids(sets: Mapping[str, Items], split: str) -> dict[str, None]:
    return {
        place: None
        for where, items in sets.items()
        if split_of(where) == split
        for place in items.places or ()
        if place
    }


def _shared_pictures(groups: Iterable[Sequence[_Entry]], splits: Sequence[str]) -> list[Finding]:
    """Pictures that two splits have, a finding for each and each two splits."""
    found = []
    for group in groups:
        firsts = {entry.split: entry for entry in reversed(group)}
        for one, other in combinations([split for split in splits if split in firsts], 2):
            told = f"{_named(firsts[one])} is also {_named(firsts[other])}"
            found.append(Finding(f"{one} and {other}", "", told, firsts[one].file))
    return found


@dataclass(frozen=True)
class _Spots:
    """Where the places of a split are; a place in several sets counts once."""

    names: list[str]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]


def _spots(sets: Mapping[str, Items], split: str) -> _Spots:
    held: dict[str, tuple[float, float]] = {}
    for where, items in sets.items():
        if split_of(where) != split or items.lat is None or items.lon is None:
            continue
        for row in np.flatnonzero(_is_possible(items.lat, items.lon)).tolist():
            held.setdefault(_place(items, row), (float(items.lat[row]), float(items.lon[row])))
    points = np.array(list(held.values())).reshape(-1, 2)
    return _Spots(list(held), points[:, 0], points[:, 1])


def _near_spots(one: _Spots, other: _Spots, leak_m: float, both: str) -> Iterator[Finding]:
    """Places of one split with a different one of another nearby, each with its nearest."""
    # Boxes of degrees find who may be near, also from the other side of the antimeridian.
    tree = shapely.STRtree(shapely.points(other.lon, other.lat))
    tall = np.full(len(one.names), leak_m / _DEGREE_M)
    wide = np.minimum(tall / np.maximum(np.cos(np.radians(one.lat)), 1e-3), 180.0)
    best: dict[int, tuple[float, int]] = {}
    for turn in (-360.0, 0.0, 360.0):
        lon = one.lon + turn
        boxes = shapely.box(lon - wide, one.lat - tall, lon + wide, one.lat + tall)
        here, there = tree.query(boxes)
        apart = np.atleast_1d(
            distance_m(one.lat[here], one.lon[here], other.lat[there], other.lon[there])
        )
        for a, b, distance in zip(here.tolist(), there.tolist(), apart.tolist(), strict=True):
            if distance < leak_m and one.names[a] != other.names[b]:
                best[a] = min(best.get(a, (distance, b)), (distance, b))
    for a, (distance, b) in sorted(best.items()):
        yield Finding(both, one.names[a], f"is {distance:.1f} m from {other.names[b]}")


def _check(
    what: str, found: str, expected: str, worst: Verdict, findings: Sequence[Finding]
) -> Check:
    """A check that is ok where nothing offends it."""
    return Check(what, found, expected, worst if findings else "ok", tuple(findings))
