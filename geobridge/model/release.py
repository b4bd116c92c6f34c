"""The paper's released weights (`best_net.pth`) as a checkpoint.

The release is one pickled module of four whole CLIPs. `pickles.read_pickled` takes its tensors
out without running it; here they are renamed, and the towers no modality uses are left out.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geobridge.errors import ModelError
from geobridge.imagery.preprocess import Preprocess
from geobridge.model.checkpoint import Checkpoint, check_fit, write_checkpoint
from geobridge.model.config import ModelConfig, parse_config
from geobridge.model.geobridge import GeoBridge
from geobridge.model.pickles import TensorRecord, read_pickled
from geobridge.model.pretrained import read_tokenizer
from geobridge.views import VIEWS

# The release normalises with the statistics of ImageNet, not with CLIP's, where its features are
# computed; its weights and its published numbers belong to these.
RELEASE_MEAN, RELEASE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_IMAGE_KEY = re.compile(r"(drone|street|satellite)_encoder\.CLIP\.((?:vision_model|visual_)\S+)")
_TEXT_KEY = re.compile(r"text_encoder\.CLIP\.((?:text_model|text_)\S+)")
_UNUSED_KEY = re.compile(
    r"((drone|street|satellite)_encoder\.CLIP\.(text_|logit_scale)"
    r"|text_encoder\.CLIP\.(vision_model|visual_|logit_scale))"
)
_WRAPPERS = ("module.", "model.", "state_dict.", "model_state_dict.", "net.")


@dataclass(frozen=True)
class ReleaseSummary:
    """What an import did.

    Attributes:
        out: the checkpoint's folder.
        kept_tensors: in the checkpoint.
        kept_mb: their size, in 10^6 bytes.
        dropped_tensors: of towers that no modality uses, such as the text tower of an image
            encoder.
        dropped_mb: their size, in 10^6 bytes.
        reads_text: whether sentences can be embedded, which needs a tokenizer.
    """

    out: Path
    kept_tensors: int
    kept_mb: float
    dropped_tensors: int
    dropped_mb: float
    reads_text: bool


def import_weights(path: Path, out: Path, tokenizer: Path | None = None) -> ReleaseSummary:
    """Turn the paper's file into a checkpoint.

    The checkpoint embeds a picture once. The release's test script averages the rows of a picture
    and its mirror image; do the same with two rows to repeat its numbers.

    Args:
        path: the release's pickled module, or a state dict with the same key names.
        out: folder for the checkpoint.
        tokenizer: folder with CLIP's tokenizer.json, or vocab.json and merges.txt.

    Returns:
        What was kept and dropped.

    Raises:
        ModelError: the file is damaged, holds another model, or wants to call something.
    """
    found = read_pickled(path)
    used, dropped = _sort(found.tensors, path)
    config = _config(used, found.attributes, path, len(dropped))
    words = read_tokenizer(str(tokenizer), config.text.kind) if tokenizer and config.text else None
    tensors = {key: record.load() for key, record in used.items()}
    tensors["logit_scale"] = _log_scale(tensors.get("logit_scale"))
    with torch.device("meta"):
        expected = GeoBridge(config).state_dict()
    check_fit(expected, tensors, str(path))
    backend = words.backend_tokenizer if words else None
    write_checkpoint(out, Checkpoint(config, tensors, backend))
    return ReleaseSummary(
        out=out,
        kept_tensors=len(tensors),
        kept_mb=sum(tensor.nbytes for tensor in tensors.values()) / 1e6,
        dropped_tensors=len(dropped),
        dropped_mb=sum(record.nbytes for record in dropped.values()) / 1e6,
        reads_text=backend is not None,
    )


def _unwrap(key: str) -> str:
    """Strip what DataParallel and training scripts put around a model."""
    for wrapper in _WRAPPERS:
        if key.startswith(wrapper):
            return _unwrap(key.removeprefix(wrapper))
    return key


def _sort(
    tensors: Mapping[str, TensorRecord], path: Path
) -> tuple[dict[str, TensorRecord], dict[str, TensorRecord]]:
    """Tensors under our names, and those no modality uses under theirs."""
    used: dict[str, TensorRecord] = {}
    dropped: dict[str, TensorRecord] = {}
    unknown: list[str] = []
    for name, record in tensors.items():
        key = _unwrap(name)
        if image := _IMAGE_KEY.fullmatch(key):
            target = f"trunks.{image[1]}.trunk.{image[2]}"
        elif text := _TEXT_KEY.fullmatch(key):
            target = f"text.trunk.{text[1]}"
        elif key == "logit_scale":
            target = key
        elif _UNUSED_KEY.match(key):
            dropped[key] = record
            continue
        else:
            unknown.append(key)
            continue
        # Older releases of `transformers` kept this row of 0, 1, 2, ... in the state.
        if not target.endswith(".position_ids"):
            used[target] = record
    if unknown or not any(key.startswith("trunks.") for key in used):
        example = unknown[0] if unknown else "no image encoder"
        raise ModelError(
            f"{path} is not laid out as the paper's release ({len(unknown)} unknown tensors: "
            f"{example}): name best_net.pth, or a state dict with keys such as "
            f"drone_encoder.CLIP.vision_model.pre_layrnorm.weight."
        )
    return used, dropped


def _config(
    used: Mapping[str, TensorRecord], attributes: Mapping[str, Any], path: Path, dropped: int
) -> ModelConfig:
    """Read the architecture off the tensors' shapes and, where known, the modules' attributes."""
    shapes = {key: record.shape for key, record in used.items()}
    plain = {_unwrap(key): value for key, value in attributes.items()}
    views = [view for view in VIEWS if any(key.startswith(f"trunks.{view}.") for key in shapes)]
    try:
        vision = _vision_settings(shapes, plain, views[0])
        text = _text_settings(shapes, plain)
    except KeyError as error:
        raise ModelError(f"{path} lacks the tensor {error}: download it again.") from None
    side = vision["image_size"]
    dtypes = {record.storage.dtype for key, record in used.items() if key != "logit_scale"}
    half = {torch.float16: "float16", torch.bfloat16: "bfloat16"}.get(next(iter(dtypes)))
    settings = {
        "name": path.stem,
        "dim": vision["projection_dim"],
        "weights": "separate",
        "image": {"kind": "clip", "config": vision, "pooling": "projection"},
        "text": text,
        "preprocess": {
            view: Preprocess(side, side, RELEASE_MEAN, RELEASE_STD, "squash") for view in views
        },
        "stored_dtype": half if half and len(dtypes) == 1 else "float32",
        "provenance": {"imported_from": path.name, "dropped_tensors": dropped},
    }
    return parse_config(settings, str(path))


def _vision_settings(
    shapes: Mapping[str, tuple[int, ...]], attributes: Mapping[str, Any], view: str
) -> dict[str, Any]:
    trunk = f"trunks.{view}.trunk."
    model = trunk + "vision_model."
    hidden = shapes[model + "embeddings.class_embedding"][0]
    patch = shapes[model + "embeddings.patch_embedding.weight"][-1]
    positions = shapes[model + "embeddings.position_embedding.weight"][0]
    return {
        "hidden_size": hidden,
        "patch_size": patch,
        "image_size": patch * math.isqrt(positions - 1),
        "projection_dim": shapes[trunk + "visual_projection.weight"][0],
        **_layer_settings(shapes, model),
        **_attribute_settings(attributes, f"{view}_encoder.CLIP.vision_model.", hidden),
    }


def _text_settings(
    shapes: Mapping[str, tuple[int, ...]], attributes: Mapping[str, Any]
) -> dict[str, Any] | None:
    if not any(key.startswith("text.") for key in shapes):
        return None
    model = "text.trunk.text_model."
    vocabulary, hidden = shapes[model + "embeddings.token_embedding.weight"]
    positions = shapes[model + "embeddings.position_embedding.weight"][0]
    settings = {
        "hidden_size": hidden,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "projection_dim": shapes["text.trunk.text_projection.weight"][0],
        # CLIP's vocabulary ends with the start and the end of a text.
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
        **_layer_settings(shapes, model),
        **_attribute_settings(attributes, "text_encoder.CLIP.text_model.", hidden),
    }
    return {
        "kind": "clip",
        "config": settings,
        "max_tokens": positions,
        "pad_token_id": vocabulary - 1,
    }


def _layer_settings(shapes: Mapping[str, tuple[int, ...]], model: str) -> dict[str, Any]:
    layers = [
        int(found[1])
        for key in shapes
        if (found := re.match(re.escape(model) + r"encoder\.layers\.(\d+)\.", key))
    ]
    return {
        "num_hidden_layers": max(layers, default=-1) + 1,
        "intermediate_size": shapes[model + "encoder.layers.0.mlp.fc1.weight"][0],
    }


def _attribute_settings(attributes: Mapping[str, Any], model: str, hidden: int) -> dict[str, Any]:
    """What shapes do not tell: from the pickled modules, or as CLIP ViT-B and ViT-L have it."""
    heads = attributes.get(model + "encoder.layers.0.self_attn.num_heads")
    act = attributes.get(model + "config.hidden_act", "quick_gelu")
    eps = attributes.get(model + "config.layer_norm_eps", 1e-5)
    return {
        "num_attention_heads": heads or max(1, hidden // 64),
        "hidden_act": act,
        "layer_norm_eps": eps,
    }


def _log_scale(value: Tensor | None) -> Tensor:
    """The inverse temperature as a logarithm; CLIP never lets that exceed log 100 = 4.6."""
    scale = torch.tensor(1 / 0.07) if value is None else value.float().reshape(())
    return scale.log() if value is None or scale > 5 else scale
