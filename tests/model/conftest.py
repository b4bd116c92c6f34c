"""A small world of models: every kind of encoder with a few thousand random weights."""

import json

import pytest
import torch
import transformers
from tiny_model import tiny_settings

from geobridge.model.config import parse_config
from geobridge.model.geobridge import GeoBridge
from geobridge.model.tokens import train_tokenizer

SENTENCES = ["a stadium by a river", "red roofs along a straight road", "a harbour with cranes"]

_VIT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "image_size": 32,
    "patch_size": 8,
}
_TEXT = {
    "vocab_size": 600,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "max_position_embeddings": 24,
}
_CLIP_WORDS = {"bos_token_id": 598, "eos_token_id": 599, "pad_token_id": 599}
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48, 0.46, 0.41], [0.27, 0.26, 0.28])


def _clip():
    return transformers.CLIPModel(
        transformers.CLIPConfig(
            vision_config=_VIT | {"projection_dim": 48},
            text_config=_TEXT | _CLIP_WORDS | {"projection_dim": 48},
            projection_dim=48,
        )
    )


def _siglip():
    return transformers.SiglipModel(
        transformers.SiglipConfig(
            vision_config=_VIT,
            text_config=_TEXT | {"projection_size": 64, "pad_token_id": 1},
        )
    )


def _siglip2():
    vision = {key: value for key, value in _VIT.items() if key != "image_size"}
    return transformers.Siglip2Model(
        transformers.Siglip2Config(
            vision_config=vision | {"num_patches": 16},
            text_config=_TEXT | {"projection_size": 64, "pad_token_id": 1},
        )
    )


def _dinov2():
    return transformers.Dinov2Model(transformers.Dinov2Config(**_VIT))


def _dinov2_with_registers():
    return transformers.Dinov2WithRegistersModel(
        transformers.Dinov2WithRegistersConfig(**_VIT, num_register_tokens=4)
    )


def _dinov3_vit():
    return transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**_VIT, num_register_tokens=4))


def _resnet():
    return transformers.ResNetModel(
        transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
        )
    )


_CROPPED = {
    "do_resize": True,
    "size": {"shortest_edge": 36},
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
}
_SQUASHED = {
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
}
_PATCHES = {"max_num_patches": 16, "patch_size": 8, "do_normalize": True}

ZOO = {
    "clip": (_clip, _CROPPED, CLIP),
    "siglip": (_siglip, _SQUASHED, ([0.5] * 3, [0.5] * 3)),
    "siglip2": (_siglip2, _PATCHES, ([0.5] * 3, [0.5] * 3)),
    "dinov2": (_dinov2, _CROPPED, IMAGENET),
    "dinov2_with_registers": (_dinov2_with_registers, _CROPPED, IMAGENET),
    "dinov3_vit": (_dinov3_vit, _SQUASHED, IMAGENET),
    "resnet": (_resnet, _CROPPED, IMAGENET),
}


def write_clip_words(folder):
    """A vocabulary as CLIP's: every byte, every byte at the end of a word, start and end."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += [f"<unused{index}>" for index in range(598 - len(words))]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")


def write_plain_words(folder):
    """A tokenizer of our own making in the files `transformers` writes."""
    words = train_tokenizer(SENTENCES, 400)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",  # noqa: S106
        eos_token="<end>",  # noqa: S106
    ).save_pretrained(folder)


def write_gemma_words(folder):
    """A vocabulary as SigLIP 2's: letters, and special tokens at the front."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = [*"▁abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {word: index for index, word in enumerate(special + letters)}
    transformers.Siglip2Tokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)


WORDS = {"clip": write_clip_words, "siglip": write_plain_words, "siglip2": write_gemma_words}


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """Folders of tiny pretrained encoders, one of each kind, as downloaded from a hub."""
    folders = {}
    for kind, (build, settings, (mean, std)) in ZOO.items():
        folder = tmp_path_factory.mktemp(kind)
        torch.manual_seed(0)
        build().eval().save_pretrained(folder)
        settings = settings | {"image_mean": mean, "image_std": std}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
        if kind in WORDS:
            WORDS[kind](folder)
        folders[kind] = folder
    return folders


@pytest.fixture(scope="session")
def words():
    return train_tokenizer(SENTENCES * 3, 300)


@pytest.fixture
def tiny(words):
    config = parse_config(tiny_settings(), "the test")
    return GeoBridge.from_config(config, tokenizer=words).eval()


@pytest.fixture(scope="session")
def tiny_config():
    """Settings of a tiny model, some of them changed."""
    return tiny_settings


@pytest.fixture
def make_tiny(words):
    """Build a tiny model with some settings changed."""

    def make(seed=0, tokenizer=words, **changes):
        config = parse_config(tiny_settings(**changes), "the test")
        tokenizer = tokenizer if config.text else None
        return GeoBridge.from_config(config, seed=seed, tokenizer=tokenizer).eval()

    return make
