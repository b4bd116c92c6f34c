"""Batch statistics before the last layers, folded into the weights when a model is saved."""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from geobridge.errors import TrainingError
from geobridge.model.geobridge import GeoBridge
from geobridge.model.towers import TextTower
from geobridge.views import Modality

MOMENTUM = 0.05
EPSILON = 1e-5


class Standardizer(nn.Module):
    """Brings what each last layer receives to mean 0 and variance 1, by modality.

    Drawn weights give nearly the same row for every picture (cosine 0.98), and a contrastive loss
    answers by making all rows one: it stays at the logarithm of the batch exactly. Rows of
    standardised features with no constant added cannot be one. So the biases of the last layers
    are held at zero while this is in use; saving puts mean and deviation into the weights.

    Statistics are of the joint batch: give it the features of all processes.

    Args:
        model: whose biases are frozen at zero.

    Raises:
        TrainingError: a modality has no last linear layer to fold the statistics into.
    """

    def __init__(self, model: GeoBridge) -> None:
        super().__init__()
        for modality in model.modalities:
            layer = _last_layer(model, modality)
            self.register_buffer(f"{modality}_mean", torch.zeros(layer.in_features))
            self.register_buffer(f"{modality}_variance", torch.ones(layer.in_features))
            if layer.bias is not None:
                layer.bias.requires_grad_(False).zero_()

    def forward(self, modality: Modality, features: Tensor) -> Tensor:
        """Standardise features (B, F): by the batch in training, else by running statistics."""
        rows = features.float()
        mean, variance = self._statistics(modality)
        if self.training and len(rows) > 1:
            found, middle = torch.var_mean(rows, dim=0)
            mean.lerp_(middle.detach(), MOMENTUM)
            variance.lerp_(found.detach(), MOMENTUM)
            mean, variance = middle, found
        return (rows - mean) / (variance + EPSILON).sqrt()

    @torch.no_grad()
    def folded(self, model: GeoBridge) -> GeoBridge:
        """A copy of the model that gives the same rows without standardising."""
        model = copy.deepcopy(model)
        for modality in model.modalities:
            mean, variance = self._statistics(modality)
            deviation = (variance + EPSILON).sqrt()
            layer = _last_layer(model, modality)
            if layer.bias is not None:
                layer.weight /= deviation
                layer.bias.sub_(layer.weight @ mean)
            else:
                # The text's last layer adds no constant, but the normalisation before it does.
                before = cast(TextTower, model.text).trunk.text_model.final_layer_norm
                before.weight /= deviation
                before.bias.sub_(mean).div_(deviation)
        return model

    def _statistics(self, modality: Modality) -> tuple[Tensor, Tensor]:
        mean, variance = f"{modality}_mean", f"{modality}_variance"
        return self.get_buffer(mean), self.get_buffer(variance)


def _last_layer(model: GeoBridge, modality: Modality) -> nn.Linear:
    """The layer that makes the embedding of a modality, if statistics can be folded into it."""
    if modality == "text":
        tower = cast(TextTower, model.text)
        if tower.kind == "clip" and isinstance(tower.head, nn.Identity):
            return cast(nn.Linear, tower.trunk.text_projection)
    elif model.config.weights != "shared":
        layer = model.head(modality).projection
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            return layer
    raise TrainingError(
        f"the {modality} of model {model.name!r} has no last layer that batch statistics can be "
        f"folded into: set fit.standardize to false, which trained weights do not need."
    )
