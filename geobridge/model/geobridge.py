"""`GeoBridge`: pictures of three views and sentences in, rows of one space out."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from geobridge.errors import ModelError
from geobridge.imagery.decode import read_image
from geobridge.imagery.street import StreetField, street_field, street_field_of_file
from geobridge.model.checkpoint import (
    Checkpoint,
    check_fit,
    find_checkpoint,
    fingerprint,
    read_checkpoint,
    shipped_names,
    write_checkpoint,
)
from geobridge.model.config import ModelConfig, TextEncoderConfig, read_preset
from geobridge.model.pretrained import describe_towers, resolve
from geobridge.model.tokens import plain_tokenizer, tokenize
from geobridge.model.towers import ImageTower, TextTower, ViewHead, resnet_positions
from geobridge.views import MODALITIES, VIEWS, Modality, View

Picture = NDArray[np.uint8] | str | Path
"""A picture in memory, uint8 (H, W, 3) RGB, or the file it is in."""


class GeoBridge(nn.Module):
    """One encoder for each modality behind one contract: unit-norm float32 rows (N, dim).

    Build one with `load`, `from_preset` or `from_towers`.

    Args:
        config: what the model is.
        tokenizer: splits sentences; without it a text encoder can be trained or loaded later but
            no sentence can be embedded.
        pretrained: load the towers' weights from the sources in `config`.

    Attributes:
        config: the settings; replace it to change the name, calibration or provenance.
        logit_scale: log of the inverse temperature of the training objective, a parameter ().
    """

    def __init__(
        self, config: ModelConfig, tokenizer: Tokenizer | None = None, *, pretrained: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.tokenizer: Tokenizer | None = None
        self.loaded_from: str | None = None
        trunks = dict.fromkeys(config.trunk_of(view) for view in config.views)
        heads = dict.fromkeys(config.head_of(view) for view in config.views)
        self.trunks = nn.ModuleDict({key: ImageTower(config.image, pretrained) for key in trunks})
        self.heads = nn.ModuleDict({key: self._head(key) for key in heads})
        self.text = TextTower(config.text, config.dim, pretrained) if config.text else None
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self._fingerprint: tuple[Any, str] | None = None
        if config.image.kind == "resnet":
            self.trunks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if tokenizer:
            self.attach_tokenizer(tokenizer)

    def _head(self, key: str) -> ViewHead:
        config = self.config
        width = next(iter(self.trunks.values())).width
        bottleneck = config.adapter_dim if config.has_adapters else None
        positions = 0
        if config.image.pooling == "spatial":
            counts = {
                view: resnet_positions(config.image, item.height, item.width)
                for view, item in config.preprocess.items()
            }
            positions = counts.get(cast(View, key), next(iter(counts.values())))
            if config.weights == "shared" and len(set(counts.values())) > 1:
                raise ModelError(
                    f"model {config.name!r} shares a spatial head among pictures of different "
                    f"shapes ({counts}): give them one shape, or take weights 'adapter'."
                )
        return ViewHead(cast(int, width), config.dim, config.image.pooling, bottleneck, positions)

    # ---- making, loading, saving -------------------------------------------------------------

    @classmethod
    def load(cls, name: str | Path, device: str | torch.device = "cpu") -> Self:
        """Load a checkpoint, ready to embed.

        Args:
            name: a shipped model (`mini`), a folder, or a hub model (`owner/name`).
            device: where it should compute.

        Raises:
            ModelError: it is missing, damaged, pickled or does not fit its configuration; or
                there is no such device.
        """
        check_device(device)
        folder = find_checkpoint(name)
        checkpoint = read_checkpoint(folder)
        with _uninitialised():
            model = cls(checkpoint.config, checkpoint.tokenizer)
        check_fit(model.state_dict(), checkpoint.tensors, str(folder))
        model.load_state_dict(checkpoint.tensors)
        # A shipped model and a hub's are found again by name, whatever folder they lie in here.
        is_named = str(name) in shipped_names() or not Path(name).is_dir()
        model.loaded_from = str(name) if is_named else str(folder.resolve())
        return model.to(device).eval()

    @classmethod
    def from_preset(
        cls,
        name: str,
        *,
        seed: int = 0,
        pretrained: bool = True,
        source: str | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> Self:
        """A new model of a named configuration, to be trained.

        Args:
            name: `mini`, `base` or `paper`.
            seed: of the weights that are drawn; the generator of the caller is left alone.
            pretrained: take the towers' weights from the preset's sources, where it names any
                (`mini` names none and starts from drawn weights).
            source: local folder or hub name to use instead of the preset's sources.
            tokenizer: for a text encoder trained from scratch; see `train_tokenizer`.

        Raises:
            ModelError: no such preset, or its sources cannot be reached.
        """
        return cls.from_config(
            read_preset(name), seed=seed, pretrained=pretrained, source=source, tokenizer=tokenizer
        )

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        *,
        seed: int = 0,
        pretrained: bool = False,
        source: str | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> Self:
        """A new model of this configuration; arguments as in `from_preset`."""
        if pretrained:
            config, found = resolve(config, source)
            tokenizer = tokenizer or found
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(config, tokenizer, pretrained=pretrained)

    @classmethod
    def from_towers(
        cls,
        image: str,
        text: str | None = None,
        *,
        name: str = "towers",
        dim: int | None = None,
        weights: str = "shared",
        views: Sequence[View] = VIEWS,
        seed: int = 0,
    ) -> Self:
        """A model on pretrained encoders, each with the preprocessing it was trained with.

        Args:
            image: local folder or hub name of a CLIP, SigLIP, SigLIP 2, DINOv2, DINOv3 or ResNet.
            text: local folder or hub name of a CLIP, SigLIP or SigLIP 2, or None for no text.
            name: of the new model.
            dim: length of embeddings; the picture tower's own by default.
            weights: see `ModelConfig`.
            views: which views the model has.
            seed: of the heads that are drawn where a tower's own rows have another length.
        """
        config = describe_towers(image, text, name=name, dim=dim, weights=weights, views=views)
        return cls.from_config(config, seed=seed, pretrained=True)

    def save(self, folder: str | Path) -> None:
        """Write a checkpoint; it appears whole or not at all, and replaces a former one.

        Raises:
            ModelError: weights are not finite, or the folder cannot be written.
        """
        write_checkpoint(Path(folder), self._checkpoint())
        self.loaded_from = str(Path(folder).resolve())

    def attach_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Give the text encoder its tokenizer.

        Raises:
            ModelError: there is no text encoder, or the vocabulary is larger than it has rows.
        """
        if self.text is None:
            raise ModelError(self._lacks("text"))
        rows, words = self.text.trunk.config.vocab_size, tokenizer.get_vocab_size()
        if words > rows:
            raise ModelError(
                f"the tokenizer has {words} tokens and the text encoder of model {self.name!r} "
                f"{rows} rows: take the tokenizer it was trained with or set its vocab_size."
            )
        self.tokenizer = plain_tokenizer(tokenizer)

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self.config, dict(self.state_dict()), self.tokenizer)

    # ---- what it is --------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What people call the model."""
        return self.config.name

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.config.dim

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What the model embeds."""
        return self.config.modalities

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.logit_scale.device

    @property
    def fingerprint(self) -> str:
        """Names the embedding space: settings, weights and tokenizer, but not the calibration."""
        versions = tuple((id(t), t._version) for t in (*self.parameters(), *self.buffers()))
        state = (versions, self.config.digest(), self.config.stored_dtype, id(self.tokenizer))
        if self._fingerprint is None or self._fingerprint[0] != state:
            self._fingerprint = (state, fingerprint(self._checkpoint()))
        return self._fingerprint[1]

    def require(self, modality: str) -> None:
        """Raise ModelError unless the model embeds this modality."""
        if modality not in MODALITIES:
            raise ModelError(f"{modality!r} is no modality: choose one of {', '.join(MODALITIES)}.")
        if modality not in self.modalities:
            raise ModelError(self._lacks(modality))

    def _lacks(self, modality: str) -> str:
        return (
            f"model {self.name!r} has no {modality} encoder; it embeds "
            f"{', '.join(self.modalities)}: ask with one of these or load another model."
        )

    # ---- embedding ---------------------------------------------------------------------------

    def prepare(
        self, view: View, image: NDArray[np.uint8], field: StreetField | None = None
    ) -> Tensor:
        """Bring a picture to the size the encoder takes.

        Args:
            view: where the picture was taken from.
            image: uint8 (H, W, 3) RGB.
            field: the field of view of a street picture; guessed from its shape if left out.

        Returns:
            uint8 (3, height, width).
        """
        self.require(view)
        if view == "street" and field is None:
            field = street_field(image.shape[1], image.shape[0])
        return self.config.preprocess[view].prepare(image, field)

    def embed(
        self,
        modality: Modality,
        items: Sequence[Picture] | Sequence[str],
        batch_size: int = 32,
        fields: Sequence[StreetField | None] | None = None,
    ) -> NDArray[np.float32]:
        """Embed pictures or sentences.

        Args:
            modality: `drone`, `street`, `satellite` or `text`.
            items: N pictures (uint8 arrays (H, W, 3), or paths), or N sentences.
            batch_size: items encoded at once.
            fields: of street pictures, one an item; None entries are read from the file's
                metadata or guessed from the picture's shape.

        Returns:
            float32 (N, dim), rows of unit norm.

        Raises:
            ModelError: the model lacks the modality, or an embedding is not finite.
            TextTooLongError: a sentence has too many tokens.
            ImageError: a file cannot be decoded.
        """
        self.require(modality)
        if isinstance(items, str | Path):
            raise ModelError(f"embed takes a list of items: pass [{str(items)!r}].")
        rows = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(items), batch_size):
            part = items[start : start + batch_size]
            part_fields = fields[start : start + batch_size] if fields else [None] * len(part)
            names = [_name_item(modality, item, start + index) for index, item in enumerate(part)]
            if modality == "text":
                rows.append(self._embed_texts(cast(Sequence[str], part), names))
            else:
                pixels = [
                    self._open(modality, item, field)
                    for item, field in zip(part, part_fields, strict=True)
                ]
                rows.append(self.embed_prepared(modality, torch.stack(pixels), names))
        return np.concatenate(rows)

    def embed_prepared(
        self, view: View, batch: Tensor, names: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """Embed pictures that `prepare` made, without gradients.

        Args:
            view: of all pictures in the batch.
            batch: uint8 (B, 3, height, width).
            names: what to call each picture in an error.

        Returns:
            float32 (B, dim), rows of unit norm.
        """
        names = names or [f"picture {index}" for index in range(len(batch))]
        return self._infer(lambda: self.encode_images(view, batch), names)

    def encode_images(self, view: View, pixels: Tensor) -> Tensor:
        """Encode a batch of one view, with gradients.

        Args:
            view: of all pictures in the batch.
            pixels: (B, 3, height, width), uint8 as `prepare` makes them, or float already
                normalised.

        Returns:
            float32 (B, dim), rows of unit norm.
        """
        return self.project(view, self.image_features(view, pixels))

    def image_features(self, view: View, pixels: Tensor) -> Tensor:
        """What the last layer of a view receives, with gradients.

        A row depends on its own picture alone, so that a large batch may be computed in parts.

        Args:
            view: of all pictures in the batch.
            pixels: as in `encode_images`.

        Returns:
            (B, F), the pooled tokens; F is the picture tower's own width.
        """
        self.require(view)
        preprocess = self.config.preprocess[view]
        expected = (3, preprocess.height, preprocess.width)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != expected:
            raise ModelError(
                f"model {self.name!r} takes {view} pictures of shape (B, {expected[0]}, "
                f"{expected[1]}, {expected[2]}), not {tuple(pixels.shape)}: use `prepare`."
            )
        pixels = pixels.to(self.device)
        if pixels.dtype == torch.uint8:
            pixels = preprocess.normalize(pixels)
        tokens = self.trunks[self.config.trunk_of(view)](pixels)
        return self.head(view).pooled(tokens)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode sentences, with gradients.

        Returns:
            float32 (B, dim), rows of unit norm.

        Raises:
            TextTooLongError: a sentence has too many tokens.
            ModelError: the model has no text encoder or no tokenizer.
        """
        return self.project("text", self.text_features(texts))

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """What the last layer of the text receives, (B, F), with gradients; see `encode_texts`."""
        self.require("text")
        text, settings = cast(TextTower, self.text), cast(TextEncoderConfig, self.config.text)
        if self.tokenizer is None:
            raise ModelError(
                f"model {self.name!r} has a text encoder but no tokenizer: give its folder the "
                f"tokenizer.json it was trained with, or call `attach_tokenizer`."
            )
        ids, mask = tokenize(self.tokenizer, texts, settings, text.fixed_length)
        return text.features(ids.to(self.device), mask.to(self.device))

    def project(self, modality: Modality, features: Tensor) -> Tensor:
        """Features (B, F) of `image_features` or `text_features` to embeddings.

        Returns:
            float32 (B, dim), rows of unit norm.
        """
        if modality == "text":
            return _unit(cast(TextTower, self.text).project(features))
        return _unit(self.head(modality).projection(features))

    def head(self, view: View) -> ViewHead:
        """Adapter, pooling and projection of a view; one for all views where they share."""
        return cast(ViewHead, self.heads[self.config.head_of(view)])

    def _embed_texts(self, texts: Sequence[str], names: Sequence[str]) -> NDArray[np.float32]:
        return self._infer(lambda: self.encode_texts(texts), names)

    def _open(self, view: View, item: Picture, field: StreetField | None) -> Tensor:
        if isinstance(item, np.ndarray):
            return self.prepare(view, item, field)
        preprocess = self.config.preprocess[view]
        image = read_image(item, min_side=max(preprocess.height, preprocess.width))
        if view == "street" and field is None:
            field = street_field_of_file(item, image.shape[1], image.shape[0])
        return self.prepare(view, image, field)

    def _infer(self, encode: Callable[[], Tensor], names: Sequence[str]) -> NDArray[np.float32]:
        if not names:
            return np.zeros((0, self.dim), np.float32)
        with _evaluating(self), torch.inference_mode():
            rows = encode()
            lengths = rows.norm(dim=1)
        # A row of zeros cannot be scaled to unit norm, and NaN fails every comparison.
        bad = torch.nonzero(~((lengths - 1).abs() < 1e-3)).flatten().tolist()
        if bad:
            raise ModelError(
                f"the embedding of {names[bad[0]]} by model {self.name!r} is not finite or zero "
                f"({len(bad)} of {len(names)} in its batch): the weights are damaged, load "
                f"another checkpoint."
            )
        return rows.cpu().numpy()


def _unit(rows: Tensor) -> Tensor:
    return nn.functional.normalize(rows.float(), dim=-1)


def _name_item(modality: Modality, item: object, index: int) -> str:
    if isinstance(item, np.ndarray):
        return f"picture {index}"
    return repr(str(item)[:60] if modality == "text" else str(item))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    if training:  # telling every module again costs a tenth of a short forward pass
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def check_device(device: str | torch.device) -> None:
    """Make sure a device can compute.

    Raises:
        ModelError: torch does not know it, or was built without it.
    """
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ModelError(
            f"the device {str(device)!r} cannot compute here ({reason}): choose cpu, or install "
            f"the build of torch for it."
        ) from None


@contextmanager
def _uninitialised() -> Iterator[None]:
    """Do not spend time on drawing weights that are about to be replaced."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        yield
