"""What a configuration asks for, opened: the model, the sets of places, the order of batches."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn.modules.batchnorm import _BatchNorm

from geobridge.errors import TrainingError
from geobridge.imagery.preprocess import Preprocess
from geobridge.model.checkpoint import CONFIG, find_checkpoint
from geobridge.model.config import ModelConfig, parse_config, read_config, read_preset
from geobridge.model.geobridge import GeoBridge
from geobridge.model.objective import LEAST_PLACES, Edge
from geobridge.model.pretrained import resolve
from geobridge.model.tokens import train_tokenizer
from geobridge.training.config import SourceSettings, TrainConfig, merge_settings
from geobridge.training.maps import MapSource
from geobridge.training.negatives import BatchOrder
from geobridge.training.sources import (
    FileSource,
    PictureSource,
    WorldSource,
    read_records,
    share_text_keys,
)
from geobridge.training.stream import OrderedPart, Part
from geobridge.views import Modality, View

Opened = FileSource | WorldSource
"""What a set of places is while it is trained on."""

# Of the objective: which edges of images there are, and which with text.
_EDGE_KEYS = ("image_edges", "text_views")


@dataclass
class Data:
    """The sets of a run.

    Attributes:
        train: in the order of the configuration.
        validation: those that choose the best checkpoint.
    """

    train: list[Opened] = field(default_factory=list)
    validation: list[FileSource] = field(default_factory=list)

    @property
    def texts(self) -> Iterator[str]:
        """Sentences that training may read, found as they are asked for (a planet takes time)."""
        return (text for source in self.train for text in source.texts)


def start_config(config: TrainConfig) -> ModelConfig:
    """The configuration of the model that a run starts from, changed as it asks.

    Pictures are prepared as a pretrained tower was trained, whatever the preset says.

    Raises:
        ModelError: there is no such preset, checkpoint or pretrained tower, or a changed setting
            does not fit.
        TrainingError: pictures of a pretrained tower are to be prepared otherwise.
    """
    start = config.model
    before = (
        read_config(find_checkpoint(start.init) / CONFIG)
        if start.init
        else read_preset(str(start.preset))
    )
    changed = merge_settings(before.model_dump(mode="json"), start.settings)
    # What was found of the weights to start from is not true of the result.
    changed |= {"calibration": None, "provenance": None}
    if start.name:
        changed["name"] = start.name
    wanted = parse_config(changed, f"model.settings of {start.init or start.preset!r}")
    if start.init or not wanted.image.source:
        return wanted
    found, _ = resolve(wanted)
    if "preprocess" in start.settings and found.preprocess != wanted.preprocess:
        raise TrainingError(
            f"model.settings.preprocess does not fit the pretrained tower {wanted.image.source}, "
            f"whose pictures are prepared as it was trained: leave it out."
        )
    return found


def start_model(config: TrainConfig, texts: Iterable[str]) -> GeoBridge:
    """The model that a run starts from, named as its result.

    Its provenance holds the fingerprint of the trained model that it began with, if any.

    Args:
        config: of the run.
        texts: of the training sets; a vocabulary is learned from them where the text encoder is
            drawn and not loaded. Not read otherwise.

    Raises:
        ModelError: the model cannot be had.
        TrainingError: a vocabulary is needed and there are no texts; or views are to share what
            each of them has learned apart.
    """
    settings = start_config(config)
    if config.model.init:
        trained = GeoBridge.load(config.model.init)
        # Words that a text encoder was trained with cannot be learned again.
        words = trained.tokenizer if trained.text else _vocabulary(config, settings, texts)
        model = GeoBridge.from_config(
            settings, seed=config.seed, tokenizer=words if settings.text else None
        )
        _take_weights(model, trained)
        # A name such as `mini` means other weights in another release.
        origin = {"began_with": trained.fingerprint}
        model.config = model.config.model_copy(update={"provenance": origin})
        return model
    pretrained = settings.image.source is not None
    learns = settings.text is not None and not (pretrained and settings.text.source)
    model = GeoBridge.from_config(
        settings,
        seed=config.seed,
        pretrained=pretrained,
        tokenizer=_vocabulary(config, settings, texts) if learns else None,
    )
    with torch.no_grad():
        model.logit_scale.fill_(config.objective.initial_logit_scale)
    return model


def _vocabulary(
    config: TrainConfig, settings: ModelConfig, texts: Iterable[str]
) -> Tokenizer | None:
    """A tokenizer learned from the training texts; None where the model reads none."""
    if settings.text is None:
        return None
    told = list(texts)
    if not told:
        raise TrainingError(
            f"model {settings.name!r} reads sentences and none of the training sets has any: "
            f"add a set with texts, or set model.settings={{text: null}}."
        )
    return train_tokenizer(told, config.model.vocabulary)


@torch.no_grad()
def _take_weights(model: GeoBridge, trained: GeoBridge) -> None:
    """Weights of a trained model, wherever the new one has a place for them.

    Raises:
        TrainingError: views are to share a tower or head that each of them has learned apart.
    """
    _check_shared(model, trained)
    old, new = trained.state_dict(), model.state_dict()
    for name in new:
        weight = next((old[former] for former in _former_names(name) if former in old), None)
        if weight is None:
            continue
        if weight.shape == new[name].shape:
            new[name].copy_(weight)
        elif name.endswith(".projection.weight") and len(weight) == len(new[name]):
            width = min(weight.shape[1], new[name].shape[1])
            new[name].zero_()[:, :width] = weight[:, :width]
    for key in model.heads:
        maps = f"heads.{key}.pool.maps"
        if maps in old and maps in new and old[maps].shape != new[maps].shape:
            # Pictures of another size have other positions: their maps are new.
            weight = new[f"heads.{key}.projection.weight"]
            weight[:, weight.shape[1] // (1 + len(new[maps])) :] = 0


def _check_shared(model: GeoBridge, trained: GeoBridge) -> None:
    """Several weights cannot become one: what takes their place would be drawn."""
    for view in set(model.config.views) & set(trained.config.views):
        for what, wanted, held in (
            ("tower", f"trunks.{model.config.trunk_of(view)}", trained.trunks),
            ("head", f"heads.{model.config.head_of(view)}", trained.heads),
        ):
            if not any(former.split(".")[1] in held for former in _former_names(wanted)):
                raise TrainingError(
                    f"model {trained.name!r} has weights {trained.config.weights!r}, and under "
                    f"{model.config.weights!r} its {what}s of several views would become one: "
                    f"leave model.settings.weights out, or take 'separate'."
                )


def _former_names(name: str) -> Iterator[str]:
    """What a weight may have been called in the model that is gone on from."""
    yield from _poolings(name)
    room, key, *rest = name.split(".")
    if room in ("heads", "trunks") and key != "shared":
        # What was one for several views begins as the same for each of them.
        for wider in ("aerial", "shared"):
            yield from _poolings(".".join((room, wider, *rest)))


def _poolings(name: str) -> Iterator[str]:
    """The generalised mean is the first part of what spatial pooling gives."""
    yield name
    yield name.replace(".pool.gem.", ".pool.")
    yield name.replace(".pool.", ".pool.gem.")


def open_data(
    config: TrainConfig, preprocess: Mapping[View, Preprocess], rank: int = 0, world_size: int = 1
) -> Data:
    """Open the sets of a run; pictures are not yet decoded.

    Raises:
        TrainingError: a set is empty or breaks its format.
        PlacesError: a places data set breaks its format.
        RasterError: a map cannot be placed on the ground.
    """
    train: list[Opened] = []
    for settings in config.data.train:
        if settings.world is not None:
            train.append(WorldSource(settings, preprocess, rank, world_size))
        else:
            train.append(_open_files(settings, preprocess, config.seed))
    share_text_keys([source for source in train if isinstance(source, PictureSource)])
    validation = [
        # Other places of the same maps than training draws: no seed of a run is as large.
        _open_files(settings, preprocess, config.seed + 2**32)
        for settings in config.data.validation
    ]
    return Data(train, validation)


def check_edges(config: TrainConfig, data: Data, modalities: tuple[Modality, ...]) -> list[str]:
    """Compare the edges of the objective with what the places have.

    An edge compares places with each other: it needs two of them in a batch. That a batch can hold
    two is what is known at the start, not that each does.

    Args:
        config: of the run.
        data: its sets.
        modalities: what the model takes.

    Returns:
        The edges that no batch can teach, such as `drone-street`.

    Raises:
        TrainingError: nothing can be learned, or an edge that the configuration names cannot.
    """
    objective = config.objective
    taught = {
        edge: set(edge) <= set(modalities) and _most_in_a_batch(config, data, edge) >= LEAST_PLACES
        for edge in objective.edges()
    }
    idle = ["-".join(edge) for edge, has in taught.items() if not has]
    named = [name for name in _EDGE_KEYS if objective.differs(name)]
    missing = [
        "-".join(edge)
        for edge, has in taught.items()
        if not has and _EDGE_KEYS["text" in edge] in named
    ]
    if missing or not any(taught.values()):
        sets = ", ".join(source.name for source in data.train)
        raise TrainingError(
            f"no batch of {sets} can hold two places with both modalities of "
            f"{', '.join(missing or idle)}, or the model does not take them: add the columns it "
            f"needs, make the batch larger, or leave the edge out of objective.image_edges, "
            f"text_views or anchors."
        )
    return idle


def check_texts(model: GeoBridge, data: Data) -> None:
    """Make sure at the start that the model can read every sentence of files.

    Raises:
        TrainingError: sentences of a set have more tokens than the model takes; counts them and
            names the place of the first.
    """
    if model.tokenizer is None or model.config.text is None:
        return
    most = model.config.text.max_tokens
    for source in (*data.train, *data.validation):
        if not isinstance(source, PictureSource):
            continue
        told = [(record.name, text) for record in source.records for text in record.texts]
        found = model.tokenizer.encode_batch([text for _, text in told])
        long = [item for item, words in zip(told, found, strict=True) if len(words.ids) > most]
        if long:
            name, text = long[0]
            raise TrainingError(
                f"{len(long)} of {len(told)} texts of {source.name} have more than the {most} "
                f"tokens that model {model.name!r} takes, first that of {name} ({text[:60]!r}...): "
                f"shorten them, or raise model.settings.text.max_tokens where the model is new."
            )


def check_normalisation(config: TrainConfig, model: GeoBridge) -> None:
    """Refuse batch normalisation where the batch it sees is not the whole one.

    In parts, or in several processes, each part would be normalised by its own statistics, and
    the gradient would be that of no batch. What is frozen keeps the statistics it has.

    Args:
        config: of the run.
        model: as `select` left it.

    Raises:
        TrainingError: batch normalisation trains under `fit.chunk` or in several processes.
    """
    fit = config.fit
    several = fit.devices * fit.nodes > 1
    if fit.chunk is None and not several:
        return
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and any(p.requires_grad for p in module.parameters()):
            parts = "several processes" if several else f"parts of fit.chunk {fit.chunk}"
            raise TrainingError(
                f"{name} of model {model.name!r} normalises by the batch, and {parts} would each "
                f"be normalised by statistics of their own: set model.settings.image.norm to "
                f"layer where the model is new, else train it frozen, or in one process without "
                f"fit.chunk."
            )


def open_parts(config: TrainConfig, data: Data, rank: int = 0, world_size: int = 1) -> list[Part]:
    """The sets in the order in which training takes their places.

    Raises:
        TrainingError: a set has fewer places than one batch takes.
    """
    parts: list[Part] = []
    for number, (settings, source) in enumerate(zip(config.data.train, data.train, strict=True)):
        if isinstance(source, WorldSource):
            parts.append(source)
            continue
        order = BatchOrder(
            config.negatives,
            source,
            config.objective.edges(),
            settings.per_batch,
            config.seed * 1000 + number,
            config.objective.radius_m,
            rank,
            world_size,
            trained=config.model.init is not None,
        )
        parts.append(OrderedPart(source, order))
    return parts


def check_neighbours(config: TrainConfig, data: Data) -> list[str]:
    """Sets whose hard places cannot be their neighbours, because nobody says where they are.

    Returns:
        Their names; none unless `negatives.kind` is `neighbours`.

    Raises:
        TrainingError: none of the sets says where its places are.
    """
    if config.negatives.kind != "neighbours":
        return []
    files = [source for source in data.train if not isinstance(source, WorldSource)]
    nowhere = [source.name for source in files if np.isfinite(source.lat).sum() < 2]
    if len(nowhere) == len(files):
        raise TrainingError(
            f"no place of {', '.join(nowhere)} has a position, and negatives.kind 'neighbours' "
            f"asks for places near each other: add the columns lat and lon, or take 'mined'."
        )
    return nowhere


def _open_files(
    settings: SourceSettings, preprocess: Mapping[View, Preprocess], seed: int
) -> FileSource:
    if settings.maps is not None:
        return MapSource(settings, preprocess, seed)
    return PictureSource(settings, preprocess, read_records(settings))


def _most_in_a_batch(config: TrainConfig, data: Data, edge: Edge) -> int:
    """How many places with both modalities of an edge the joint batch can hold at most."""
    first, second = edge
    processes = config.fit.devices * config.fit.nodes
    most = 0
    for settings, source in zip(config.data.train, data.train, strict=True):
        drawn = settings.per_batch * processes
        if isinstance(source, WorldSource):
            most += drawn if source.shows(first) and source.shows(second) else 0
        else:
            most += min(drawn, int((source.has(first) & source.has(second)).sum()))
    return most
