"""Endless training data of the planet, drawn in the workers of a loader: no files, no download.

    from geobridge.world import WorldDataset, world_batches

    if __name__ == "__main__":  # the workers are processes that read this file again
        dataset = WorldDataset("known", seed=1, missing={"text": 0.2})
        for step, batch in enumerate(world_batches(dataset, 128, start=done), start=done):
            train(batch)  # batch["drone"]: uint8 (128, 3, 128, 128)

The stream is a row of *visits*. A visit goes to a town where nobody was before and draws some
places of it, so a town is laid out once and then forgotten, and a worker never holds two. Which
town, and what is drawn there, follows from the planet's seed and the visit's number: workers and
ranks only share the numbers out. A batch holds places of several visits: places of one town are
the geographic neighbours, and so the hard negatives, of one another.
"""

import copy
import ctypes
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypedDict, cast, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from geobridge.errors import WorldError
from geobridge.views import MODALITIES, VIEWS, Modality, View
from geobridge.world.dates import DATES
from geobridge.world.neighbours import place_pairs
from geobridge.world.planet import DroneKind, PlannedView, Town, World, WorldPlace
from geobridge.world.regions import REGIONS, region_named
from geobridge.world.seeds import BENCHMARK_SEED, generator

APART_M = 18.0
"""Places of a visit are at least this far from each other, where the town has the room."""

PAIRS_APART_M = 25.0
"""The same, where places come in pairs."""

_LEAST_APART_M = 4.0
_MOST_PIXELS = 1024
_MOST_PLACES = 128
_M_MMAP_THRESHOLD = -3  # of malloc.h


class WorldBatch(TypedDict):
    """B places; row b is place b everywhere.

    A modality that a place lacks is all zeros (a text is empty) and False in `present`, as
    `geobridge.model.objective.anchor_objective` takes it.

    Attributes:
        drone: uint8 (B, 3, size, size).
        street: uint8 (B, 3, size, 4 size), a panorama whose centre looks north.
        satellite: uint8 (B, 3, S, S) with S = satellite_m / satellite_gsd_m, north up.
        text: B strings.
        present: bool (B,) for each modality.
        lat, lon: float64 (B,), WGS-84 degrees.
        town: B names, `region/index@seed`.
        place_id: B names; none comes twice in a stream.
    """

    drone: Tensor
    street: Tensor
    satellite: Tensor
    text: list[str]
    present: dict[Modality, Tensor]
    lat: Tensor
    lon: Tensor
    town: list[str]
    place_id: list[str]


class WorldDataset(IterableDataset[WorldBatch]):
    """The endless stream of visits; `world_batches` makes training batches of it.

    Each item is one visit, a `WorldBatch` of `places_per_visit` places of one town. Every region
    comes once in each round of visits, in random order, and no town comes twice. A plain
    `DataLoader(dataset, batch_size=None, num_workers=n)` yields the visits too, in the same order
    for every number of workers.

    Args:
        regions: names, or `known` for all that are not held back.
        seed: of the planet.
        size: height of the drone and street pictures in pixels.
        satellite_gsd_m: metres a satellite pixel.
        satellite_m: side of the satellite's ground; `size * satellite_gsd_m` where None.
        drone: a perspective `camera`, the paper's reverse `crop`, or `either` by chance.
        places_per_visit: places drawn of a town before going on, 1 to 128. A town with less room
            has them nearer to each other than `APART_M`.
        pairs: let each second place be the nearest to the one before it that is left, mostly some
            30 m away: harder negatives than places anywhere in the town.
        missing: share of places that lack a modality. A place keeps at least two, because one
            alone teaches nothing.
        anchor_noise: how far texts are spoilt, see `Town.describe`.
        dates_per_visit: on how many dates, 3 to 8, the town is seen. The views of a place have
            three different ones of them.
        start: visits of this rank that were consumed before: the stream continues behind them.
        rank: which share of the visits this is; visit v belongs to rank v % world_size.
        world_size: how many shares there are.

    Raises:
        WorldError: an argument is out of range, or asks for what is kept for testing: a region
            that is held back, or the benchmark's planet.
        MissingExtraError: the extra `world` is not installed.
    """

    def __init__(
        self,
        regions: Literal["known"] | Sequence[str] = "known",
        *,
        seed: int = 0,
        size: int = 128,
        satellite_gsd_m: float = 0.8,
        satellite_m: float | None = None,
        drone: DroneKind = "either",
        places_per_visit: int = 64,
        pairs: bool = False,
        missing: Mapping[Modality, float] | None = None,
        anchor_noise: float = 0.0,
        dates_per_visit: int = 4,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        World(seed)
        if seed == BENCHMARK_SEED:
            raise WorldError(
                f"The planet {seed} is the benchmark's and never trained on: choose another seed."
            )
        self.seed = seed
        self.regions = _training_regions(regions)
        self.missing = dict(missing or {})
        _check_missing(self.missing)
        self.size = size
        self.satellite_gsd_m = satellite_gsd_m
        self.satellite_m = size * satellite_gsd_m if satellite_m is None else satellite_m
        self.drone = drone
        self.places_per_visit = places_per_visit
        self.pairs = pairs
        self.anchor_noise = anchor_noise
        self.dates_per_visit = dates_per_visit
        self.start = start
        self.rank = rank
        self.world_size = world_size
        self._check()

    def _check(self) -> None:
        allowed: tuple[tuple[str, float, float, float], ...] = (
            ("size", self.size, 8, _MOST_PIXELS),
            ("satellite_gsd_m", self.satellite_gsd_m, 0.05, 50),
            ("places_per_visit", self.places_per_visit, 1, _MOST_PLACES),
            ("anchor_noise", self.anchor_noise, 0, 1),
            ("dates_per_visit", self.dates_per_visit, len(VIEWS), DATES),
            ("start", self.start, 0, math.inf),
            ("world_size", self.world_size, 1, math.inf),
            ("rank", self.rank, 0, self.world_size - 1),
        )
        for name, value, low, high in allowed:
            if not low <= value <= high:
                raise WorldError(
                    f"{name} {value:g} is no option of WorldDataset: choose {low:g} to {high:g}."
                )
        if not math.isfinite(self.satellite_m):
            raise WorldError(f"satellite_m {self.satellite_m} is no length: give metres.")
        if not 8 <= self.satellite_px <= _MOST_PIXELS:
            raise WorldError(
                f"A satellite picture of {self.satellite_m:g} m at {self.satellite_gsd_m:g} m a "
                f"pixel has {self.satellite_px} pixels a side: choose 8 to {_MOST_PIXELS}."
            )
        if self.drone not in get_args(DroneKind):
            raise WorldError(
                f"{self.drone!r} is no kind of drone picture: choose one of "
                f"{', '.join(get_args(DroneKind))}."
            )

    @property
    def satellite_px(self) -> int:
        """Side of the satellite pictures in pixels."""
        return round(self.satellite_m / self.satellite_gsd_m)

    def starting_at(self, start: int) -> "WorldDataset":
        """The same stream behind its first `start` visits."""
        moved = copy.copy(self)
        moved.start = start
        return moved

    def __iter__(self) -> Iterator[WorldBatch]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        if worker is not None:
            _give_memory_back()
        # A loader takes from its workers in turns, so visits come back in the order of numbers.
        number = self.start + first
        while True:
            visit = self.visit(self.rank + self.world_size * number)
            yield visit if worker is None else _shared(visit)
            number += step

    def town_of(self, number: int) -> tuple[str, int]:
        """Region and index of the town of a visit."""
        index, turn = divmod(number, len(self.regions))
        order = generator("round", self.seed, index).permutation(len(self.regions))
        return self.regions[int(order[turn])], index

    def visit(self, number: int) -> WorldBatch:
        """Draw the visit of that number, from 0, of all ranks together."""
        town = World(self.seed).town(*self.town_of(number), open_dates=1)
        places = _chosen(town, self.places_per_visit, self.pairs)
        rng = generator("visit", town.name)
        dates = rng.permutation(DATES)[: self.dates_per_visit]
        on = [rng.permutation(dates)[: len(VIEWS)].tolist() for _ in places]
        held = self._held(rng, len(places))
        text = [
            town.describe(place, noise=self.anchor_noise) if has else ""
            for place, has in zip(places, held["text"], strict=True)
        ]
        pictures = self._pictures(town, places, on, held)
        return {
            "drone": pictures["drone"],
            "street": pictures["street"],
            "satellite": pictures["satellite"],
            "text": text,
            "present": {name: torch.from_numpy(rows) for name, rows in held.items()},
            "lat": torch.tensor([place.lat for place in places], dtype=torch.float64),
            "lon": torch.tensor([place.lon for place in places], dtype=torch.float64),
            "town": [town.name] * len(places),
            "place_id": [place.place_id for place in places],
        }

    def _held(self, rng: np.random.Generator, count: int) -> dict[Modality, np.ndarray]:
        """Which places have which modality: bool (count,) each."""
        share = np.array([self.missing.get(name, 0.0) for name in MODALITIES])
        luck = rng.random((count, len(MODALITIES))) - share
        # The two luckiest stay, but never one that all places lack.
        rank = np.argsort(np.argsort(np.where(share < 1, -luck, np.inf), axis=1), axis=1)
        held = (luck >= 0) | (rank < 2)
        return dict(zip(MODALITIES, held.T.copy(), strict=True))

    def _pictures(
        self,
        town: Town,
        places: list[WorldPlace],
        on: list[list[int]],
        held: Mapping[Modality, np.ndarray],
    ) -> dict[View, Tensor]:
        """All pictures of a visit, zeros where a place lacks the view."""
        widths = {"drone": self.size, "street": 4 * self.size, "satellite": self.satellite_px}
        heights = {"drone": self.size, "street": self.size, "satellite": self.satellite_px}
        out: dict[View, Tensor] = {
            view: torch.zeros((len(places), 3, heights[view], widths[view]), dtype=torch.uint8)
            for view in VIEWS
        }
        planned: list[tuple[Tensor, PlannedView]] = []
        for row, place in enumerate(places):
            shots = town.shots(
                place,
                generator("views", town.name, place.index),
                size=self.size,
                gsd_m=self.satellite_gsd_m,
                satellite_m=self.satellite_m,
                drone=self.drone,
                views=[view for view in VIEWS if held[view][row]],
                dates=(on[row][0], on[row][1], on[row][2]),
            )
            planned += [(out[view][row], shot) for view, shot in shots.items()]
        # Date by date, because the town keeps one open: each takes nearly as much as the town.
        for target, shot in sorted(planned, key=lambda item: item[1].date):
            target.copy_(torch.from_numpy(shot.draw()).permute(2, 0, 1))
        return out


def world_batches(
    dataset: WorldDataset,
    batch_size: int,
    *,
    towns_per_batch: int = 4,
    start: int = 0,
    num_workers: int = 2,
    start_method: Literal["spawn", "fork"] = "spawn",
) -> Iterator[WorldBatch]:
    """Endless batches, each of `batch_size / towns_per_batch` places of each of its towns.

    The fewer towns, the harder the negatives. The batches are the same for every number of
    workers, and those from `start` on are the ones an uninterrupted run would have had. So a
    trainer resumes by its number of steps alone.

    Args:
        dataset: where the visits come from.
        batch_size: places of a batch, on this rank.
        towns_per_batch: how many visits a batch mixes.
        start: batches that were consumed before.
        num_workers: processes that draw; 0 draws in this one.
        start_method: how the workers begin. A script whose workers are spawned needs
            `if __name__ == "__main__":`; forked ones begin sooner, but inherit the memory, and
            half dead the threads, of the process that trains.

    Raises:
        WorldError: visits cannot be shared out evenly among batches, or a worker failed or died.
    """
    towns = max(1, towns_per_batch)
    each = max(1, batch_size // towns)
    if (towns, each * towns) != (towns_per_batch, batch_size) or dataset.places_per_visit % each:
        raise WorldError(
            f"A batch of {batch_size} places of {towns_per_batch} towns cannot be drawn: choose a "
            f"multiple of the number of towns that takes a divisor of the "
            f"{dataset.places_per_visit} places of a visit from each."
        )
    if start < 0 or num_workers < 0:
        raise WorldError("The start and the number of workers must be 0 or more.")
    rounds = dataset.places_per_visit // each
    skipped, first = divmod(start, rounds)
    visits = _visits(
        dataset.starting_at(dataset.start + skipped * towns_per_batch),
        num_workers,
        # What training takes at once should be ready at once.
        max(2, math.ceil(towns_per_batch / max(1, num_workers))),
        start_method,
    )
    return _mixed(visits, towns_per_batch, each, rounds, first)


def _visits(
    dataset: WorldDataset, num_workers: int, ahead: int, start_method: str
) -> Iterator[WorldBatch]:
    """What the workers draw, with their errors in one sentence."""
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=ahead if num_workers else None,
        multiprocessing_context=start_method if num_workers else None,
    )
    try:
        yield from loader
    except WorldError as error:
        # The loader wraps it into the worker's traceback, whose last line is the error's own.
        raise WorldError(str(error).rpartition("WorldError: ")[2].strip()) from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise WorldError(
            "A worker that draws the planet died, most likely for want of memory: resume with "
            "fewer workers, or a smaller places_per_visit."
        ) from error


def _mixed(
    visits: Iterator[WorldBatch], towns: int, each: int, rounds: int, first: int
) -> Iterator[WorldBatch]:
    """Batches of `each` places of each of `towns` visits; `rounds` batches use them up."""
    while True:
        held = [next(visits) for _ in range(towns)]
        for i in range(first, rounds):
            yield _joined([_rows(visit, i * each, (i + 1) * each) for visit in held])
        first = 0


_TENSORS = ("drone", "street", "satellite", "lat", "lon")
_LISTS = ("text", "town", "place_id")


def _shared(visit: WorldBatch) -> WorldBatch:
    """The visit in shared memory, ready to be sent.

    Otherwise the thread that sends it would copy it, and a worker told to stop meanwhile aborts.
    """
    values = cast(dict[str, Tensor], visit)
    for tensor in (*(values[name] for name in _TENSORS), *visit["present"].values()):
        tensor.share_memory_()  # type: ignore[no-untyped-call]
    return visit


def _give_memory_back() -> None:
    """Let glibc return freed rasters to the system; kept for later, they take 85 MB a worker."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def _rows(batch: WorldBatch, begin: int, end: int) -> WorldBatch:
    values = cast(dict[str, Tensor], batch)
    out = {name: values[name][begin:end] for name in (*_TENSORS, *_LISTS)}
    present = {name: rows[begin:end] for name, rows in batch["present"].items()}
    return cast(WorldBatch, {**out, "present": present})


def _joined(parts: list[WorldBatch]) -> WorldBatch:
    tensors = {
        name: torch.cat([cast(dict[str, Tensor], p)[name] for p in parts]) for name in _TENSORS
    }
    lists = {
        name: [v for p in parts for v in cast(dict[str, list[str]], p)[name]] for name in _LISTS
    }
    present = {name: torch.cat([part["present"][name] for part in parts]) for name in MODALITIES}
    return cast(WorldBatch, {**tensors, **lists, "present": present})


def _training_regions(regions: Sequence[str]) -> list[str]:
    if regions == "known":
        return [name for name, region in REGIONS.items() if not region.unseen]
    names = [regions] if isinstance(regions, str) else list(dict.fromkeys(regions))
    if not names:
        raise WorldError("No region was given: name at least one, or write 'known'.")
    unseen = [name for name in names if region_named(name).unseen]
    if unseen:
        raise WorldError(
            f"{', '.join(unseen)} is held back for testing and never trained on: choose among "
            f"{', '.join(_training_regions('known'))}."
        )
    return names


def _check_missing(missing: Mapping[Modality, float]) -> None:
    for name, share in missing.items():
        if name not in MODALITIES or not 0 <= share <= 1:
            raise WorldError(
                f"{name!r}: {share!r} is no share of a missing modality: name one of "
                f"{', '.join(MODALITIES)} with a number from 0 to 1."
            )
    if sum(missing.get(name, 0.0) < 1 for name in MODALITIES) < 2:
        raise WorldError(
            "Training needs pairs, and `missing` leaves fewer than two modalities: let at least "
            "two have a share below 1."
        )


def _chosen(town: Town, count: int, pairs: bool) -> list[WorldPlace]:
    """So many places, nearer to each other than usual where the town has little room."""
    apart_m = PAIRS_APART_M if pairs else APART_M
    while True:
        places = (
            place_pairs(town, count, apart_m)
            if pairs
            else town.places(count, apart_m=apart_m, at_most=True)
        )
        if len(places) == count:
            return places
        if apart_m < _LEAST_APART_M:
            raise WorldError(
                f"{town.name} has no room for {count} places: choose a smaller places_per_visit."
            )
        apart_m *= 0.8
