"""What a configuration asks for, opened: the model, the sets of places, the order of batches."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from geobridge.errors import TrainingError
from geobridge.imagery.preprocess import Preprocess
from geobridge.model.checkpoint import CONFIG, find_checkpoint
from geobridge.model.config import ModelConfig, parse_config, read_config, read_preset
from geobridge.model.geobridge import GeoBridge
from geobridge.model.tokens import train_tokenizer
from geobridge.training.config import SourceSettings, TrainConfig, merge_settings
from geobridge.training.maps import MapSource
from geobridge.training.negatives import BatchOrder
from geobridge.training.sources import FileSource, PictureSource, WorldSource, read_records
from geobridge.training.stream import OrderedPart, Part
from geobridge.views import Modality, View

Opened = FileSource | WorldSource
"""What a set of places is while it is trained on."""


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
    def texts(self) -> list[str]:
        """All sentences that training may read, from which a vocabulary is learned."""
        return [text for source in self.train for text in source.texts]


def start_config(config: TrainConfig) -> ModelConfig:
    """The configuration of the model that a run starts from, changed as it asks.

    Raises:
        ModelError: there is no such preset or checkpoint, or a changed setting does not fit.
    """
    start = config.model
    before = (
        read_config(find_checkpoint(start.init) / CONFIG)
        if start.init
        else read_preset(str(start.preset))
    )
    update = {"name": start.name or before.name, "calibration": None, "provenance": None}
    changed = merge_settings(before.model_dump(mode="json"), start.settings) | update
    return parse_config(changed, f"model.settings of {start.init or start.preset!r}")


def start_model(config: TrainConfig, texts: list[str]) -> GeoBridge:
    """The model that a run starts from, named as its result.

    Args:
        config: of the run.
        texts: of the training sets; a vocabulary is learned from them where the text encoder is
            drawn and not loaded.

    Raises:
        ModelError: the model cannot be had.
        TrainingError: a vocabulary is needed and there are no texts.
    """
    settings = start_config(config)
    if config.model.init:
        trained = GeoBridge.load(config.model.init)
        model = GeoBridge.from_config(settings, seed=config.seed, tokenizer=trained.tokenizer)
        _take_weights(model, trained)
        return model
    pretrained = settings.image.source is not None
    tokenizer = None
    if settings.text and not (pretrained and settings.text.source):
        if not texts:
            raise TrainingError(
                f"model {settings.name!r} reads sentences and none of the training sets has any: "
                f"add a set with texts, or set model.settings={{text: null}}."
            )
        tokenizer = train_tokenizer(texts, config.model.vocabulary)
    model = GeoBridge.from_config(
        settings, seed=config.seed, pretrained=pretrained, tokenizer=tokenizer
    )
    with torch.no_grad():
        model.logit_scale.fill_(config.objective.initial_logit_scale)
    return model


@torch.no_grad()
def _take_weights(model: GeoBridge, trained: GeoBridge) -> None:
    """Weights of a trained model, wherever the new one has a place for them."""
    old, new = trained.state_dict(), model.state_dict()
    for name in new:
        # The generalised mean is the first part of what spatial pooling gives.
        weight = old.get(name, old.get(name.replace(".pool.gem.", ".pool.")))
        if weight is None:
            continue
        if weight.shape == new[name].shape:
            new[name].copy_(weight)
        elif name.endswith(".projection.weight") and len(weight) == len(new[name]):
            width = min(weight.shape[1], new[name].shape[1])
            new[name].zero_()[:, :width] = weight[:, :width]


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
    validation = [
        _open_files(settings, preprocess, config.seed) for settings in config.data.validation
    ]
    return Data(train, validation)


def check_edges(config: TrainConfig, data: Data, modalities: tuple[Modality, ...]) -> list[str]:
    """Compare the edges of the objective with what the places have.

    Returns:
        The edges that no place can teach, such as `drone-street`.

    Raises:
        TrainingError: nothing can be learned, or an edge that the configuration names has no
            place in any set.
    """
    taught = {
        edge: any(_teaches(source, edge) for source in data.train) and set(edge) <= set(modalities)
        for edge in config.objective.edges()
    }
    idle = ["-".join(edge) for edge, has in taught.items() if not has]
    named = {"image_edges", "text_views"} & config.objective.model_fields_set
    missing = [
        "-".join(edge)
        for edge, has in taught.items()
        if not has and ("text_views" if "text" in edge else "image_edges") in named
    ]
    if missing or not any(taught.values()):
        sets = ", ".join(source.name for source in data.train)
        raise TrainingError(
            f"no place of {sets} has both modalities of {', '.join(missing or idle)}: add the "
            f"columns it needs, or leave the edge out of objective.image_edges, text_views or "
            f"anchors."
        )
    return idle


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
        )
        parts.append(OrderedPart(source, order))
    return parts


def _open_files(
    settings: SourceSettings, preprocess: Mapping[View, Preprocess], seed: int
) -> FileSource:
    if settings.maps is not None:
        return MapSource(settings, preprocess, seed)
    return PictureSource(settings, preprocess, read_records(settings))


def _teaches(source: Opened, edge: tuple[Modality, Modality]) -> bool:
    if isinstance(source, WorldSource):
        return True
    return bool((source.has(edge[0]) & source.has(edge[1])).any())
