"""What a model is, as data: everything in a checkpoint's `config.json`."""

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from geobridge.errors import GeoBridgeError, ModelError
from geobridge.imagery.preprocess import Preprocess
from geobridge.views import LETTERS, MODALITIES, VIEWS, Modality, View

ImageKind = Literal[
    "resnet", "clip", "siglip", "siglip2", "dinov2", "dinov2_with_registers", "dinov3_vit"
]
TextKind = Literal["clip", "siglip", "siglip2"]
Pooling = Literal["projection", "cls", "mean", "gem", "spatial"]
Weights = Literal["separate", "shared", "adapter", "aerial"]

POOLINGS: dict[ImageKind, tuple[Pooling, ...]] = {
    "resnet": ("gem", "mean", "spatial"),
    "clip": ("projection",),
    "siglip": ("projection",),
    "siglip2": ("projection",),
    "dinov2": ("cls", "mean", "gem"),
    "dinov2_with_registers": ("cls", "mean", "gem"),
    "dinov3_vit": ("cls", "mean", "gem"),
}
"""The poolings each kind of tower offers, its usual one first."""

PRESET_FOLDER = Path(__file__).parent / "presets"


def refuse_unknown_keys(data: Any, known: list[str], where: str) -> None:
    """Raise ValueError for a key that is not known, suggesting the closest one that is."""
    for key in data if isinstance(data, dict) else ():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            suggestion = f"did you mean {close[0]!r}?" if close else f"known keys: {known}."
            raise ValueError(f"{where} has no key {key!r}: {suggestion}")


def read_modality(word: Any, known: Sequence[str] = MODALITIES) -> Any:
    """A modality by its name or its letter (`S`); what is no word at all is given back as it is.

    Raises:
        ValueError: there is none of this name; suggests the closest one that is known.
    """
    if not isinstance(word, str):
        return word
    name = LETTERS.get(word.upper(), word)
    if name not in known:
        close = difflib.get_close_matches(word.lower(), known, n=1)
        suggestion = f"did you mean {close[0]!r}?" if close else "name one of them."
        raise ValueError(f"{word!r} is none of {', '.join(known)}: {suggestion}")
    return name


class Settings(BaseModel):
    """Frozen, finite settings that answer an unknown key with the closest known one."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _suggest(cls, data: Any) -> Any:
        refuse_unknown_keys(data, list(cls.model_fields), cls.__name__)
        return data

    def differs(self, name: str) -> bool:
        """Whether a key says something else than it says by default.

        What would say nothing is refused by this, because a resolved configuration names every key.
        """
        return bool(getattr(self, name) != type(self).model_fields[name].default)


S = TypeVar("S", bound=Settings)


class ImageEncoderConfig(Settings):
    """The picture tower.

    Attributes:
        kind: the model type in the words of `transformers`.
        config: the tower's own configuration; keys left out take the defaults of `transformers`.
        source: hub name or local folder the tower's pretrained weights come from; None when it
            is trained from scratch.
        pooling: how the tower's tokens become one row: `projection` (the tower's own embedding),
            `cls` token, `mean` of the patches, `gem` (generalised mean of the patches), or
            `spatial` (`gem`, and weighted means over learned maps of where things are).
        norm: `layer` replaces batch normalisation in a ResNet. A row then depends on its own
            picture only, in training too: gradient caching and several processes stay exact, and
            views with different statistics can share the tower.
    """

    kind: ImageKind
    config: dict[str, Any] = Field(default_factory=dict)
    source: str | None = None
    pooling: Pooling
    norm: Literal["batch", "layer"] = "batch"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.pooling not in POOLINGS[self.kind]:
            offered = ", ".join(POOLINGS[self.kind])
            raise ValueError(f"a {self.kind} tower has no pooling {self.pooling!r}, use {offered}")
        if self.norm == "layer" and self.kind != "resnet":
            raise ValueError(f"norm 'layer' is for resnet towers, a {self.kind} tower has none")
        return self


class TextEncoderConfig(Settings):
    """The sentence tower.

    Attributes:
        kind: the model type in the words of `transformers`.
        config: the tower's own configuration; keys left out take the defaults of `transformers`.
        source: hub name or local folder of pretrained weights and tokenizer, or None.
        max_tokens: longest sentence, start and end tokens included.
        pad_token_id: fills short sentences.
        padding_side: where the filling goes.
    """

    kind: TextKind
    config: dict[str, Any] = Field(default_factory=dict)
    source: str | None = None
    max_tokens: int = Field(ge=2)
    pad_token_id: int = Field(default=0, ge=0)
    padding_side: Literal["left", "right"] = "right"


class ModelConfig(Settings):
    """A whole model.

    Attributes:
        name: what people call it.
        dim: length of an embedding.
        weights: of the picture towers: `separate` (one a view, the paper), `shared` (one for all),
            `adapter` (one for all, with a light residual adapter and head for each view), or
            `aerial` (one for what is seen from above and one for the street, with adapters and
            heads like those).
        image: the picture tower.
        text: the sentence tower, or None.
        preprocess: how a picture of each view is prepared; its keys are the views the model has.
        adapter_dim: width of the adapters' bottleneck.
        stored_dtype: number format of the weights on disk; they are float32 in memory.
        calibration: fitted parameters of the position estimate; they do not change embeddings.
        provenance: where the weights come from (training configuration, imported file, results);
            a record for people, without effect.
    """

    name: str = Field(min_length=1)
    dim: int = Field(ge=1)
    weights: Weights
    image: ImageEncoderConfig
    text: TextEncoderConfig | None = None
    preprocess: dict[View, Preprocess]
    adapter_dim: int = Field(default=64, ge=1)
    stored_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    calibration: dict[str, Any] | None = None
    provenance: dict[str, Any] | None = None

    @field_validator("preprocess", mode="before")
    @classmethod
    def _known_preprocess_keys(cls, value: Any) -> Any:
        known = [field.name for field in fields(Preprocess)]
        for view, settings in value.items() if isinstance(value, dict) else ():
            refuse_unknown_keys(settings, known, f"preprocess of {view}")
        return value

    @field_validator("preprocess")
    @classmethod
    def _some_view(cls, value: dict[View, Preprocess]) -> dict[View, Preprocess]:
        if not value:
            raise ValueError("preprocess names no view")
        return {view: value[view] for view in VIEWS if view in value}

    @property
    def views(self) -> tuple[View, ...]:
        """The views the model embeds, in the order of `geobridge.views.VIEWS`."""
        return tuple(self.preprocess)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The views, then `text` if the model reads sentences."""
        return (*self.views, "text") if self.text else self.views

    @property
    def has_adapters(self) -> bool:
        """Whether each view has an adapter of its own."""
        return self.weights in ("adapter", "aerial")

    def trunk_of(self, view: View) -> str:
        """The name of the picture tower that a view goes through."""
        if self.weights == "separate":
            return view
        if self.weights == "aerial":
            return "street" if view == "street" else "aerial"
        return "shared"

    def head_of(self, view: View) -> str:
        """The name of the head that a view goes through."""
        return "shared" if self.weights == "shared" else view

    def digest(self) -> bytes:
        """SHA-256 of all settings that change an embedding.

        Names, origins, calibration and the number format on disk are left out.
        """
        data = self.model_dump(mode="json")
        for key in ("name", "calibration", "provenance", "stored_dtype"):
            del data[key]
        for tower in (data["image"], data["text"]):
            if tower:
                del tower["source"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).digest()


def parse_config(data: Any, where: str) -> ModelConfig:
    """Check settings read from a file.

    Args:
        data: the parsed JSON.
        where: names the file in the error.

    Raises:
        ModelError: the first thing that is wrong, and where.
    """
    return parse_settings(
        ModelConfig,
        data,
        ModelError,
        f"{where} is not the configuration of a GeoBridge model",
        "correct it or take a checkpoint written by `GeoBridge.save`",
    )


def parse_settings(
    kind: type[S],
    data: Any,
    error: type[GeoBridgeError],
    what: str,
    remedy: str = "correct it",
) -> S:
    """Check settings that were read from a file.

    Args:
        kind: of the settings.
        data: as read.
        error: what is raised.
        what: begins the message ("a.yaml is no curation").
        remedy: ends it.

    Raises:
        GeoBridgeError: of the given class; the first thing that is wrong, and where.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as problem:
        place, said = first_problem(problem)
        at = f" at {place!r}" if place else ""
        raise error(f"{what}{at}: {said}; {remedy}.") from None


def first_problem(error: ValidationError) -> tuple[str, str]:
    """The key path of the first thing that is wrong (empty for the whole), and what it is."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return place, _said(first)


def _said(problem: ErrorDetails) -> str:
    """What is wrong with one value, without the words of pydantic where these are not plain."""
    given = problem["input"]
    match problem["type"]:
        case "union_tag_invalid":
            # It lists them as 'a', 'b'.
            known = problem["ctx"]["expected_tags"].replace("'", "").split(", ")
            key, word = problem["ctx"]["discriminator"].strip("'"), problem["ctx"]["tag"]
            close = difflib.get_close_matches(word, known, n=1)
            suggestion = f"did you mean {close[0]!r}" if close else f"use one of {', '.join(known)}"
            return f"there is no {key} {word!r}: {suggestion}"
        case "float_parsing" | "int_parsing":
            return f"{given!r} is not a number alone: write it without a unit"
    return problem["msg"].removeprefix("Value error, ").rstrip(".?")


def read_config(path: Path) -> ModelConfig:
    """Read a `config.json`.

    Raises:
        ModelError: the file is missing, no JSON or not a model's configuration.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"the model's configuration {path} cannot be read ({error.strerror}): "
            f"name a folder that `GeoBridge.save` wrote."
        ) from None
    except ValueError:
        raise ModelError(
            f"the model's configuration {path} is not JSON: restore it or save the model again."
        ) from None
    if isinstance(data, dict) and "model_type" in data:
        raise ModelError(
            f"{path} describes a plain `transformers` model ({data['model_type']}), not a "
            f"GeoBridge checkpoint: build a model on it with `GeoBridge.from_towers`."
        )
    return parse_config(data, str(path))


def preset_names() -> list[str]:
    """The presets that ship with the package."""
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.json"))


def read_preset(name: str) -> ModelConfig:
    """The configuration of a preset.

    Raises:
        ModelError: no preset has this name; the message lists those there are.
    """
    if name not in preset_names():
        raise ModelError(f"there is no preset {name!r}: choose one of {', '.join(preset_names())}.")
    return read_config(PRESET_FOLDER / f"{name}.json")
