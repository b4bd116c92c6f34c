"""What a run wrote down: two tables (CSV) and TensorBoard's events, exact across a kill.

`metrics.csv` has a row for each logged step, `validation.csv` one for each validation. A resumed
run goes on behind the step of its state: rows of later steps, which it will make again, are
dropped, so that no step is there twice and none is missing. (lightning's CSVLogger removes the
file of the earlier run and holds back up to a hundred rows, which a kill would lose.)
"""

import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from geobridge.errors import MissingExtraError, TrainingError

try:
    from torch.utils.tensorboard.writer import SummaryWriter
except ImportError as error:
    raise MissingExtraError("Training", "tensorboard", "train") from error

METRICS, VALIDATION, EVENTS = "metrics.csv", "validation.csv", "tensorboard"

MEASURES = ("minutes", "loss", "scale", "learning_rate", "waiting", "mining", "idle")
"""Columns of `metrics.csv` after `step`; those behind them are the terms of the loss.

`waiting` and `mining` are shares of the time since the last row, spent waiting for batches and
looking for hard places; `idle` counts the steps of the run so far whose batch held no edge.
"""


class RunLog:
    """The tables and events of one run, open for more rows; every row is on the disk at once.

    Args:
        folder: of the run; made where it is missing.
        terms: of the loss, such as `drone-street`: columns of `metrics.csv`.
        directions: such as `D2S`: columns of `validation.csv`.
        step: the last step of the state that the run goes on from, 0 where it begins; rows of
            later steps are dropped.

    Raises:
        TrainingError: a table that is there is damaged, or the folder cannot be written.
    """

    def __init__(
        self, folder: Path, terms: Sequence[str], directions: Sequence[str], step: int = 0
    ) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._metrics = _Table(folder / METRICS, ("step", *MEASURES, *terms), step)
            self._validation = _Table(folder / VALIDATION, ("step", *directions), step)
            # TensorBoard, too, is told to forget what comes after the resumed step.
            self._events = SummaryWriter(str(folder / EVENTS), purge_step=step + 1)
        except OSError as error:
            raise _not_written(folder, error) from error

    def metrics(self, step: int, row: Mapping[str, float]) -> None:
        """Write down a step of training.

        Args:
            step: how many steps were made.
            row: any of `MEASURES` and of the terms; those left out stay empty.

        Raises:
            TrainingError: the disk is full or not writable.
        """
        tags = {name: name if name in MEASURES else f"terms/{name}" for name in row}
        self._add(self._metrics, step, row, tags)

    def validation(self, step: int, recall: Mapping[str, float]) -> None:
        """Write down R@1 (0 to 1) of each direction; directions left out stay empty.

        Raises:
            TrainingError: the disk is full or not writable.
        """
        self._add(self._validation, step, recall, {name: f"recall_at_1/{name}" for name in recall})

    def _add(
        self, table: "_Table", step: int, row: Mapping[str, float], tags: Mapping[str, str]
    ) -> None:
        try:
            table.add({"step": step, **row})
            for name, value in row.items():
                self._events.add_scalar(tags[name], value, step)
            self._events.flush()
        except OSError as error:
            raise _not_written(self._folder, error) from error

    def close(self) -> None:
        """Nothing more comes."""
        self._metrics.close()
        self._validation.close()
        self._events.close()


class _Table:
    """A CSV file that grows by whole rows."""

    def __init__(self, path: Path, columns: Sequence[str], step: int) -> None:
        kept = [row for row in read_table(path) if row["step"] <= step] if path.exists() else []
        # What an earlier session wrote stays, also where this one has no such column.
        earlier = [name for row in kept for name in row]
        self._columns = list(dict.fromkeys([*columns, *earlier]))
        part = path.with_name(f".{path.name}.part")
        part.write_text("".join([self._line(None), *map(self._line, kept)]), encoding="utf-8")
        part.replace(path)
        self._file: TextIO = path.open("a", encoding="utf-8", newline="")

    def _line(self, row: Mapping[str, float] | None) -> str:
        """A row as it stands in the file; the names of the columns for None."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        if row is None:
            writer.writeheader()
        else:
            writer.writerow({name: f"{value:.10g}" for name, value in row.items()})
        return text.getvalue()

    def add(self, row: Mapping[str, float]) -> None:
        self._file.write(self._line(row))
        self._file.flush()

    def close(self) -> None:
        # A row that did not fit on the disk is tried again here: it has been complained of already.
        with contextlib.suppress(OSError):
            self._file.close()


def read_table(path: Path) -> list[dict[str, float]]:
    """The rows of `metrics.csv` or `validation.csv`; empty cells are left out of a row.

    A last line without its end, as a power cut leaves it, does not count.

    Raises:
        TrainingError: there is no such file, or it is no table of numbers by step.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TrainingError(
            f"the log {path} cannot be read ({error.strerror}): name the folder of a run that has "
            f"begun."
        ) from error
    except UnicodeDecodeError:
        raise _no_table(path, 1) from None
    whole = text[: text.rfind("\n") + 1]
    lines = csv.reader(whole.splitlines())
    columns = next(lines, ["step"])
    rows = []
    for number, cells in enumerate(lines, start=2):
        try:
            pairs = zip(columns, cells, strict=True)
            rows.append({name: float(cell) for name, cell in pairs if cell})
        except ValueError:
            raise _no_table(path, number) from None
        if "step" not in rows[-1]:
            raise _no_table(path, number)
    return rows


def _no_table(path: Path, line: int) -> TrainingError:
    return TrainingError(
        f"line {line} of {path} is no row of a run's log: restore the file, or move it away and "
        f"resume."
    )


def _not_written(folder: Path, error: OSError) -> TrainingError:
    return TrainingError(
        f"the logs in {folder} cannot be written ({error.strerror or error}): free space or make "
        f"the folder writable, then resume."
    )
