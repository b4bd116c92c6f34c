"""What the training loop costs beside a bare loop in PyTorch, and how long it waits for data.

    python benchmarks/training_loop.py
    python benchmarks/training_loop.py --tiny --batch 16 --steps 4 --repeats 2

prints the places a second of `FitModule` under lightning, with its logs and its checks, and of a
plain loop with the same model, batches (held in memory), objective and optimizer. The two take
turns of a few steps in one process, and the ratio is the median over the turns. Then the share of
its time in which a fit waits for batches, drawn between the steps (0 workers) or by another process
(1 worker). Nothing else should be running; about two minutes on two cores.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads that spin count as CPU time

import argparse
import copy
import csv
import itertools
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from torch import nn

from geobridge.model.geobridge import GeoBridge
from geobridge.model.objective import anchor_objective, false_negatives
from geobridge.training.batch import Batch
from geobridge.training.config import TrainConfig, read_train_config
from geobridge.training.fit import CACHE, FitModule, Keeper, fit
from geobridge.training.parameters import parameter_groups
from geobridge.training.report import RunReport
from geobridge.training.setup import open_data, open_parts, start_config, start_model
from geobridge.training.stream import ProgressOf, Stream
from geobridge.views import Modality

HELD = 4
TARGET = 0.9
TINY = (
    "{dim: 32, image: {config: {embedding_size: 8, hidden_sizes: [8, 16], depths: [1, 1]}}, "
    "text: {config: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, "
    "projection_dim: 32}}, preprocess: {drone: {height: 32, width: 32}, "
    "street: {height: 16, width: 64}, satellite: {height: 32, width: 32}}}"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default="mini", help="file or preset: model and optimizer")
    parser.add_argument("--tiny", action="store_true", help="a tiny network, all overhead")
    parser.add_argument("--places", default="runs/planet-val", help="a places data set")
    parser.add_argument("--batch", type=int, default=64, help="places of a batch")
    parser.add_argument("--steps", type=int, default=3, help="of each turn")
    parser.add_argument("--repeats", type=int, default=8, help="turns of each loop")
    parser.add_argument("--waiting-steps", type=int, default=16, help="of each fit that waits")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    config = configuration(options, options.steps * (options.repeats + 1))
    precision = f"{config.fit.precision}, {torch.get_num_threads()} torch threads"
    print(f"{config.model.preset}{' (tiny)' * options.tiny}, batch {options.batch}, {precision}")
    with tempfile.TemporaryDirectory() as folder:
        compare(config, options.steps, Path(folder))
        waits = configuration(options, options.waiting_steps)
        for workers in (0, 1):
            share = waiting(waits, workers, Path(folder))
            print(f"  waiting for data, workers {workers}: {share:.1%} of the time")


def configuration(options: argparse.Namespace, steps: int) -> TrainConfig:
    """The named one, on the places that are asked for, from drawn weights."""
    changes = [
        f"data.train=[{{places: {options.places}, per_batch: {options.batch}}}]",
        "data.validation=[]",
        "negatives.kind=random",
        "fit.standardize=false",
        "fit.minutes=null",
        f"fit.steps={steps}",
        f"fit.log_steps={steps}",  # so that the last row is of all steps but the first
        "fit.save_minutes=60",
    ]
    if options.tiny:
        changes.append(f"model.settings={TINY}")
    return read_train_config(options.config, changes)


# ---- the loop beside a bare one ------------------------------------------------------------------


class HeldStream(Stream):
    """Batches that are there already, in turn."""

    def __init__(self, held: list[Batch]) -> None:
        super().__init__([], seed=0)
        self.held = held

    def batches(
        self,
        start: int,
        end: int | None,
        progress_of: ProgressOf,  # noqa: ARG002 - the stream's signature
    ) -> Iterator[Batch]:
        """The batches of the steps from `start` to `end`."""
        steps = itertools.count(start) if end is None else range(start, end)
        return (self.held[step % len(self.held)] for step in steps)


class BareLoop:
    """The same steps without anything around them."""

    def __init__(self, model: GeoBridge, held: list[Batch], config: TrainConfig) -> None:
        self.model, self.held, self.config = model.train(), held, config
        rate, decay = config.optimizer.learning_rate, config.optimizer.weight_decay
        groups = parameter_groups(model, config.parameters, rate, decay)
        self.optimizer = torch.optim.AdamW(groups, betas=config.optimizer.betas)
        self.mixed = config.fit.precision == "bf16-mixed"
        self.done = 0

    def step(self) -> None:
        """Encode, compare, go back, step."""
        batch, objective = self.held[self.done % len(self.held)], self.config.objective
        features: dict[Modality, torch.Tensor] = {}
        with torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
            for view, pictures in batch.pictures.items():
                features[view] = self.model.image_features(view, pictures)
            features["text"] = self.model.text_features(batch.texts)
        embeddings = {name: self.model.project(name, rows) for name, rows in features.items()}
        masks = false_negatives(batch.lat, batch.lon, batch.text_key, objective)
        scale = objective.clamped_scale(self.model.logit_scale)
        loss, _ = anchor_objective(embeddings, {}, scale, objective, masks)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.done += 1


class Turns(Callback):
    """Lets the bare loop have its turn after every few steps; keeps the seconds of both.

    Attributes:
        seconds: for each turn, of the fit and of the bare loop, on the clock and of the processor.
    """

    def __init__(self, bare: BareLoop, steps: int) -> None:
        self.bare, self.steps = bare, steps
        self.seconds: list[np.ndarray] = []
        self._since = now()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """The first turn begins."""
        self._since = now()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """A step is over, and perhaps the turn."""
        if trainer.global_step % self.steps:
            return
        middle = now()
        for _ in range(self.steps):
            self.bare.step()
        end = now()
        self.seconds.append(np.stack([middle - self._since, end - middle]))
        self._since = now()


def now() -> np.ndarray:
    """Seconds on the clock, and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def compare(config: TrainConfig, steps: int, folder: Path) -> None:
    """Run both loops in turns, and print how they did."""
    data = open_data(config, start_config(config).preprocess)
    data.train[0].cache(folder / CACHE)
    drawn = Stream(open_parts(config, data), config.seed)
    held = [drawn.draw(step, lambda _: 0.0) for step in range(HELD)]
    model = start_model(config, data.texts)
    turns = Turns(BareLoop(copy.deepcopy(model), held, config), steps)
    terms = ["-".join(edge) for edge in config.objective.edges()] + ["image", "text"]
    report = RunReport(
        folder, terms, [], steps=config.fit.steps, minutes=None, log_steps=config.fit.log_steps,
        console=Console(quiet=True),
    )  # fmt: skip
    trainer = lightning.Trainer(
        accelerator="cpu",
        precision=config.fit.precision,
        max_steps=config.fit.steps,
        callbacks=[turns, report, Keeper(folder, report)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = FitModule(model, config, HeldStream(held), [])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")  # its loader only counts
        trainer.fit(module, train_dataloaders=itertools.repeat(0))
    fit_s, bare_s = np.stack(turns.seconds[1:]).transpose(1, 0, 2)  # the first turn warms up
    count = steps * len(held[0])
    for name, seconds in (("fit", fit_s), ("bare loop", bare_s)):
        clock, processor = np.median(seconds, axis=0) / count
        print(f"  {name}: {1 / clock:.1f} places a second, {1e3 * processor:.1f} ms CPU a place")
    clock, processor = np.median(bare_s / fit_s, axis=0)
    print(f"  ratio: {clock:.1%} of the bare loop's throughput (target {TARGET:.0%}),")
    print(f"    {processor:.1%} by CPU time, median of {len(fit_s)} turns")


# ---- waiting for data ----------------------------------------------------------------------------


def waiting(config: TrainConfig, workers: int, folder: Path) -> float:
    """Share of the time, after the first step, in which a fit waits for its batches."""
    run = folder / f"workers-{workers}"
    run.mkdir()
    (run / CACHE).symlink_to(folder / CACHE)
    settings = config.fit.model_copy(update={"workers": workers})
    fit(config.model_copy(update={"fit": settings}), run)
    with (run / "metrics.csv").open(newline="") as file:
        return float(list(csv.DictReader(file))[-1]["waiting"])


if __name__ == "__main__":
    main()
