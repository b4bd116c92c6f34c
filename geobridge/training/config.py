"""A training run as data: one YAML file, what it extends, and what `--set` changes.

A file may name a preset or another file as `extends`, beside itself, whose values count where it
gives none: tables are merged, lists and words are replaced. All other paths are relative to the
folder in which the command runs, as they are on its command line.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from geobridge.errors import MissingExtraError, TrainingError
from geobridge.model.config import Settings, parse_settings, read_modality
from geobridge.model.objective import ObjectiveConfig
from geobridge.training.looks import (
    LOOKS_AT_GROUND,
    LOOKS_AT_MAPS,
    LOOKS_AT_VIEWS,
    LooksConfig,
)
from geobridge.training.negatives import NegativesConfig
from geobridge.training.parameters import ParametersConfig
from geobridge.views import Modality

try:
    import yaml

    from geobridge.model.yaml_files import read_yaml
except ImportError as error:  # pragma: no cover - exercised where the extra is absent
    raise MissingExtraError("Training", "pyyaml", "train") from error

PRESET_FOLDER = Path(__file__).parent / "presets"

Look = Literal["aligned", "ground"]
Kind = Literal["places", "table", "world", "maps"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a set of places may be."""

# What says nothing about places of a kind.
_IDLE: dict[Kind, tuple[str, ...]] = {
    "places": ("footprint_m",),
    "table": ("footprint_m",),
    "world": ("split", "look", "cache", "pixels", "footprint_m"),
    "maps": ("split", "modalities", "look", "cache"),
}
_BYTES_AND_MARKS = 259


class ModelSettings(Settings):
    """Which model is trained, and what it starts from; one of `preset` and `init`.

    Attributes:
        preset: a new model of this configuration (`mini`, `base`, `paper`).
        init: a trained model to go on from: a shipped name, a folder or a hub name.
        name: what people will call the result; the preset's or the model's own by default.
        settings: changes to the configuration, such as `{image: {pooling: spatial}}`. Weights of
            `init` are kept where they still fit; a last layer that takes more than before begins
            by ignoring what is new.
        vocabulary: tokens of the vocabulary that is learned from the training texts where the
            preset's text encoder comes without pretrained weights; at least the 256 bytes and
            three marks, and at most the encoder's own `vocab_size`.
    """

    preset: str | None = None
    init: str | None = None
    name: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    vocabulary: int = Field(default=4096, ge=_BYTES_AND_MARKS)

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.preset is None) == (self.init is None):
            raise ValueError("a run starts either from a `preset` or from `init`: name one")
        return self


class SourceSettings(Settings):
    """One set of places; exactly one of `places`, `table`, `world` and `maps`.

    Attributes:
        places: folder of a places data set (see `geobridge.places`).
        table: CSV with any of the columns drone, street, satellite (paths relative to it), text,
            and optionally lat, lon, split, text_group; rows with the same pictures are one place
            of several texts, and agree in all else.
        world: a simulated planet drawn while training; keyword arguments of `WorldDataset`.
        maps: georeferenced rasters; random footprints of them are the places.
        per_batch: places of this set in each batch of each process.
        split: only places of this split; all of them where it is left out, and then none may be
            of `test`. Of files alone, as `look` and `cache` are.
        modalities: only these, by name or letter (`[D, S, T]`); all by default. Nothing else is
            read, decoded or encoded, and places left without a picture are left out. Not of
            `maps`, which are seen as drone and as satellite.
        look: `aligned` pictures are views of their own, seen with slight changes; `ground`
            pictures are seen twice through random footprints, as a drone and as a satellite.
        pixels: side at which aerial pictures are held; the model's own size by default. Not of a
            `world`, which has a `size` of its own.
        footprint_m: side on the ground of a footprint, the reference look; of `maps` alone.
        cache: decode every picture once into a file of the run's folder; otherwise whenever it
            is drawn.
        looks: how far random looks differ.
    """

    places: Path | None = None
    table: Path | None = None
    world: dict[str, Any] | None = None
    maps: list[Path] | None = Field(default=None, min_length=1)
    per_batch: int = Field(default=64, ge=1)
    split: str | None = None
    modalities: list[Modality] | None = Field(default=None, min_length=1)
    look: Look = "aligned"
    pixels: int | None = Field(default=None, ge=8)
    footprint_m: float = Field(default=100.0, gt=0)
    cache: bool = True
    looks: LooksConfig = LooksConfig()

    @field_validator("modalities", mode="before")
    @classmethod
    def _read_modalities(cls, value: Any) -> Any:
        return [read_modality(word) for word in value] if isinstance(value, list) else value

    @property
    def kind(self) -> Kind:
        """Which of the four it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in KINDS) != 1:
            raise ValueError(f"a source names exactly one of {', '.join(KINDS)}")
        return self

    @model_validator(mode="after")
    def _nothing_idle(self) -> Self:
        """What would say nothing is refused, unless it says what it says by default."""
        for name in _IDLE[self.kind]:
            if self.differs(name):
                raise ValueError(f"{name!r} means nothing beside {self.kind!r}: leave it out")
        return self

    @model_validator(mode="after")
    def _looks_count(self) -> Self:
        of_ground = LOOKS_AT_GROUND if self.look == "ground" else LOOKS_AT_VIEWS
        count = LOOKS_AT_MAPS if self.kind == "maps" else of_ground
        beside = "'maps'" if self.kind == "maps" else f"look {self.look!r}"
        for name in LooksConfig.model_fields:
            if name not in count and self.looks.differs(name):
                raise ValueError(f"looks.{name} means nothing beside {beside}: leave it out")
        return self


class DataSettings(Settings):
    """Where places come from.

    Attributes:
        train: sets that are mixed into every batch.
        validation: sets that choose the best checkpoint; of other places than those that train.

    No set of either is of the split `test`.
    """

    train: list[SourceSettings] = Field(min_length=1)
    validation: list[SourceSettings] = Field(default_factory=list)

    @model_validator(mode="after")
    def _validation_ends(self) -> Self:
        if any(source.kind == "world" for source in self.validation):
            raise ValueError(
                "a planet that is drawn while training has no end and no validation: write places "
                "of it with `geobridge world build`, and name their folder"
            )
        return self

    @model_validator(mode="after")
    def _validation_is_plain(self) -> Self:
        """Validation sees all places of a set once and plainly; maps alone are looked at twice."""
        for source in self.validation:
            for name in ("per_batch", "looks")[: 1 if source.kind == "maps" else 2]:
                if source.differs(name):
                    which = source.places or source.table or "of maps"
                    raise ValueError(
                        f"{name} means nothing for the validation set {which}: leave it out"
                    )
        return self

    @model_validator(mode="after")
    def _roles_are_apart(self) -> Self:
        """Places have one role: they teach, or choose the best checkpoint, or are the test's."""
        if any(source.split == "test" for source in (*self.train, *self.validation)):
            raise ValueError(
                "the split 'test' is never trained on, nor does it choose the best checkpoint: "
                "name another split"
            )
        for held in self.validation:
            if any(_overlap(source, held) for source in self.train):
                raise ValueError(
                    f"{held.places or held.table} teaches and validates with the same places: give "
                    f"each role a split of its own, or validate on another set"
                )
        return self


def _overlap(first: SourceSettings, second: SourceSettings) -> bool:
    """Whether two sets may read the same places of the same folder or table."""
    apart = first.split and second.split and first.split != second.split
    return not apart and any(
        one is not None and other is not None and one.resolve() == other.resolve()
        for one, other in ((first.places, second.places), (first.table, second.table))
    )


_Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSettings(Settings):
    """AdamW with a linear warm-up and a cosine to zero.

    Attributes:
        learning_rate: the highest.
        weight_decay: of matrices; vectors have none.
        betas: of AdamW.
        warmup_steps: until the highest learning rate.
        clip_norm: largest norm of the whole gradient.
    """

    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[_Decay, _Decay] = (0.9, 0.98)
    warmup_steps: int = Field(default=50, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)


class FitSettings(Settings):
    """How long, how often, on what; one of `steps` and `minutes`.

    Attributes:
        steps: of the optimiser. A run of so many steps resumes exactly.
        minutes: of training; the schedule follows the clock, so a resumed run is not bit for bit
            the uninterrupted one.
        precision: in words of lightning; `bf16-mixed` encodes in bfloat16 and keeps weights,
            embeddings and the loss in float32.
        chunk: gradient caching: a batch is encoded in parts of so many pictures, and only one
            part is in memory at a time; the whole batch at once where it is left out.
        standardize: batch statistics before each last layer, folded into the weights when saved.
            Needed from drawn weights; of no use on trained ones.
        ema: decay of an average of the weights that is validated and saved instead of them; not
            together with `standardize`.
        accelerator: words of lightning: `auto`, `cpu`, `gpu`.
        devices: processes on each machine.
        nodes: machines.
        strategy: what several processes hold: all weights each (`ddp`, which `auto` chooses), or
            each a part of every block of the encoders (`fsdp`), for those too large for one.
        workers: processes that draw batches; 0 draws between the steps.
        save_minutes: how often the run's state is written.
        validate_steps: how often R@1 is measured on the validation sets, in steps.
        log_steps: how often the logs get a row; the first and the last step always do.
    """

    steps: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    chunk: int | None = Field(default=None, ge=1)
    standardize: bool = False
    ema: float | None = Field(default=None, gt=0, lt=1)
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    workers: int = Field(default=0, ge=0)
    save_minutes: float = Field(default=2.0, ge=0)
    validate_steps: int = Field(default=200, ge=1)
    log_steps: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("a fit lasts either `steps` or `minutes`: name one")
        return self

    @model_validator(mode="after")
    def _divides_between_processes(self) -> Self:
        if self.strategy == "fsdp" and self.devices * self.nodes == 1:
            raise ValueError(
                "fsdp divides the model between processes, and there is one: raise devices or "
                "nodes, or leave strategy out"
            )
        return self

    @model_validator(mode="after")
    def _average_is_whole(self) -> Self:
        if self.ema and self.strategy == "fsdp":
            raise ValueError("ema averages whole weights, and fsdp divides them: leave one out")
        return self

    @model_validator(mode="after")
    def _statistics_fit(self) -> Self:
        if self.ema and self.standardize:
            raise ValueError(
                "standardize folds statistics of the last weights, which do not fit the averaged "
                "ones of ema: leave one out"
            )
        return self


class TrainConfig(Settings):
    """A whole training run.

    Attributes:
        extends: of a file alone, see the module's description; None once it is resolved.
        seed: of everything that is drawn.
        model: what is trained.
        data: what it is trained and validated on.
        objective: what is minimised.
        negatives: which places meet in a batch.
        parameters: which weights change.
        optimizer: how they change.
        fit: how long, and on what machine.
    """

    extends: str | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)
    model: ModelSettings
    data: DataSettings
    objective: ObjectiveConfig = ObjectiveConfig()
    negatives: NegativesConfig = NegativesConfig()
    parameters: ParametersConfig = ParametersConfig()
    optimizer: OptimizerSettings = OptimizerSettings()
    fit: FitSettings

    @model_validator(mode="after")
    def _start_is_read(self) -> Self:
        """What describes drawn weights is refused beside trained ones."""
        if self.model.init and self.objective.differs("initial_temperature"):
            raise ValueError(
                "objective.initial_temperature is of drawn weights, and the model of model.init "
                "has its own: leave it out"
            )
        if self.model.init and self.fit.standardize:
            raise ValueError(
                "fit.standardize is for drawn weights, and would take the biases of the model of "
                "model.init away: set it to false"
            )
        return self

    @model_validator(mode="after")
    def _negatives_have_places(self) -> Self:
        drawn = all(source.kind == "world" for source in self.data.train)
        if drawn and self.negatives.kind != "random":
            raise ValueError(
                f"negatives.kind {self.negatives.kind!r} means nothing for a planet that is drawn "
                f"while training: its neighbours come with towns_per_batch, so set "
                f"negatives.kind=random"
            )
        return self

    @model_validator(mode="after")
    def _is_resolved(self) -> Self:
        if self.extends is not None:
            raise ValueError(
                f"`extends` is read in files alone: name {self.extends!r} itself, or write a file "
                f"that extends it"
            )
        return self


def preset_names() -> list[str]:
    """The training configurations that ship with the package."""
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.yaml"))


def read_train_config(name: str | Path, changes: Sequence[str] = ()) -> TrainConfig:
    """Read a configuration, what it extends, and changes to it.

    Args:
        name: a YAML file, or the name of a preset.
        changes: `key.of.value=value` each, the value in YAML; parts of lists by their index.

    Raises:
        TrainingError: a file is missing or no YAML, or a value does not fit; says which.
    """
    data = _resolved(_find(str(name), Path.cwd(), "the training configuration"), ())
    for change in changes:
        _set(data, change)
    return parse_train_config(data, str(name))


def parse_train_config(data: Any, where: str) -> TrainConfig:
    """Check settings; `where` names them in the error.

    Raises:
        TrainingError: the first thing that is wrong, and where.
    """
    return parse_settings(TrainConfig, data, TrainingError, f"{where} is no training configuration")


def merge_settings(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Values of `over` where it has them; tables are merged, lists and words replaced.

    A value of None is a value too: `{minutes: null, steps: 100}` takes minutes back.
    """
    out = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merge_settings(out[key], value) if both else value
    return out


def to_yaml(config: TrainConfig) -> str:
    """The resolved configuration, as a file that reproduces the run."""
    data = config.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _find(name: str, beside: Path, what: str) -> Path:
    path = beside / name
    if path.is_file():
        return path.resolve()
    if name in preset_names():
        return PRESET_FOLDER / f"{name}.yaml"
    raise TrainingError(
        f"{what} {name!r} is not there: name a YAML file, or one of {', '.join(preset_names())}."
    )


def _resolved(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    """What a file says, over what it extends."""
    if path in chain:
        names = " -> ".join(item.name for item in (*chain[chain.index(path) :], path))
        raise TrainingError(f"configurations extend each other in a circle ({names}): cut it.")
    data = read_yaml(path, "training configuration", TrainingError)
    parent = data.pop("extends", None)
    if parent is None:
        return data
    under = _find(str(parent), path.parent, f"the configuration that {path} extends,")
    return merge_settings(_resolved(under, (*chain, path)), data)


def _set(data: dict[str, Any], change: str) -> None:
    key, separator, value = change.partition("=")
    if not separator or not key:
        raise TrainingError(f"--set {change!r} is no change: write key=value, as in seed=1.")
    *path, last = key.strip().split(".")
    node: Any = data
    try:
        for part in path:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        node[int(last) if isinstance(node, list) else last] = yaml.safe_load(value)
    except (ValueError, IndexError, TypeError, AttributeError, yaml.YAMLError):
        raise TrainingError(
            f"--set {change!r} leads nowhere: give a key of the configuration (parts of lists by "
            f"their number, from 0) and a value in YAML."
        ) from None
