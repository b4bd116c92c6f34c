"""The README of a checkpoint: what it is, what made it, and what is known of how good it is."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from geobridge.errors import TrainingError
from geobridge.model.checkpoint import CONFIG, TOKENIZER, WEIGHTS
from geobridge.model.config import ModelConfig, read_config
from geobridge.views import Direction

CARD = "README.md"


@dataclass(frozen=True)
class SetFacts:
    """A set of places, for the card.

    Attributes:
        name: of the set.
        role: what it was for; `held out` was never read.
        places: how many, None where they are drawn without end.
        modalities: that its places have.
        note: split, source or licence, in words; may be empty.
    """

    name: str
    role: Literal["training", "validation", "held out"]
    places: int | None
    modalities: Sequence[str]
    note: str = ""


@dataclass(frozen=True)
class CardFacts:
    """What a card says beside what the checkpoint itself holds.

    Attributes:
        start: what training began from, such as `preset mini, drawn weights`.
        parameters: how many numbers were learned or loaded.
        sets: places that were read, and those that were held out.
        configuration: the resolved configuration as YAML.
        hardware: see `describe_hardware`.
        minutes: of training.
        steps: of training.
        best_step: after which the weights are of; None where nothing was validated.
        recall: R@1 (0 to 1) of each direction (`D2S`) on the validation sets after that step.
        gallery: how many references each query of a direction was compared with.
        limits: one sentence each.
        licence: of the weights; None where whoever trained them has not said.
    """

    start: str
    parameters: int
    sets: Sequence[SetFacts]
    configuration: str
    hardware: str
    minutes: float
    steps: int
    best_step: int | None
    recall: Mapping[str, float]
    gallery: Mapping[str, float]
    limits: Sequence[str] = ()
    licence: str | None = None


def write_model_card(folder: Path, facts: CardFacts) -> Path:
    """Write README.md into a checkpoint's folder; one that is there is replaced.

    Name, size, modalities and picture sizes are read from the checkpoint.

    Returns:
        The card's path.

    Raises:
        ModelError: the folder holds no checkpoint.
        TrainingError: the card cannot be written.
    """
    config = read_config(folder / CONFIG)
    parts = (
        f"# {config.name}\n",
        _what(folder, config, facts),
        _data(facts.sets),
        _training(facts),
        _results(facts),
        _limits(config, facts),
        _loading(folder, config),
        _licence(facts.licence),
    )
    path = folder / CARD
    try:
        path.write_text("\n".join(parts), encoding="utf-8")
    except OSError as error:
        raise TrainingError(
            f"the model card {path} cannot be written ({error.strerror or error}): free space or "
            f"make the folder writable, and run again."
        ) from error
    return path


def describe_hardware(device: torch.device, processes: int) -> str:
    """In words: on how many of what a run trains, such as `2 processes on NVIDIA A10`."""
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        where = f"{threads} CPU thread{'s'[: threads > 1]} ({platform.machine()})"
    share = f"{processes} processes, each " if processes > 1 else ""
    return f"{share}on {where}, torch {torch.__version__}"


def _what(folder: Path, config: ModelConfig, facts: CardFacts) -> str:
    files = (folder / name for name in (CONFIG, WEIGHTS, TOKENIZER))
    megabytes = sum(file.stat().st_size for file in files if file.exists()) / 1e6
    inputs: list[tuple[str, str]] = [
        (view, f"{shape.width} x {shape.height} pixels")
        for view, shape in config.preprocess.items()
    ]
    if config.text:
        inputs.append(("text", f"up to {config.text.max_tokens} tokens"))
    return (
        f"A GeoBridge model: it embeds {_listed(config.modalities)} into one space of "
        f"{config.dim} dimensions, in which what shows the same place lies close.\n\n"
        f"- size: {megabytes:.1f} MB, weights in {config.stored_dtype}\n"
        f"- parameters: {facts.parameters:,}\n"
        f"- towers: {config.image.kind} for pictures"
        f"{f', {config.text.kind} for text' if config.text else ''}\n"
        f"- started from: {facts.start}\n\n"
        f"{_table(('modality', 'input'), inputs)}"
    )


def _data(sets: Sequence[SetFacts]) -> str:
    rows = [
        (
            facts.name,
            facts.role,
            "drawn without end" if facts.places is None else f"{facts.places:,}",
            ", ".join(facts.modalities),
            facts.note,
        )
        for facts in sets
    ]
    held_out = any(facts.role == "held out" for facts in sets)
    words = (
        "Places held out were read neither to train nor to choose these weights."
        if held_out
        else "Nothing is known to have been held out."
    )
    table = _table(("set", "for", "places", "modalities", "note"), rows)
    return f"## Data\n\n{table}\n{words}\n"


def _training(facts: CardFacts) -> str:
    chosen = (
        "The weights are those after the last step: no validation set chose among them."
        if facts.best_step is None
        else f"The weights are those after step {facts.best_step:,}, the best on validation."
    )
    return (
        f"## Training\n\n{facts.steps:,} steps in {facts.minutes:.1f} minutes {facts.hardware}. "
        f"{chosen}\n\n```yaml\n{facts.configuration.rstrip()}\n```\n"
    )


def _results(facts: CardFacts) -> str:
    if not facts.recall:
        return "## Results\n\nNothing was measured while training.\n"
    rows = [
        (
            way,
            _spoken(way),
            f"{value:.1%}",
            f"{1 / facts.gallery[way]:.1%}",
            f"{facts.gallery[way]:,.0f}",
        )
        for way, value in facts.recall.items()
    ]
    names = [given.name for given in facts.sets if given.role == "validation"]
    table = _table(("direction", "query to reference", "R@1", "chance", "references"), rows)
    return (
        f"## Results\n\nShare of the queries whose own place comes first, on validation "
        f"({', '.join(names)}).\n\n{table}\nThese places chose the weights: on places that chose "
        f"nothing, expect a little less.\n"
    )


def _limits(config: ModelConfig, facts: CardFacts) -> str:
    ways = [Direction.parse(way) for way in facts.recall]
    measured = {modality for way in ways for modality in (way.query, way.reference)}
    unmeasured = [modality for modality in config.modalities if modality not in measured]
    limits = [*facts.limits]
    if unmeasured:
        limits.append(f"No figure above says how well it embeds {_listed(unmeasured)}.")
    limits.append(
        "Places unlike those it was trained on (other regions, seasons, cameras, heights of "
        "flight) were not measured here."
    )
    return "## Limits\n\n" + "".join(f"- {_line(limit)}\n" for limit in limits)


def _loading(folder: Path, config: ModelConfig) -> str:
    modality = config.modalities[0]
    return (
        "## Use\n\n```python\nfrom geobridge import GeoBridge\n\n"
        f'model = GeoBridge.load("{folder.name}")  # this folder\n'
        f'rows = model.embed("{modality}", ["photo.jpg"])  # (1, {config.dim}), unit norm\n```\n'
    )


def _licence(licence: str | None) -> str:
    words = licence or "Not stated by whoever trained these weights: ask before passing them on."
    return (
        f"## Licence\n\n{words}\n\nWeights learned from pictures may also be bound by the terms of "
        f"the pictures: see the sets above.\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(text.split())


def _listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _spoken(way: str) -> str:
    direction = Direction.parse(way)
    return f"{direction.query} to {direction.reference}"
