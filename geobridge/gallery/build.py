"""Embedding references into a gallery: readers run ahead, the model never waits for a file."""

import time
from collections.abc import Callable, Container, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from geobridge.errors import GeoBridgeError, ModelError, SourceError, TextTooLongError
from geobridge.gallery import ledger
from geobridge.gallery.sources.files import field_of_file, picture_path
from geobridge.gallery.sources.items import (
    BAD_NAME,
    BLANK,
    MISSING,
    UNREADABLE,
    LeftOutError,
    ReferenceItem,
    Skipped,
    Source,
    is_blank,
    is_utf8,
)
from geobridge.gallery.store import EmbeddingModel
from geobridge.gallery.writer import GalleryWriter
from geobridge.imagery.street import StreetField
from geobridge.views import Modality

Progress = Callable[[int, int | None], None]
"""Told how many items are dealt with, and of how many where that is known."""

NOT_EMBEDDED = "cannot be embedded"
TEXT_TOO_LONG = "text too long"

# Batches read ahead of the model: one being waited for and one to spare.
_BATCHES_AHEAD = 2

T = TypeVar("T")
R = TypeVar("R")


class ReferenceModel(EmbeddingModel, Protocol):
    """What building asks of a model, beside its name; `GeoBridge` is one."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities it embeds."""

    def prepare(self, view: Any, image: Any, field: StreetField | None = None) -> torch.Tensor:
        """Picture (H, W, 3) uint8 to the model's input, (3, height, width) uint8."""

    def embed_prepared(self, view: Any, batch: torch.Tensor) -> npt.NDArray[np.float32]:
        """(B, 3, height, width) uint8 to (B, D) unit-norm float32; ModelError if not finite."""

    def embed(self, modality: Any, items: Any) -> npt.NDArray[np.float32]:
        """Sentences to (B, D) unit-norm float32; TextTooLongError if one is too long."""


@dataclass(frozen=True)
class BuildSummary:
    """What a build came to. Counts are the whole gallery's, but for `added` and `seconds`."""

    out: Path
    indexed: int
    added: int
    skipped: int
    unreadable: int
    by_reason: dict[str, int]
    seconds: float
    already_complete: bool

    @property
    def skipped_file(self) -> Path:
        """The table that lists what was skipped or unreadable, each with its reason."""
        return self.out / ledger.FILE_NAME


def build_gallery(
    sources: Sequence[Source],
    model: ReferenceModel,
    out: str | Path,
    *,
    batch_size: int = 32,
    workers: int = 2,
    progress: Progress | None = None,
) -> BuildSummary:
    """Index sources into a gallery: begin it, continue it after a kill, or add to it.

    Every item becomes a reference, or a line of `skipped.csv`, exactly once, however often the
    build is stopped and run again. A broken picture is noted and passed over.

    Args:
        sources: from `open_source`; they are closed at the end.
        model: embeds the references; a gallery belongs to one model.
        out: the gallery's folder.
        batch_size: pictures in one forward pass.
        workers: threads that read and prepare pictures while the model computes.
        progress: called after every batch.

    Raises:
        ModelError: the model lacks a modality, or can embed nothing of a batch.
        GalleryError: `out` belongs to another model, another process or something else.
        SourceError: nothing in the sources could be indexed.
    """
    began = time.monotonic()
    sources = _distinct(sources)
    _check_modalities(sources, model)
    out = Path(out)
    try:
        with GalleryWriter(out, model, [source.record for source in sources]) as writer:
            before = len(writer)
            report = _Report(progress)
            for source in sources:
                _index(source, writer, model, batch_size, workers, report)
            _finish(writer, sources)
            return BuildSummary(
                out=out,
                indexed=len(writer),
                added=len(writer) - before,
                skipped=writer.counts.skipped,
                unreadable=writer.counts.unreadable,
                by_reason=writer.counts.by_reason,
                seconds=time.monotonic() - began,
                already_complete=not writer.changed,
            )
    finally:
        for source in sources:
            source.close()


def _index(
    source: Source,
    writer: GalleryWriter,
    model: ReferenceModel,
    batch_size: int,
    workers: int,
    report: "_Report",
) -> None:
    done = report.start(source, writer.begin(source.record))
    pending: dict[Modality, list[tuple[ReferenceItem, Any]]] = {}

    def read(item: ReferenceItem | Skipped) -> Skipped | tuple[ReferenceItem, Any]:
        return item if isinstance(item, Skipped) else _read(item, model)

    ahead = read_ahead(source.items(done), read, workers=workers, depth=_BATCHES_AHEAD * batch_size)
    with closing(ahead):
        for outcome in ahead:
            if isinstance(outcome, Skipped):
                writer.leave_out(outcome)
                report.advance(1)
                continue
            batch = pending.setdefault(outcome[0].modality, [])
            batch.append(outcome)
            if len(batch) == batch_size:
                _embed(pending.pop(outcome[0].modality), writer, model)
                report.advance(batch_size)
        for batch in pending.values():
            _embed(batch, writer, model)
            report.advance(len(batch))
    writer.end()


def _read(item: ReferenceItem, model: ReferenceModel) -> Skipped | tuple[ReferenceItem, Any]:
    """Runs on a reader's thread: the item with its prepared picture or its sentence."""
    if not is_utf8(item.path):
        # The gallery's tables hold text, which such a name cannot become and come back from.
        return item.left_out("unreadable", BAD_NAME, "rename the file")
    try:
        content = item.load()
        if isinstance(content, str):
            return item, content
        if is_blank(content):
            return item.left_out("skipped", BLANK)
        field = item.field
        if field is None and item.modality == "street":
            file = picture_path(item.source, item.path)
            field = field_of_file(file, content.shape[1], content.shape[0])
        return item, model.prepare(item.modality, content, field)
    except LeftOutError as left_out:
        return item.left_out("skipped", left_out.reason, left_out.detail)
    except Exception as error:  # a decoder may raise anything, and one bad file stops nothing
        is_there = picture_path(item.source, item.path).exists()
        detail = (
            str(error) if isinstance(error, GeoBridgeError) else f"{type(error).__name__}: {error}"
        )
        return item.left_out("unreadable", UNREADABLE if is_there else MISSING, detail)


def _embed(
    batch: list[tuple[ReferenceItem, Any]], writer: GalleryWriter, model: ReferenceModel
) -> None:
    """Embed items of one modality and hand them on; what cannot be embedded is noted."""
    items = [item for item, _ in batch]
    modality = items[0].modality
    try:
        writer.add(items, _vectors(modality, [content for _, content in batch], model))
        return
    except ModelError as error:
        whole_batch = error
    # The model refuses a batch for the sake of one item: find it.
    refused: list[tuple[ReferenceItem, ModelError]] = []
    for item, content in batch:
        try:
            writer.add([item], _vectors(modality, [content], model))
        except ModelError as error:
            refused.append((item, error))
    if len(refused) == len(batch) > 1 and not isinstance(whole_batch, TextTooLongError):
        raise whole_batch
    for item, why in refused:
        reason = TEXT_TOO_LONG if isinstance(why, TextTooLongError) else NOT_EMBEDDED
        writer.leave_out(item.left_out("unreadable", reason, str(why)))


def _vectors(
    modality: Modality, contents: list[Any], model: ReferenceModel
) -> npt.NDArray[np.float32]:
    if modality == "text":
        return model.embed("text", contents)
    return model.embed_prepared(modality, torch.stack(contents))


def read_ahead(
    items: Iterable[T], read: Callable[[T], R], *, workers: int, depth: int
) -> Generator[R, None, None]:
    """`map(read, items)` in order, with `workers` threads reading at most `depth` items ahead.

    `items` is walked on a thread of its own. What it or `read` raises is raised here. Closing the
    iterator stops the threads.
    """
    ahead: Queue[Future[R] | None] = Queue(maxsize=depth)
    stopped = Event()

    def put(entry: Future[R] | None) -> None:
        while not stopped.is_set():
            try:
                ahead.put(entry, timeout=0.1)
            except Full:
                continue
            return

    def feed(pool: ThreadPoolExecutor) -> None:
        try:
            for item in items:
                if stopped.is_set():
                    return
                put(pool.submit(read, item))
            put(None)
        except BaseException as error:  # carried over to the consumer's thread
            failed: Future[R] = Future()
            failed.set_exception(error)
            put(failed)

    with ThreadPoolExecutor(workers, "reader", initializer=_use_one_thread) as pool:
        feeder = Thread(target=feed, args=(pool,), name="feeder", daemon=True)
        feeder.start()
        try:
            while (future := ahead.get()) is not None:
                yield future.result()
        finally:
            stopped.set()
            feeder.join()
            pool.shutdown(cancel_futures=True)
            # Threads started from here on are to use as many as this one again.
            torch.set_num_threads(torch.get_num_threads())


def _use_one_thread() -> None:
    # Readers work side by side already; threads inside each would only fight with the model's.
    torch.set_num_threads(1)


class _Report:
    """Counts for `Progress`, over all sources."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._done = 0
        self._total: int | None = 0

    def start(self, source: Source, done: set[str]) -> Container[str]:
        """Count a source in; what it asks for in the returned `done` counts as dealt with."""
        total = source.total() if self._progress is not None else None
        self._total = None if total is None or self._total is None else self._total + total
        return _Asked(done, self)

    def known(self) -> None:
        """One item that an earlier run dealt with."""
        self._done += 1

    def advance(self, items: int) -> None:
        self._done += items
        if self._progress is not None:
            self._progress(self._done, self._total)


class _Asked(Container[str]):
    """A set that reports each of its members that is asked for."""

    def __init__(self, members: set[str], report: _Report) -> None:
        self._members = members
        self._report = report

    def __contains__(self, member: object) -> bool:
        found = member in self._members
        if found:
            self._report.known()
        return found


def _finish(writer: GalleryWriter, sources: Sequence[Source]) -> None:
    if not len(writer):
        writer.forget()
        named = ", ".join(str(source.path) for source in sources)
        reasons = ", ".join(f"{count} {reason}" for reason, count in writer.reasons().most_common())
        raise SourceError(
            f"Nothing in {named} could be indexed ({reasons or 'it holds no items'}): "
            f"see {writer.out / ledger.FILE_NAME} for each."
        )
    if writer.changed:
        writer.finish()


def _distinct(sources: Sequence[Source]) -> list[Source]:
    """Sources without repetitions of one request."""
    distinct: list[Source] = []
    for source in sources:
        if not any(source.record.same_request(other.record) for other in distinct):
            distinct.append(source)
    if not distinct:
        raise SourceError("There is no source to index: name a map, a table or a folder.")
    return distinct


def _check_modalities(sources: Sequence[Source], model: ReferenceModel) -> None:
    for source in sources:
        for modality in source.modalities:
            if modality not in model.modalities:
                raise ModelError(
                    f"Model {model.name!r} embeds {', '.join(model.modalities)} and not "
                    f"{modality}, which {source.path} was to be indexed as: choose another view "
                    f"or another model."
                )
