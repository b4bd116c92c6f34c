"""The batch of every step, a pure function of its number: what makes a run resume exactly."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from geobridge.errors import GeoBridgeError, TrainingError
from geobridge.training.batch import Batch, join_batches
from geobridge.training.negatives import BatchOrder
from geobridge.training.sources import FileSource, WorldSource

ProgressOf = Callable[[int], float]
"""Which share of the run (0 to 1) is done before a step."""


class OrderedPart(NamedTuple):
    """A source of numbered places, and which of them make each batch."""

    source: FileSource
    order: BatchOrder


Part = OrderedPart | WorldSource
Plan = tuple[int, list[list[int]]]
"""A step, and the rows that each part gives to its batch."""


class Stream:
    """Draws the batches of a run, in this process or in others.

    Args:
        parts: what every batch is joined from.
        seed: of the run.
        rank: of this process; each has draws of its own.
        workers: processes that draw; 0 draws in this one.
    """

    def __init__(self, parts: Sequence[Part], seed: int, rank: int = 0, workers: int = 0) -> None:
        self.parts = list(parts)
        self.seed = seed
        self.rank = rank
        self.workers = workers

    @property
    def orders(self) -> list[BatchOrder]:
        """The orders of the parts that have one."""
        return [part.order for part in self.parts if isinstance(part, OrderedPart)]

    def batches(self, start: int, end: int | None, progress_of: ProgressOf) -> Iterator[Batch]:
        """The batches of the steps from `start` to `end` (exclusive; None never ends).

        Each is that of `draw`, whatever came before it and whoever draws.

        Raises:
            ImageError: a picture cannot be decoded, or is gone.
            TrainingError: a process that draws died.
        """
        loader = DataLoader(
            _Drawn(self.parts, self.seed, self.rank),
            batch_size=None,
            sampler=_Plans(self.parts, start, end, progress_of),
            num_workers=self.workers,
            multiprocessing_context="fork" if self.workers else None,
            # Threads that wait in a forked worker would wait for ever.
            worker_init_fn=_single_threaded if self.workers else None,
        )
        try:
            yield from loader
        except GeoBridgeError as error:
            raise _plain(error) from error
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            raise TrainingError(
                "a process that draws batches died, most likely for want of memory: resume with "
                "fewer of them (fit.workers)."
            ) from error

    def draw(self, step: int, progress_of: ProgressOf) -> Batch:
        """The batch of one step."""
        plans = _Plans(self.parts, step, step + 1, progress_of)
        return _Drawn(self.parts, self.seed, self.rank)[next(iter(plans))]


class _Plans:
    """Which rows each step takes; asked in the training process, where the orders change."""

    def __init__(
        self, parts: Sequence[Part], start: int, end: int | None, progress_of: ProgressOf
    ) -> None:
        self.parts, self.start, self.end, self.progress_of = parts, start, end, progress_of

    def __iter__(self) -> Iterator[Plan]:
        step = self.start
        while self.end is None or step < self.end:
            rows = [
                part.order.rows(step, self.progress_of).tolist()
                if isinstance(part, OrderedPart)
                else []
                for part in self.parts
            ]
            yield step, rows
            step += 1


class _Drawn(Dataset[Batch]):
    def __init__(self, parts: Sequence[Part], seed: int, rank: int) -> None:
        self.parts, self.seed, self.rank = parts, seed, rank

    def __getitem__(self, plan: Any) -> Batch:
        step, rows = plan
        drawn = []
        for number, (part, taken) in enumerate(zip(self.parts, rows, strict=True)):
            generator = step_generator(self.seed, step, self.rank, number)
            if isinstance(part, OrderedPart):
                drawn.append(part.source.draw(taken, generator))
            else:
                drawn.append(part.at(step, generator))
        return join_batches(drawn)


def step_generator(seed: int, step: int, rank: int, part: int) -> torch.Generator:
    """The generator of everything drawn for a step, by one process, from one part."""
    mixed = np.random.SeedSequence([seed, step, rank, part]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> 1))


def _plain(error: GeoBridgeError) -> GeoBridgeError:
    """The error itself, out of the worker's traceback that a loader wraps it into."""
    kind = type(error)
    return kind(str(error).rpartition(f"{kind.__name__}: ")[2].strip())


def _single_threaded(worker: int) -> None:  # noqa: ARG001 - the loader's signature
    torch.set_num_threads(1)
