"""An exponential moving average of the weights: a smoother model than the last step's."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from geobridge.errors import TrainingError
from geobridge.model.geobridge import GeoBridge


class WeightAverage:
    """The running average of a model's parameters and buffers.

    The first update takes the weights as they are. With k updates behind it, each later one keeps
    min(decay, (1 + k) / (10 + k)) of the average, so that a short run is not held back by where
    it began. Integer buffers are taken as they are.

    Args:
        model: is copied; the copy doubles the memory of the weights, not of the gradients.
        decay: share of the average that stays in the long run, in (0, 1).

    Raises:
        TrainingError: the decay is out of range.
    """

    def __init__(self, model: GeoBridge, decay: float) -> None:
        if not 0 < decay < 1:
            raise TrainingError(
                f"a moving average cannot have the decay {decay}: choose one between 0 and 1, "
                f"such as 0.999."
            )
        self.decay = decay
        self._averaged = AveragedModel(model, multi_avg_fn=self._blend, use_buffers=True)
        self._averaged.requires_grad_(False).eval()

    @property
    def model(self) -> GeoBridge:
        """The model with the averaged weights, in evaluation mode: embed with it, save it."""
        return cast(GeoBridge, self._averaged.module)

    def update(self, model: GeoBridge) -> None:
        """Take in the weights of a step; the average follows the model to its device."""
        if self.model.device != model.device:
            self.model.to(model.device)
        self._averaged.update_parameters(model)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on, as tensors by name."""
        return self._averaged.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            TrainingError: it was taken of another model.
        """
        try:
            self._averaged.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).splitlines()[-1].strip().rstrip(".")
            raise TrainingError(
                f"the state of the averaged weights does not fit model {self.model.name!r} "
                f"({first}): resume with the configuration that the run was started with."
            ) from None

    @torch.no_grad()
    def _blend(
        self,
        averages: tuple[Tensor, ...] | list[Tensor],
        values: tuple[Tensor, ...] | list[Tensor],
        _: Tensor | int,
    ) -> None:
        """Called by torch with tensors of one dtype; its own function would round integers."""
        if averages[0].is_floating_point():
            count = int(self._averaged.n_averaged)  # on the CPU: no waiting for the device
            keep = min(self.decay, (1 + count) / (10 + count))
            torch._foreach_lerp_(averages, values, 1 - keep)
        else:
            torch._foreach_copy_(averages, values)
