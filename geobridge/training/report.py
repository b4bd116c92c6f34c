"""How a run says how far it is: a bar, a line after each validation, and its logs."""
# The signatures of the hooks are lightning's.
# ruff: noqa: ARG002

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor

from geobridge.errors import MissingExtraError
from geobridge.training.logs import METRICS, RunLog

try:
    from lightning import pytorch as lightning
except ImportError as error:
    raise MissingExtraError("Training", "lightning", "train") from error


class RunReport(lightning.Callback):
    """The bar and the logs of a run; only the first of several processes shows and writes them.

    As a callback of lightning it opens when training starts and closes when it ends, whichever
    way. Its part of a state is the last step it was told of, so tell it of a step before the
    state is saved, and of a validation as well: a resumed run then has the rows of an
    uninterrupted one.

    Args:
        folder: of the run; see `RunLog`.
        terms: of the loss, such as `drone-street`.
        directions: that validation measures, such as `D2S`.
        steps: how many the run is to make, or None.
        minutes: how long it is to train, or None; one of the two is enough.
        log_steps: a row for each so many steps, for the first and for the last.
        console: where the bar goes.
    """

    def __init__(
        self,
        folder: Path,
        terms: Sequence[str],
        directions: Sequence[str],
        *,
        steps: int | None,
        minutes: float | None,
        log_steps: int,
        console: Console,
    ) -> None:
        self._folder, self._terms, self._directions = folder, terms, directions
        self._steps, self._minutes, self._log_steps = steps, minutes, log_steps
        self._console = console
        self._step = 0
        self._waited_s = self._mined_s = self._took_s = 0.0
        self._shown = ""
        self._log: RunLog | None = None
        self._bar: Progress | None = None

    # ---- what fit tells ----------------------------------------------------------------------

    def step(
        self,
        step: int,
        *,
        minutes: float,
        loss: Tensor | float | None,
        terms: Mapping[str, Tensor | float],
        scale: Tensor | float,
        learning_rate: float,
        waited_s: float,
        took_s: float,
        mined_s: float = 0.0,
        idle: int = 0,
        last: bool = False,
    ) -> None:
        """A step was made.

        Tensors are read only where a row is due: reading one waits for the device.

        Args:
            step: how many steps were made, this one included.
            minutes: of training so far, over all sessions.
            loss: of the step's batch, shape (); None where it held no edge and taught nothing.
            terms: of the loss; those that the batch lacks are left out.
            scale: inverse temperature.
            learning_rate: the highest among the parameters.
            waited_s: seconds of this step that went into waiting for its batch.
            took_s: seconds of this step altogether, waiting and mining included.
            mined_s: seconds of this step that went into looking for hard places.
            idle: how many steps of the run so far taught nothing.
            last: whether the run ends with it; it gets a row, too.

        Raises:
            TrainingError: the logs cannot be written.
        """
        self._step = step
        self._waited_s += waited_s
        self._mined_s += mined_s
        self._took_s += took_s
        if self._log is None or self._bar is None:
            return
        if loss is None and idle == 1:
            self._bar.print(
                f"step {step}: no edge has two places in this batch, which teaches nothing; the "
                f"column idle of {METRICS} counts such steps"
            )
        if last or step == 1 or step % self._log_steps == 0:
            took_s = self._took_s or 1.0
            waiting, mining = self._waited_s / took_s, self._mined_s / took_s
            self._waited_s = self._mined_s = self._took_s = 0.0
            row = {"minutes": minutes, "scale": float(scale), "learning_rate": learning_rate}
            row |= {"waiting": waiting, "mining": mining, "idle": idle}
            row |= {} if loss is None else {"loss": float(loss)}
            self._log.metrics(step, row | {name: float(term) for name, term in terms.items()})
            words = [f"loss {row['loss']:.3f}"] if "loss" in row else []
            words += [f"waiting {waiting:.0%}"] + [f"mining {mining:.0%}"] * (mining > 0)
            self._shown = ", ".join(words)
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=self._share(step, minutes), status=self._line(minutes))

    @contextmanager
    def mining(self, step: int, name: str) -> Iterator[None]:
        """While a model looks for hard places, for which training stops: say it, and how long.

        Args:
            step: how many steps were made.
            name: of the set of places.
        """
        if self._bar is not None:
            task = self._bar.task_ids[0]
            self._bar.update(task, status=f"step {step}, looking for hard places of {name}")
        begin = time.monotonic()
        yield
        if self._bar is not None:
            took_s = time.monotonic() - begin
            self._bar.print(f"step {step}: hard places of {name} were mined in {took_s:.0f} s")

    def validation(self, step: int, recall: Mapping[str, float]) -> None:
        """R@1 (0 to 1) of each direction was measured after so many steps.

        Raises:
            TrainingError: the logs cannot be written.
        """
        if self._log is None or self._bar is None:
            return
        self._log.validation(step, recall)
        words = "  ".join(f"{name} {100 * value:.1f}" for name, value in recall.items())
        # Above the bar, where it stays; in a file or a pipe, where there is no bar, it is all.
        shown = f"{self._shown}; " if self._shown else ""
        self._bar.print(f"step {step}: {shown}validation R@1 in %: {words}")

    def _share(self, step: int, minutes: float) -> float:
        """How much of the run is done: 0 to 1."""
        of_steps = step / self._steps if self._steps else 0.0
        of_minutes = minutes / self._minutes if self._minutes else 0.0
        return min(1.0, max(of_steps, of_minutes))

    def _line(self, minutes: float) -> str:
        of = f"/{self._steps}" if self._steps else ""
        share = self._share(self._step, minutes)
        left = f"{minutes / share - minutes:.0f} min left" if share else ""
        return ", ".join(filter(None, (f"step {self._step}{of}", left, self._shown)))

    # ---- when lightning calls ------------------------------------------------------------------

    def on_train_start(
        self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule"
    ) -> None:
        """Open, on the first process."""
        if trainer.is_global_zero:
            self.open()

    def on_train_end(
        self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule"
    ) -> None:
        """Close."""
        self.close()

    def on_exception(
        self,
        trainer: "lightning.Trainer",
        pl_module: "lightning.LightningModule",
        exception: BaseException,
    ) -> None:
        """Close, too."""
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """The last step."""
        return {"step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind that step: what the logs hold of later ones is dropped on opening."""
        self._step = state_dict["step"]

    def open(self) -> None:
        """Begin or continue the logs, and show the bar.

        Raises:
            TrainingError: the logs cannot be continued or written.
        """
        self._log = RunLog(self._folder, self._terms, self._directions, self._step)
        # Narrow enough for a window of 80 columns.
        columns = (BarColumn(20), TextColumn("{task.fields[status]}"))
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._bar.add_task("", total=1.0, status="")
        self._bar.start()

    def close(self) -> None:
        """Take the bar away and close the logs; once is enough, more do no harm."""
        if self._bar is not None and self._log is not None:
            self._bar.stop()
            self._log.close()
        self._bar = self._log = None
