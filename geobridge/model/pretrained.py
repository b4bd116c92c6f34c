"""What a pretrained encoder's folder says about itself: settings, preprocessing, tokenizer."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import transformers
from tokenizers import Tokenizer

from geobridge.errors import ModelError
from geobridge.imagery.preprocess import Preprocess
from geobridge.model.config import (
    POOLINGS,
    ImageEncoderConfig,
    ImageKind,
    ModelConfig,
    TextEncoderConfig,
    TextKind,
    parse_config,
)
from geobridge.model.towers import IMAGE_FAMILIES, TEXT_FAMILIES, unreachable
from geobridge.views import View

# Which of our kinds a `model_type` of `transformers` belongs to.
_KINDS = {
    "clip_vision_model": "clip",
    "clip_text_model": "clip",
    "siglip_vision_model": "siglip",
    "siglip_text_model": "siglip",
    "siglip2_vision_model": "siglip2",
    "siglip2_text_model": "siglip2",
}
# Settings that say nothing about the architecture.
_NOISE = (
    "architectures", "dtype", "torch_dtype", "transformers_version", "model_type", "id2label",
    "label2id", "_name_or_path", "initializer_factor", "initializer_range",
)  # fmt: skip


def resolve(config: ModelConfig, source: str | None = None) -> tuple[ModelConfig, Tokenizer | None]:
    """Replace a configuration's tower settings by those of the pretrained towers it names.

    The `fit` of each view stays: it is ours to choose.

    Args:
        config: with hub names or folders as sources; towers without one are left alone.
        source: to use instead.

    Returns:
        The configuration as loaded, and the tokenizer of the text tower, if any.

    Raises:
        ModelError: a source cannot be reached or is of another kind.
    """
    tokenizer = None
    changes: dict[str, Any] = {}
    if config.image.source:
        place = source or config.image.source
        changes["image"] = _image_config(place, config.image)
        size = read_preprocess(place, "cover")
        changes["preprocess"] = {
            view: Preprocess(size.height, size.width, size.mean, size.std, own.fit)
            for view, own in config.preprocess.items()
        }
    if config.text and config.text.source:
        changes["text"], tokenizer = _text_config(source or config.text.source, config.text.kind)
    return config.model_copy(update=changes), tokenizer


def describe_towers(
    image: str,
    text: str | None,
    *,
    name: str,
    dim: int | None,
    weights: str,
    views: Sequence[View],
) -> ModelConfig:
    """The configuration of a model on pretrained towers; see `GeoBridge.from_towers`."""
    kind = cast(ImageKind, _kind(image, IMAGE_FAMILIES))
    tower = _image_config(image, ImageEncoderConfig(kind=kind, pooling=POOLINGS[kind][0]))
    text_tower = None
    if text:
        text_tower, _ = _text_config(text, cast(TextKind, _kind(text, TEXT_FAMILIES)))
    settings = {
        "name": name,
        "dim": dim or _own_dim(tower),
        "weights": weights,
        "image": tower,
        "text": text_tower,
        # A panorama cropped to its centre square would lose three quarters of the horizon.
        "preprocess": {
            view: read_preprocess(image, "squash" if view == "street" else None) for view in views
        },
    }
    return parse_config(settings, f"the model on {image}")


def read_preprocess(source: str, fit: str | None) -> Preprocess:
    """Size and normalisation from `preprocessor_config.json` (or `processor_config.json`).

    Pictures are always resized by bicubic antialiasing, and straight to the size of the crop: the
    margin that some encoders cut off at test time belongs to the footprint.

    Args:
        source: local folder or hub name.
        fit: how a picture is brought to the size; the encoder's own way if None: `squash` where
            it resizes both sides, `cover` where it crops.
    """
    settings = _read_json(source, "preprocessor_config.json")
    if settings is None:
        settings = (_read_json(source, "processor_config.json") or {}).get("image_processor")
    if not settings:
        raise ModelError(
            f"{source!r} has no preprocessor_config.json, so how its encoder wants pictures is "
            f"unknown: copy that file of the same model into the folder."
        )
    height, width, cropped = _picture_size(settings, source)
    # Ours is (x / 255 - mean) / std; theirs (x * factor - mean) / std.
    factor = settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0
    scale = 1 / (255 * factor)
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if settings.get("do_normalize", True):
        mean, std = _triple(settings, "image_mean", source), _triple(settings, "image_std", source)
    return Preprocess(
        height,
        width,
        cast(Any, tuple(value * scale for value in mean)),
        cast(Any, tuple(value * scale for value in std)),
        cast(Any, fit or ("cover" if cropped else "squash")),
    )


def read_tokenizer(source: str, kind: TextKind) -> Any:
    """The tokenizer of `transformers` in a folder or of a hub model.

    Raises:
        ModelError: there is none.
    """
    try:
        # CLIP's own class also reads a folder of vocab.json and merges.txt alone.
        family = "CLIPTokenizer" if kind == "clip" else "AutoTokenizer"
        tokenizer = getattr(transformers, family).from_pretrained(source)
    except Exception as error:  # hub, file and format errors share no base
        raise unreachable(source, error) from error
    # Without vocabulary files `transformers` answers with an empty tokenizer of the right class.
    if len(tokenizer) < 32 or not hasattr(tokenizer, "backend_tokenizer"):
        raise ModelError(
            f"{source!r} has no vocabulary: copy tokenizer.json of the same model into the folder."
        )
    return tokenizer


def _picture_size(settings: dict[str, Any], source: str) -> tuple[int, int, bool]:
    if "max_num_patches" in settings:  # SigLIP 2 with native aspect ratio: the largest square
        side = math.isqrt(settings["max_num_patches"]) * settings["patch_size"]
        return side, side, False
    cropped = bool(settings.get("do_center_crop") and settings.get("crop_size"))
    size = settings.get("crop_size") if cropped else settings.get("size")
    if isinstance(size, int):
        return size, size, cropped
    size = size or {}
    if "height" in size and "width" in size:
        return size["height"], size["width"], cropped
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"], True
    raise ModelError(
        f"the preprocessor_config.json of {source!r} gives no picture size (found {size}): write "
        f'"size": {{"height": ..., "width": ...}} into it.'
    )


def _triple(settings: dict[str, Any], key: str, source: str) -> tuple[float, float, float]:
    value = settings.get(key)
    if not isinstance(value, list) or len(value) != 3:
        raise ModelError(
            f"the preprocessor_config.json of {source!r} has no {key} of three numbers: copy the "
            f"file of the same model into the folder."
        )
    return (float(value[0]), float(value[1]), float(value[2]))


def _own_dim(config: ImageEncoderConfig) -> int:
    settings = getattr(transformers, IMAGE_FAMILIES[config.kind].config)(**config.config)
    if config.kind == "resnet":
        return int(settings.hidden_sizes[-1])
    return int(settings.projection_dim if config.kind == "clip" else settings.hidden_size)


def _kind(source: str, families: Any) -> str:
    settings = _read_json(source, "config.json")
    if settings is None:
        raise ModelError(f"{source!r} has no config.json: name a hub model or the folder of one.")
    model_type = str(settings.get("model_type"))
    kind = _KINDS.get(model_type, model_type)
    if kind not in families:
        raise ModelError(
            f"{source!r} is of kind {model_type!r}: take an encoder of kind {', '.join(families)}."
        )
    return kind


def _check_kind(source: str, wanted: str, families: Any) -> None:
    found = _kind(source, families)
    if found != wanted:
        raise ModelError(
            f"{source!r} is of kind {found!r} and the configuration asks for {wanted!r}: set "
            f"`kind` to {found!r} or name another source."
        )


def _settings(source: str, config_class: str) -> dict[str, Any]:
    try:
        config = getattr(transformers, config_class).from_pretrained(source)
    except Exception as error:  # hub, file and format errors share no base
        raise unreachable(source, error) from error
    found = json.loads(json.dumps(config.to_diff_dict(), default=str))
    return {key: value for key, value in found.items() if key not in _NOISE}


def _image_config(source: str, config: ImageEncoderConfig) -> ImageEncoderConfig:
    _check_kind(source, config.kind, IMAGE_FAMILIES)
    settings = _settings(source, IMAGE_FAMILIES[config.kind].config)
    return config.model_copy(update={"config": settings, "source": source})


def _text_config(source: str, kind: TextKind) -> tuple[TextEncoderConfig, Tokenizer]:
    _check_kind(source, kind, TEXT_FAMILIES)
    settings = _settings(source, TEXT_FAMILIES[kind].config)
    tokenizer = read_tokenizer(source, kind)
    positions = getattr(transformers, TEXT_FAMILIES[kind].config)(**settings)
    config = TextEncoderConfig(
        kind=kind,
        config=settings,
        source=source,
        max_tokens=positions.max_position_embeddings,
        pad_token_id=tokenizer.pad_token_id or 0,
        padding_side=tokenizer.padding_side,
    )
    return config, tokenizer.backend_tokenizer


def _read_json(source: str, name: str) -> dict[str, Any] | None:
    """A JSON file of a local folder or hub model, or None if it has no such file."""
    path = Path(source) / name
    if not Path(source).is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            path = Path(hf_hub_download(source, name))
        except LocalEntryNotFoundError as error:
            raise unreachable(source, error) from error
        except EntryNotFoundError:
            return None
        except Exception as error:  # network and name errors share no base
            raise unreachable(source, error) from error
    if not path.exists():
        return None
    try:
        return cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        raise ModelError(f"{path} is not JSON: download the encoder again.") from None
