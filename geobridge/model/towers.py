"""The encoders of `transformers` behind one contract.

A picture tower turns pixels into tokens (B, N, F); a `ViewHead` turns tokens into a row (B, D).
A text tower turns token ids into a row (B, D). Only the tower that is used is built or loaded.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn

from geobridge.errors import ModelError
from geobridge.model.config import ImageEncoderConfig, ImageKind, TextEncoderConfig, TextKind


class _Family(NamedTuple):
    """Names in `transformers`; looked up when used, so that one family's code is imported."""

    config: str
    model: str


IMAGE_FAMILIES: dict[ImageKind, _Family] = {
    "resnet": _Family("ResNetConfig", "ResNetModel"),
    "clip": _Family("CLIPVisionConfig", "CLIPVisionModelWithProjection"),
    "siglip": _Family("SiglipVisionConfig", "SiglipVisionModel"),
    "siglip2": _Family("Siglip2VisionConfig", "Siglip2VisionModel"),
    "dinov2": _Family("Dinov2Config", "Dinov2Model"),
    "dinov2_with_registers": _Family("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel"),
    "dinov3_vit": _Family("DINOv3ViTConfig", "DINOv3ViTModel"),
}
TEXT_FAMILIES: dict[TextKind, _Family] = {
    "clip": _Family("CLIPTextConfig", "CLIPTextModelWithProjection"),
    "siglip": _Family("SiglipTextConfig", "SiglipTextModel"),
    "siglip2": _Family("Siglip2TextConfig", "Siglip2TextModel"),
}


class ImageTower(nn.Module):
    """A picture encoder: normalised pixels in, tokens out.

    Args:
        config: which encoder.
        pretrained: load weights from `config.source` instead of drawing them.

    Attributes:
        width: F, the length of a token.
        trunk: the module of `transformers`.
    """

    def __init__(self, config: ImageEncoderConfig, pretrained: bool = False) -> None:
        super().__init__()
        self.kind = config.kind
        self.pooling = config.pooling
        self.trunk = _build(IMAGE_FAMILIES[config.kind], config.config, config.source, pretrained)
        if config.norm == "layer":
            _layer_norm(self.trunk)
        self.width = _image_width(self.trunk.config, config)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode.

        Args:
            pixels: float (B, 3, H, W), normalised.

        Returns:
            Tokens (B, N, F): the patches, or one token where the tower pools by itself.
        """
        if self.kind == "resnet":
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            features: Tensor = self.trunk(pixels).last_hidden_state  # (B, F, h, w)
            return features.flatten(2).transpose(1, 2)
        if self.kind == "siglip2":
            return self._encode_patches(pixels)
        if self.pooling == "projection":
            return self._encode_whole(pixels)
        tokens: Tensor = self.trunk(pixels).last_hidden_state
        special = 1 + getattr(self.trunk.config, "num_register_tokens", 0)
        return tokens[:, :1] if self.pooling == "cls" else tokens[:, special:]

    def _encode_whole(self, pixels: Tensor) -> Tensor:
        native = self.trunk.config.image_size
        resized = tuple(pixels.shape[-2:]) != (native, native)
        output = self.trunk(pixels, interpolate_pos_encoding=resized)
        row: Tensor = output.image_embeds if self.kind == "clip" else output.pooler_output
        return row[:, None]

    def _encode_patches(self, pixels: Tensor) -> Tensor:
        """SigLIP 2 with native aspect ratio takes a list of patches and its grid's shape."""
        patches, grid = patchify(pixels, self.trunk.config.patch_size)
        count = len(pixels)
        row: Tensor = self.trunk(
            patches,
            pixel_attention_mask=torch.ones(
                patches.shape[:2], dtype=torch.long, device=pixels.device
            ),
            spatial_shapes=torch.tensor([grid] * count, device=pixels.device),
        ).pooler_output
        return row[:, None]


class TextTower(nn.Module):
    """A sentence encoder: token ids in, a row out.

    Args:
        config: which encoder.
        dim: D; a linear head is added where the encoder's own rows have another length.
        pretrained: load weights from `config.source` instead of drawing them.
    """

    def __init__(self, config: TextEncoderConfig, dim: int, pretrained: bool = False) -> None:
        super().__init__()
        self.kind = config.kind
        self.trunk = _build(TEXT_FAMILIES[config.kind], config.config, config.source, pretrained)
        settings = self.trunk.config
        width = settings.projection_dim if config.kind == "clip" else settings.projection_size
        self.head = nn.Identity() if width == dim else nn.Linear(width, dim, bias=False)
        if config.max_tokens > settings.max_position_embeddings:
            raise ModelError(
                f"the text encoder has {settings.max_position_embeddings} positions, fewer than "
                f"max_tokens = {config.max_tokens}: lower max_tokens."
            )

    @property
    def fixed_length(self) -> bool:
        """Whether sentences are always filled up to `max_tokens`, as SigLIP was trained."""
        return self.kind != "clip"

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode.

        Args:
            ids: int64 (B, L).
            mask: int64 (B, L), 1 at real tokens.

        Returns:
            Rows (B, D), not normalised.
        """
        return self.project(self.features(ids, mask))

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What the last layer receives, (B, F) in the tower's own width; arguments as `forward`."""
        if self.kind == "clip":
            pooled: Tensor = self.trunk.text_model(input_ids=ids, attention_mask=mask).pooler_output
            return pooled
        # SigLIP reads the filling too: it was trained without a mask.
        row: Tensor = self.trunk(input_ids=ids).pooler_output
        return row

    def project(self, features: Tensor) -> Tensor:
        """Features (B, F) to rows (B, D), not normalised."""
        row = self.trunk.text_projection(features) if self.kind == "clip" else features
        out: Tensor = self.head(row)
        return out


class GeneralizedMean(nn.Module):
    """Generalised mean over tokens, from the mean (p = 1) towards the maximum (p large).

    Radenović et al., 2018, eq. 3, with one learnable p. Computed in float32 and relative to each
    channel's maximum, so that no power over- or underflows.
    """

    def __init__(self, power: float = 3.0) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, tokens: Tensor) -> Tensor:
        """Pool (B, N, F) to (B, F); values below 1e-6 count as 1e-6."""
        values = tokens.float().clamp(min=1e-6)
        top = values.amax(dim=1, keepdim=True)
        power = self.power.float().clamp(min=1.0)
        mean = ((values / top) ** power).mean(dim=1)
        pooled: Tensor = mean ** (1 / power) * top[:, 0]
        return pooled


class SpatialPooling(nn.Module):
    """What there is and where: a generalised mean, and weighted means over learned maps.

    A panorama that faces north and a map with north up show a place in one order, which a mean
    over all positions forgets. After the spatial-aware aggregation of Shi et al., NeurIPS 2019
    (SAFA), with maps that are learned outright instead of being predicted.

    Args:
        positions: N, tokens of a picture; their order is their position.
        maps: M, how many weighted means.
    """

    def __init__(self, positions: int, maps: int = 8) -> None:
        super().__init__()
        self.gem = GeneralizedMean()
        self.maps = nn.Parameter(torch.randn(maps, positions) / positions**0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pool (B, N, F) to (B, (1 + M) * F), the generalised mean first."""
        placed = torch.einsum("mn,bnf->bmf", self.maps.float(), tokens.float())
        return torch.cat([self.gem(tokens), placed.flatten(1)], dim=1)


class Adapter(nn.Module):
    """Residual bottleneck of one view on a shared tower; does nothing until trained.

    Houlsby et al., 2019: the second layer starts at zero.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Add the view's correction to tokens (B, N, F)."""
        hidden = nn.functional.gelu(self.down(self.norm(tokens)))
        out: Tensor = tokens + self.up(hidden)
        return out


class ViewHead(nn.Module):
    """Tokens of one view (or of all) to a row: adapter, pooling, projection.

    Args:
        width: F of the tower.
        dim: D; the projection is left out where the tower's own embedding has this length.
        pooling: see `ImageEncoderConfig`.
        bottleneck: width of the adapter, or None for no adapter.
        positions: N, tokens of a picture; read by the pooling `spatial` alone.
    """

    def __init__(
        self, width: int, dim: int, pooling: str, bottleneck: int | None, positions: int = 0
    ) -> None:
        super().__init__()
        self.adapter = Adapter(width, bottleneck) if bottleneck else nn.Identity()
        self.pool: GeneralizedMean | SpatialPooling | None = None
        if pooling == "gem":
            self.pool = GeneralizedMean()
        elif pooling == "spatial":
            self.pool = SpatialPooling(positions)
            width *= 1 + len(self.pool.maps)
        ready = pooling == "projection" and width == dim
        # A generalised mean is positive: without a bias all rows would point much the same way.
        bias = pooling in ("gem", "spatial")
        self.projection = nn.Identity() if ready else nn.Linear(width, dim, bias=bias)

    def pooled(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, F) to one row, (B, F); under `spatial` it is as many times longer."""
        tokens = self.adapter(tokens)
        return self.pool(tokens) if self.pool else tokens.mean(dim=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, F) to rows (B, D), not normalised."""
        row: Tensor = self.projection(self.pooled(tokens))
        return row


def resnet_positions(config: ImageEncoderConfig, height: int, width: int) -> int:
    """How many tokens a ResNet makes of a picture; each halving rounds up."""
    stages = len(config.config.get("hidden_sizes", (256, 512, 1024, 2048)))
    factor = int(2 ** (stages + 1))
    return math.ceil(height / factor) * math.ceil(width / factor)


def patchify(pixels: Tensor, side: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut pictures into square patches.

    Args:
        pixels: (B, C, H, W), H and W multiples of `side`.
        side: of a patch, in pixels.

    Returns:
        Patches (B, rows * columns, side * side * C), row by row, channels last within a patch;
        and (rows, columns).
    """
    count, channels, height, width = pixels.shape
    if height % side or width % side:
        raise ModelError(
            f"pictures of {height} x {width} pixels cannot be cut into patches of {side}: "
            f"make height and width in `preprocess` multiples of {side}."
        )
    rows, columns = height // side, width // side
    grid = pixels.reshape(count, channels, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
    return grid.reshape(count, rows * columns, side * side * channels), (rows, columns)


def _image_width(settings: Any, config: ImageEncoderConfig) -> int:
    if config.kind == "resnet":
        return int(settings.hidden_sizes[-1])
    return int(settings.projection_dim if config.kind == "clip" else settings.hidden_size)


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position, (B, C, H, W) in and out.

    It computes in the precision it is given: autocast would widen to float32 and double the
    memory that moves, which is what a small network on a processor waits for.
    """

    def forward(self, maps: Tensor) -> Tensor:
        weight, bias = self.weight.to(maps.dtype), self.bias.to(maps.dtype)
        with torch.autocast(maps.device.type, enabled=False):
            rows = maps.permute(0, 2, 3, 1)
            rows = nn.functional.layer_norm(rows, self.normalized_shape, weight, bias, self.eps)
            return rows.permute(0, 3, 1, 2)


def _layer_norm(trunk: nn.Module) -> None:
    """Replace every batch normalisation by layer normalisation over channels."""
    for module in list(trunk.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, _ChannelNorm(child.num_features))


def _build(family: _Family, settings: dict[str, Any], source: str | None, pretrained: bool) -> Any:
    if pretrained and source:
        return _load(family, source)
    try:
        config = getattr(transformers, family.config)(**settings)
        return getattr(transformers, family.model)(config)
    except Exception as error:  # each kind of tower fails in its own way
        raise ModelError(
            f"a {family.model} cannot be built from its configuration "
            f"({_first_line(error)}): correct the `config` of the encoder."
        ) from error


def _load(family: _Family, source: str) -> Any:
    with _quiet():
        try:
            trunk, report = getattr(transformers, family.model).from_pretrained(
                source, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
        except Exception as error:  # hub, file and format errors share no base
            raise unreachable(source, error) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{source} lacks {len(missing)} weights of a {family.model} ({missing[0]}, ...): "
            f"name a folder or hub model of this kind."
        )
    return trunk


def unreachable(source: str, error: Exception) -> ModelError:
    """The error for pretrained weights that cannot be had, with the way out."""
    return ModelError(
        f"the pretrained encoder {source!r} cannot be loaded ({_first_line(error)}): "
        f"check the name and the connection, or download it elsewhere and pass its local folder "
        f"(config.json, model.safetensors, preprocessor_config.json, tokenizer.json) as source."
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200].rstrip(" .:")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the report on unused weights: leaving the other tower out is what we want."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        transformers.logging.enable_progress_bar()
