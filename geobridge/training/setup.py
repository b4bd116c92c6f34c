"""What a configuration asks for, opened: the model, the sets of places, the order of batches."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer

from geobridge.errors import TrainingError
from geobridge.imagery.preprocess import Preprocess
from geobridge.model.checkpoint import CONFIG, find_checkpoint
from geobridge.model.config import ModelConfig, parse_config, read_config, read_preset
from geobridge.model.geobridge import GeoBridge
from geobridge.model.objective import ObjectiveConfig
from geobridge.model.tokens import train_tokenizer
from geobridge.training.config import SourceSettings, TrainConfig, merge_settings
from geobridge.training.maps import MapSource
from geobridge.training.negatives import BatchOrder
from geobridge.training.sources import FileSource, PictureSource, WorldSource, read_records
from geobridge.training.stream import OrderedPart, Part
from geobridge.views import VIEWS, Modality, View

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

    Raises:
        ModelError: there is no such preset or checkpoint, or a changed setting does not fit.
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
    return parse_config(changed, f"model.settings of {start.init or start.preset!r}")


def start_model(config: TrainConfig, texts: Iterable[str]) -> GeoBridge:
    """The model that a run starts from, named as its result.

    Args:
        config: of the run.
        texts: of the training sets; a vocabulary is learned from them where the text encoder is
            drawn and not loaded. Not read otherwise.

    Raises:
        ModelError: the model cannot be had.
        TrainingError: a vocabulary is needed and there are no texts.
    """
    settings = start_config(config)
    if config.model.init:
        trained = GeoBridge.load(config.model.init)
        words = trained.tokenizer or _vocabulary(config, settings, texts)
        model = GeoBridge.from_config(
            settings, seed=config.seed, tokenizer=words if settings.text else None
        )
        _take_weights(model, trained)
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
    """Weights of a trained model, wherever the new one has a place for them."""
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


def _former_names(name: str) -> Iterator[str]:
    """What a weight may have been called in the model that is gone on from."""
    for view in VIEWS:
        if name.startswith((f"heads.{view}.", f"trunks.{view}.")):
            yield from _poolings(name)
            # What was one for all views begins as the same for each of them.
            name = name.replace(f".{view}.", ".shared.", 1)
    yield from _poolings(name)


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
    objective, usual = config.objective, ObjectiveConfig()
    taught = {
        edge: set(edge) <= set(modalities) and any(_teaches(source, edge) for source in data.train)
        for edge in objective.edges()
    }
    idle = ["-".join(edge) for edge, has in taught.items() if not has]
    # Compared with the default, because a resolved configuration names everything.
    named = [name for name in _EDGE_KEYS if getattr(objective, name) != getattr(usual, name)]
    missing = [
        "-".join(edge)
        for edge, has in taught.items()
        if not has and _EDGE_KEYS["text" in edge] in named
    ]
    if missing or not any(taught.values()):
        sets = ", ".join(source.name for source in data.train)
        raise TrainingError(
            f"no place of {sets} has both modalities of {', '.join(missing or idle)}, or the "
            f"model does not take them: add the columns it needs, or leave the edge out of "
            f"objective.image_edges, text_views or anchors."
        )
    return idle


def check_texts(model: GeoBridge, data: Data) -> None:
    """Make sure at the start that the model can read every sentence of files.

    Raises:
        TrainingError: sentences have more tokens than the model takes; counts them by set.
    """
    if model.tokenizer is None or model.config.text is None:
        return
    most = model.config.text.max_tokens
    for source in (*data.train, *data.validation):
        texts = [] if isinstance(source, WorldSource) else source.texts
        lengths = [len(encoding.ids) for encoding in model.tokenizer.encode_batch(texts)]
        long = [text for text, length in zip(texts, lengths, strict=True) if length > most]
        if long:
            raise TrainingError(
                f"{len(long)} of {len(texts)} texts of {source.name} have more than the {most} "
                f"tokens that model {model.name!r} takes (as {long[0][:60]!r}... has): shorten "
                f"them, or raise model.settings.text.max_tokens where the model is new."
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
        return source.shows(edge[0]) and source.shows(edge[1])
    return bool((source.has(edge[0]) & source.has(edge[1])).any())
