"""The fit: one configuration in, a run's folder with a checkpoint out.

RUN/checkpoint/     the best model on the validation sets (the last one without any), usable
RUN/last/           the model after the last step that was validated
RUN/state.ckpt      everything a killed run needs to go on exactly where it was
RUN/config.yaml     the resolved configuration
RUN/metrics.csv, validation.csv, curves.png, tensorboard/
RUN/cache/          decoded pictures
"""

import hashlib
import itertools
import logging
import math
import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
from rich.console import Console
from torch import Tensor

from geobridge.errors import MissingExtraError, TrainingError
from geobridge.model.geobridge import GeoBridge
from geobridge.model.objective import anchor_objective, false_negatives, teaching_edges
from geobridge.progress import shown
from geobridge.training.batch import Batch
from geobridge.training.caching import cached_step
from geobridge.training.card import CardFacts, SetFacts, describe_hardware, write_model_card
from geobridge.training.checkpoints import AtomicCheckpointIO, load_state
from geobridge.training.config import SourceSettings, TrainConfig, to_yaml
from geobridge.training.curves import draw_curves
from geobridge.training.ema import WeightAverage
from geobridge.training.gather import (
    average_gradients,
    gather_features,
    gather_places,
    of_first,
)
from geobridge.training.parameters import merged, parameter_groups, select, train_mode
from geobridge.training.processes import (
    Shards,
    by_layout,
    check_devices,
    choose_strategy,
    clip_gradients,
    lost_another,
    process_place,
)
from geobridge.training.report import RunReport
from geobridge.training.setup import (
    Opened,
    check_edges,
    check_neighbours,
    check_normalisation,
    check_texts,
    open_data,
    open_parts,
    start_config,
    start_model,
)
from geobridge.training.sources import FileSource, WorldSource
from geobridge.training.standardize import Standardizer
from geobridge.training.stream import OrderedPart, Stream
from geobridge.training.validation import Validation, embed_source, validate
from geobridge.views import MODALITIES, NINE_DIRECTIONS, Modality

try:
    import lightning
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
except ImportError as error:  # pragma: no cover - exercised where the extra is absent
    raise MissingExtraError("Training", "lightning", "train") from error

STATE, CONFIG, CHECKPOINT, LAST, CACHE = "state.ckpt", "config.yaml", "checkpoint", "last", "cache"
RESOLVED = "# The resolved configuration of the run in this folder.\n"

MAY_CHANGE = (
    "fit.steps",
    "fit.minutes",
    "fit.workers",
    "fit.save_minutes",
    "fit.validate_steps",
    "fit.log_steps",
    "fit.chunk",
)
"""What a resumed run may be told anew: how long, how often, on how many workers."""


class Step(NamedTuple):
    """What came of one step.

    Attributes:
        number: 0-based.
        loss: of the joint batch; None where it held no edge and taught nothing.
        terms: the loss of each edge, and the means of image and text edges.
        scale: inverse temperature.
        learning_rate: of the heads.
        waited_s: for the batch.
        mined_s: looking for hard places.
        took_s: altogether.
    """

    number: int
    loss: float | None
    terms: dict[str, float]
    scale: float
    learning_rate: float
    waited_s: float
    mined_s: float
    took_s: float


class FitModule(lightning.LightningModule):
    """One training step, for lightning; optimisation is by hand because of gradient caching.

    Args:
        model: what is trained, as `select` left it.
        config: of the run.
        stream: draws the batches; lightning itself only counts the steps.
        validation: sets for R@1.

    Attributes:
        settings: stands for all that fits the weights to pictures and words.
        report: told of minings; silent where None.
        idle: steps so far whose batch held no edge and taught nothing.
    """

    def __init__(
        self,
        model: GeoBridge,
        config: TrainConfig,
        stream: Stream,
        validation: list[FileSource],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.config = config
        self.stream = stream
        self.validation = validation
        self.standardizer = Standardizer(model) if config.fit.standardize else None
        self.bias = torch.nn.Parameter(torch.tensor(config.objective.initial_bias))
        self.bias.requires_grad_(config.objective.loss == "sigmoid")
        self.average = WeightAverage(model, config.fit.ema) if config.fit.ema else None
        self.shards: Shards | None = None
        self.report: RunReport | None = None
        self.idle = 0
        self.used_s = self._mined_s = 0.0
        self.last: Step | None = None
        self.settings = _settings_of(model)
        self._progress_at: dict[int, float] = {}
        self._batches: Iterator[Batch] | None = None

    # ---- what lightning asks for --------------------------------------------------------------

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW over what trains."""
        settings = self.config.optimizer
        groups = parameter_groups(
            self.model, self.config.parameters, settings.learning_rate, settings.weight_decay
        )
        if self.bias.requires_grad:
            groups.append(
                {
                    "name": "bias",
                    "params": [self.bias],
                    "lr": settings.learning_rate,
                    "lr_scale": 1.0,
                    "weight_decay": 0.0,
                }
            )
        # One group for tensors of one kind, which an optimizer computes together.
        groups = [
            {**group, "params": params}
            for group in groups
            for params in by_layout(group["params"])
            if params
        ]
        return torch.optim.AdamW(groups, betas=settings.betas)

    def train(self, mode: bool = True) -> "FitModule":
        """Frozen towers stay in evaluation."""
        super().train(mode)
        if mode:
            train_mode(self.model)
        return self

    def shard(self) -> None:
        """Divide the blocks between the processes; the strategy calls it before the optimizer."""
        self.shards = Shards(self.model)

    def on_train_start(self) -> None:
        """All processes begin with the same step."""
        step = self.trainer.global_step
        first = int(of_first(step, self.device))
        if step != first:
            raise TrainingError(
                f"process {self.global_rank} goes on after step {step} and the first one after "
                f"step {first}: put the run's folder on a disk that all machines see."
            )

    def training_step(self, count: int) -> None:  # noqa: ARG002 - lightning's signature
        """Draw, encode, compare, go back, step."""
        begin = time.monotonic()
        self._mined_s = 0.0
        step = self.trainer.global_step
        # Pictures are drawn, and mined, in full precision.
        with torch.autocast("cpu", enabled=False), torch.autocast(self.device.type, enabled=False):
            batch = self._next(step)
        waited_s = time.monotonic() - begin - self._mined_s
        rate = self._set_learning_rate(step)
        # Whatever draws from the global generator (dropout) depends on step and process alone.
        torch.manual_seed(self.config.seed * 1_000_003 + step + (self.global_rank << 40))
        terms: dict[str, Tensor] = {}
        loss = self._gradients(batch, terms)
        optimizer = cast(Any, self.optimizers())
        if loss is None:
            self.idle += 1
        else:
            self._check(loss, step, batch)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            norm = clip_gradients(parameters, self.config.optimizer.clip_norm)
            self._check(norm, step, batch)
        # A step that teaches nothing counts as well (nothing has a gradient, so nothing changes):
        # the batches of all others stay what they are.
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if self.average and loss is not None:
            self.average.update(self.model)
        # Schedules follow one clock: the first process's.
        took_s = of_first(time.monotonic() - begin, self.device)
        self.used_s += took_s
        self.last = Step(
            step,
            None if loss is None else float(loss),
            {name: float(value) for name, value in terms.items()},
            float(self.model.logit_scale.detach().exp()),
            rate,
            waited_s,
            self._mined_s,
            took_s,
        )
        if self.config.fit.minutes and self.progress(step + 1) >= 1:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What lightning does not know of."""
        checkpoint["fit"] = {
            "used_s": self.used_s,
            "idle": self.idle,
            "orders": [order.state_dict() for order in self.stream.orders],
            "average": self.average.state_dict() if self.average else None,
            "progress_at": dict(self._progress_at),
            "provenance": self.model.config.provenance,
            "settings": self.settings,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The counterpart of `on_save_checkpoint`."""
        state = checkpoint["fit"]
        self.used_s, self.idle = state["used_s"], state["idle"]
        for order, saved in zip(self.stream.orders, state["orders"], strict=True):
            order.load_state_dict(saved)
        if self.average:
            self.average.load_state_dict(state["average"])
        self._progress_at = dict(state["progress_at"])
        provenance = state.get("provenance")
        self.model.config = self.model.config.model_copy(update={"provenance": provenance})

    # ---- the step -----------------------------------------------------------------------------

    def progress(self, step: int) -> float:
        """Share of the run, 0..1, that is done before a step; by the clock where that decides."""
        fit = self.config.fit
        if fit.steps:
            return min(1.0, step / fit.steps)
        return min(1.0, self.used_s / (60 * cast(float, fit.minutes)))

    def finished(self) -> GeoBridge | None:
        """A plain model with the weights of now (averaged ones, if so configured).

        All processes call it together; only the first gets the model, the others None.
        """
        whole = self.shards.whole() if self.shards else self.model
        if whole is None or self.global_rank:
            return None
        model = merged(self.average.model if self.average else whole).to(self.device)
        if self.standardizer:
            model = self.standardizer.folded(model)
        return model.float().eval()

    def mine(self, step: int) -> None:
        """Refresh what the orders know of similar places, where it is time."""
        begin = time.monotonic()
        for part in self.stream.parts:
            if not isinstance(part, OrderedPart):
                continue
            epoch = step // part.order.batches_per_epoch
            if part.order.needs_mining(epoch, self._recorded_progress):
                with self._told_mining(step, part.source.name):
                    model = self.finished()
                    if model is not None:
                        part.order.mine(*embed_source(model, part.source), epoch)
                    state = self.trainer.strategy.broadcast(part.order.state_dict())
                    part.order.load_state_dict(state)
        self._mined_s = time.monotonic() - begin

    def _told_mining(self, step: int, name: str) -> AbstractContextManager[None]:
        return self.report.mining(step, name) if self.report else nullcontext()

    def _recorded_progress(self, step: int) -> float:
        """`progress`, but the same for ever once asked: orders of places hang on it."""
        if self.config.fit.steps:
            return self.progress(step)
        return self._progress_at.setdefault(step, self.progress(step))

    def _next(self, step: int) -> Batch:
        """The batch of a step; between epochs hard places are mined anew."""
        batch = None if self._batches is None else next(self._batches, None)
        if batch is None:
            self.mine(step)
            self._batches = self.stream.batches(
                step, self._mining_step(step), self._recorded_progress
            )
            batch = next(self._batches)
        return batch

    def _mining_step(self, step: int) -> int | None:
        """The next step before which something may be mined."""
        if self.config.negatives.kind != "mined":
            return None
        every = [order.batches_per_epoch for order in self.stream.orders]
        return min(((step // each + 1) * each for each in every), default=None)

    def _gradients(self, batch: Batch, terms: dict[str, Tensor]) -> Tensor | None:
        """The loss of the joint batch; gradients are left in the parameters.

        None, and no gradients, where no edge has two of its places.
        """
        places = gather_places(batch, self.device)
        taken = {name: has for name, has in places.present.items() if name in self.model.modalities}
        if not teaching_edges(taken, self.config.objective):
            return None
        taught = {name for edge in self.config.objective.edges() for name in edge}
        taught &= set(self.model.modalities)
        modalities = [name for name in batch.modalities if name in taught]
        own = sizes = {name: len(batch.rows[name]) for name in modalities}
        if self.shards:
            batch, sizes = self.shards.filled(batch, taught)

        def encode(modality: Modality, first: int, last: int) -> Tensor:
            if modality == "text":
                return self.model.text_features(batch.texts[first:last])
            return self.model.image_features(modality, batch.pictures[modality][first:last])

        masks = false_negatives(places.lat, places.lon, places.text_key, self.config.objective)

        def loss_of(features: dict[Modality, Tensor]) -> Tensor:
            held = {name: rows[: own.get(name, 0)] for name, rows in features.items()}
            joint = gather_features(held, self.device)
            with torch.autocast(self.device.type, enabled=False):
                rows = {name: self._embed(name, joint[name]) for name in joint}
                full = {
                    name: row.new_zeros(len(places), row.shape[1]).index_copy(
                        0, places.rows[name], row
                    )
                    for name, row in rows.items()
                }
                loss, found = anchor_objective(
                    full, places.present, self._scale(), self.config.objective, masks, self.bias
                )
            terms.update(found)
            if self.shards:  # a block must go back in every process, with nothing if need be
                loss = loss + 0 * sum(rows.float().sum() for rows in features.values())
            return loss

        chunk = self.config.fit.chunk or max(sizes.values(), default=1)
        loss = cached_step(encode, sizes, chunk, loss_of, Tensor.backward)
        average_gradients(self.parameters())
        return loss

    def _embed(self, modality: Modality, features: Tensor) -> Tensor:
        rows = self.standardizer(modality, features) if self.standardizer else features.float()
        return self.model.project(modality, rows)

    def _scale(self) -> Tensor:
        return self.config.objective.clamped_scale(self.model.logit_scale)

    def _set_learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to zero."""
        settings = self.config.optimizer
        warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
        factor = warm * 0.5 * (1 + math.cos(math.pi * self.progress(step)))
        for group in cast(Any, self.optimizers()).param_groups:
            group["lr"] = settings.learning_rate * group["lr_scale"] * factor
        return settings.learning_rate * factor

    def _check(self, value: Tensor, step: int, batch: Batch) -> None:
        if torch.isfinite(value):
            return
        names = ", ".join(batch.names[:3])
        raise TrainingError(
            f"the loss or its gradient is {float(value)} at step {step} (batch of {len(batch)} "
            f"places: {names}, ...): the last good state is kept in the run's folder, so lower "
            f"optimizer.learning_rate, or fit.precision=32-true, or look at these pictures."
        )


class Keeper(Callback):
    """Validates and saves; everything a run leaves on the disk but its logs passes here.

    Args:
        folder: of the run.
        report: told of every step and every validation; None where only a state is read.
    """

    def __init__(self, folder: Path, report: RunReport | None) -> None:
        self.folder = folder
        self.report = report
        self.best = -1.0
        self.best_step = 0
        self.results: Validation | None = None
        self.hardware = ""
        self._saved_at = time.monotonic()

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Note on what is trained: in the end lightning brings the module to the CPU."""
        self.hardware = describe_hardware(pl_module.device, trainer.world_size)

    def state_dict(self) -> dict[str, Any]:
        """What the best was, for resuming."""
        found = self.results
        return {
            "best": self.best,
            "best_step": self.best_step,
            "hardware": self.hardware,
            "results": None if found is None else [found.recall, found.gallery],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The counterpart of `state_dict`."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.hardware = state_dict["hardware"]
        found = state_dict["results"]
        self.results = None if found is None else Validation(*found)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,  # noqa: ARG002 - lightning's signature
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """After each step: say it, and now and then validate and save."""
        module = cast(FitModule, pl_module)
        fit = module.config.fit
        done = trainer.global_step
        is_last = trainer.should_stop or done == fit.steps
        if self.report:
            self._say(self.report, module, cast(Step, module.last), done, is_last)
        validates = is_last or done % fit.validate_steps == 0
        if validates:
            self._validate(trainer, module, done)
        late = time.monotonic() - self._saved_at > 60 * fit.save_minutes
        # With each validation, so that the state knows which checkpoint is the best.
        if of_first(validates or late, module.device):
            # The report's part of the state counts the steps that it was told of.
            trainer.save_checkpoint(self.folder / STATE)
            self._saved_at = time.monotonic()

    def _say(
        self, report: RunReport, module: FitModule, step: Step, done: int, is_last: bool
    ) -> None:
        report.step(
            done,
            minutes=module.used_s / 60,
            loss=step.loss,
            terms=step.terms,
            scale=step.scale,
            learning_rate=step.learning_rate,
            waited_s=step.waited_s,
            took_s=step.took_s,
            mined_s=step.mined_s,
            idle=module.idle,
            last=is_last,
        )

    def _validate(self, trainer: lightning.Trainer, module: FitModule, done: int) -> None:
        finished = module.finished()
        if finished is not None:
            model = _with_origin(finished, module, done)
            results = validate(model, module.validation) if module.validation else None
            if results and self.report:
                self.report.validation(done, results.recall)
            if results is None or results.score >= self.best:
                self.best = results.score if results else 0.0
                self.best_step, self.results = done, results
                model.save(self.folder / CHECKPOINT)
            model.save(self.folder / LAST)
        trainer.strategy.barrier()
        module.train()


def _with_origin(model: GeoBridge, module: FitModule, steps: int) -> GeoBridge:
    """The model, with a record of the run it comes from."""
    settings = module.config.model_dump(mode="json", exclude_none=True)
    began = module.model.config.provenance or {}
    origin = {"training": settings, "steps": steps} | began
    model.config = model.config.model_copy(update={"provenance": origin})
    return model


class _Counter:
    """What lightning iterates over: the module draws its batches itself, by the step's number."""

    def __iter__(self) -> Iterator[int]:
        return itertools.count()


def fit(config: TrainConfig, out: str | Path, console: Console | None = None) -> GeoBridge:
    """Train; run again with the same configuration and folder, it goes on where it was.

    Args:
        config: of the run.
        out: the run's folder; see the module's description.
        console: shows progress and results of validation; silent by default.

    Returns:
        The model in RUN/checkpoint.

    Raises:
        TrainingError: the configuration does not fit its data or the run that is there, the loss
            is not finite, or the disk is full; the last good state is kept.
        ModelError: the model to start from cannot be had.
        ImageError: a picture cannot be decoded, or has vanished.
    """
    folder = Path(out)
    rank, world_size = process_place(config.fit)
    if console is None or rank:  # one process speaks for all
        console = Console(quiet=True)
    check_devices(config.fit)
    states = AtomicCheckpointIO(config.model_dump(mode="json"), MAY_CHANGE)
    state = states.read(folder / STATE) if (folder / STATE).exists() else None
    module = _build(config, folder, console, rank, world_size)
    if state is None and _wants_standardizing(config, module):
        console.print(
            "the weights are drawn, and such towers give all pictures nearly the same features: "
            "fit.standardize=true lets the loss leave chance sooner"
        )
    fit_settings = config.fit
    report = RunReport(
        folder,
        ["-".join(edge) for edge in config.objective.edges()] + ["image", "text"],
        [way.short for way in NINE_DIRECTIONS],
        steps=fit_settings.steps,
        minutes=fit_settings.minutes,
        log_steps=fit_settings.log_steps,
        console=console,
    )
    if state is not None:
        _tell_other_start(config, module, state, console)
    if state is not None and _is_finished(config, state):
        console.print(f"the run in {folder} is finished: raise fit.steps or fit.minutes to go on")
    else:
        if state is not None:
            console.print(f"going on with the run in {folder}")
        state = None
        _train(module, Keeper(folder, report), report, states, folder)
    if rank == 0:
        _conclude(config, module, folder, state or load_state(folder / STATE), console)
    return GeoBridge.load(folder / CHECKPOINT)


def _build(
    config: TrainConfig, folder: Path, console: Console, rank: int, world_size: int
) -> FitModule:
    preprocess = start_config(config).preprocess
    data = open_data(config, preprocess, rank, world_size)
    model = start_model(config, data.texts)
    idle = check_edges(config, data, model.modalities)
    if idle:
        console.print(f"no place of the training sets teaches {', '.join(idle)}")
    nowhere = check_neighbours(config, data)
    if nowhere:
        console.print(
            f"hard places of {', '.join(nowhere)} are drawn at random: no place has a position"
        )
    check_texts(model, data)
    if rank == 0:
        _prepare_folder(config, folder)
    with shown(console) as step:
        for source in (*data.train, *data.validation):
            if not isinstance(source, WorldSource):
                source.cache(folder / CACHE, step(f"decoding {source.name}"))
    select(model, config.parameters, config.seed)
    check_normalisation(config, model)
    parts = open_parts(config, data, rank, world_size)
    stream = Stream(parts, config.seed, rank, config.fit.workers)
    return FitModule(model, config, stream, data.validation)


def _prepare_folder(config: TrainConfig, folder: Path) -> None:
    """Make the folder of a run, unless it is of something else."""
    if not (folder / STATE).exists() and _holds_other_things(folder):
        raise TrainingError(
            f"{folder} holds files that are no run's: name a new or an empty folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(RESOLVED + to_yaml(config), encoding="utf-8")
    except OSError as error:
        raise TrainingError(
            f"the run's folder {folder} cannot be written ({error.strerror}): choose another."
        ) from None


def _holds_other_things(folder: Path) -> bool:
    """Whether a folder without a state holds what no run has written."""
    if not folder.is_dir():
        return False
    written = folder / CONFIG
    if written.exists() and not written.read_text(encoding="utf-8").startswith(RESOLVED):
        return True
    return not written.exists() and any(path.name != CACHE for path in folder.iterdir())


def _wants_standardizing(config: TrainConfig, module: FitModule) -> bool:
    """Whether a run begins from drawn weights without the help that these need and may have."""
    found = module.model.config
    drawn = config.model.init is None and found.image.source is None
    return drawn and found.weights != "shared" and not (config.fit.standardize or config.fit.ema)


def _tell_other_start(
    config: TrainConfig, module: FitModule, state: Mapping[str, Any], console: Console
) -> None:
    """Say where the model that a run began with has other weights by now.

    Raises:
        TrainingError: it takes other pictures or words, or is built otherwise.
    """
    start = config.model.init or config.model.preset
    origin = state["fit"].get("provenance") or {}
    before = origin.get("began_with")
    was = f"{start} {before}" if before else f"{start}"
    now = (module.model.config.provenance or {}).get("began_with")
    if state["fit"].get("settings", module.settings) != module.settings:
        raise TrainingError(
            f"this run began with {was}, whose settings or vocabulary are others by now and do not "
            f"fit what was trained: bring the former ones back, or begin anew in another folder."
        )
    if before != now and before and now:
        console.print(
            f"this run began with {was}, and {start} is {now} now: name another folder to begin "
            f"with that"
        )


def _settings_of(model: GeoBridge) -> str:
    words = model.tokenizer.to_str() if model.tokenizer else ""
    return hashlib.sha256(model.config.digest() + words.encode()).hexdigest()


def _is_finished(config: TrainConfig, state: Mapping[str, Any]) -> bool:
    """Whether the run of a state has made all its steps, or used all its minutes."""
    if config.fit.steps:
        return int(state["global_step"]) >= config.fit.steps
    return float(state["fit"]["used_s"]) >= 60 * cast(float, config.fit.minutes)


def _train(
    module: FitModule,
    keeper: Keeper,
    report: RunReport,
    states: AtomicCheckpointIO,
    folder: Path,
) -> None:
    settings = module.config.fit
    module.report = report
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = lightning.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=choose_strategy(settings),
        precision=cast(Any, settings.precision),
        max_steps=settings.steps or -1,
        callbacks=[report, keeper],
        plugins=[states],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    state = folder / STATE
    resume = str(state) if state.exists() else None
    with _quiet_lightning():
        try:
            trainer.fit(module, train_dataloaders=_Counter(), ckpt_path=resume, weights_only=True)
        except SystemExit:
            # lightning ends the interpreter on Ctrl-C and leaves the signal ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                "the memory of the GPU is full: set fit.chunk (a batch is encoded in parts), "
                "parameters.gradient_checkpointing=true, or a smaller per_batch; the last good "
                "state is kept."
            ) from error
        except RuntimeError as error:
            if not lost_another(error):
                raise
            raise TrainingError(
                "another process of this run has ended, and this one cannot go on alone: see what "
                "the other one says, then resume from the last good state."
            ) from error


def _conclude(
    config: TrainConfig,
    module: FitModule,
    folder: Path,
    state: Mapping[str, Any],
    console: Console,
) -> None:
    """Curves and the checkpoint's card, from the state that the run has saved."""
    _tell_idle(state["fit"]["idle"], state["global_step"], console)
    keeper = Keeper(folder, None)
    keeper.load_state_dict(state["callbacks"][keeper.state_key])
    draw_curves(folder)
    found = keeper.results
    write_model_card(
        folder / CHECKPOINT,
        CardFacts(
            start=_start_of(config, state),
            parameters=sum(parameter.numel() for parameter in module.model.parameters()),
            sets=_set_facts(config, module),
            configuration=to_yaml(config),
            hardware=keeper.hardware,
            minutes=state["fit"]["used_s"] / 60,
            steps=state["global_step"],
            best_step=keeper.best_step if found else None,
            recall=found.recall if found else {},
            gallery=found.gallery if found else {},
        ),
    )


def _start_of(config: TrainConfig, state: Mapping[str, Any]) -> str:
    if config.model.preset:
        return f"preset {config.model.preset}"
    began = (state["fit"].get("provenance") or {}).get("began_with")
    return f"trained model {config.model.init}" + (f" ({began})" if began else "")


def _tell_idle(idle: int, steps: int, console: Console) -> None:
    """Say how many batches taught nothing; where all did, nothing was trained."""
    if idle == steps:
        raise TrainingError(
            f"no edge had two places in any of the {steps} batches, so that nothing was learned: "
            f"make per_batch larger, or add places that have the modalities of an edge."
        )
    if idle:
        console.print(
            f"{idle} of {steps} steps taught nothing, because no edge had two places in their "
            f"batch: a larger per_batch leaves fewer of them"
        )


def _set_facts(config: TrainConfig, module: FitModule) -> list[SetFacts]:
    facts = []
    parts = zip(config.data.train, module.stream.parts, strict=True)
    for settings, part in parts:
        source = part.source if isinstance(part, OrderedPart) else part
        facts.append(_facts_of(settings, source, "training"))
    for settings, held in zip(config.data.validation, module.validation, strict=True):
        facts.append(_facts_of(settings, held, "validation"))
    return facts


def _facts_of(
    settings: SourceSettings, source: Opened, role: Literal["training", "validation"]
) -> SetFacts:
    note = f"split {settings.split}" if settings.split else ""
    if isinstance(source, WorldSource):
        shown = [modality for modality in MODALITIES if source.shows(modality)]
        return SetFacts(source.name, role, None, shown, note)
    held = [modality for modality in MODALITIES if source.has(modality).any()]
    return SetFacts(source.name, role, len(source), held, note)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep back advice that does not hold here: the loader of lightning only counts."""
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        # A tower's tokens are not changed in place.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
        yield
