"""Large contrastive batches in small memory: gradient caching.

Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021 (arXiv
2101.06983). A loss over a whole batch reaches the encoder only through the features. So: encode the
batch in parts without gradients, take the loss and its gradient at the features, then encode each
part again and go back from its features with the gradient that is theirs. Only one part's
activations are in memory at a time, for one more forward pass.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from geobridge.errors import TrainingError
from geobridge.views import Modality

Encode = Callable[[Modality, int, int], Tensor]
"""Encodes items `first` to `last` (excluded) of a modality: float (last - first, F)."""


def cached_step(
    encode: Encode,
    sizes: Mapping[Modality, int],
    chunk: int,
    loss_of: Callable[[dict[Modality, Tensor]], Tensor],
    backward: Callable[[Tensor], object],
) -> Tensor:
    """Loss and gradients of a batch, with at most `chunk` items of one modality in memory.

    The gradients are those of the batch computed at once, as long as the features of an item
    depend on that item only: batch normalisation inside the encoder breaks this. Each part's
    random draws (dropout) are the same in both passes, and the generators go on as if there were
    one. Where every modality fits in one part, everything is computed at once.

    Args:
        encode: differentiable; called twice for each part.
        sizes: how many items of each modality there are; those with none are left out.
        chunk: most items encoded at once.
        loss_of: the loss, shape (), of the features (n, F) of all items. Parameters that it uses
            get their gradients through `backward`.
        backward: goes back from the loss, `Tensor.backward` or what a trainer has instead. It may
            scale the loss (as is done in float16): all gradients carry the same factor.

    Returns:
        The loss, detached.

    Raises:
        TrainingError: `chunk` is less than one.
    """
    if chunk < 1:
        raise TrainingError(f"a part of {chunk} items cannot be encoded: set chunk to 1 or more.")
    parts = [part for name, size in sizes.items() for part in _cut(name, size, chunk)]
    if all(size <= chunk for size in sizes.values()):
        loss = loss_of({part.modality: encode(*part) for part in parts})
        backward(loss)
        return loss.detach()
    states = []
    features: dict[Modality, list[Tensor]] = {}
    with torch.no_grad():
        for part in parts:
            states.append(_random_state())
            features.setdefault(part.modality, []).append(encode(*part))
    # Autocast keeps the weights it has cast, and those cast here know no gradient in torch older
    # than its pull request 165068.
    torch.clear_autocast_cache()
    leaves = {name: torch.cat(held).requires_grad_() for name, held in features.items()}
    del features
    loss = loss_of(dict(leaves))
    backward(loss)
    for part, state in zip(parts, states, strict=True):
        gradient = leaves[part.modality].grad
        if gradient is not None:
            with _replayed(state):
                again = encode(*part)
            if again.requires_grad:
                torch.autograd.backward(again, gradient[part.first : part.last])
    return loss.detach()


class _Part(NamedTuple):
    modality: Modality
    first: int
    last: int


def _cut(modality: Modality, size: int, chunk: int) -> list[_Part]:
    starts = range(0, size, chunk)
    return [_Part(modality, first, min(first + chunk, size)) for first in starts]


def _random_state() -> list[Tensor]:
    """States of the generators that an encoder may draw from."""
    device = torch.accelerator.current_accelerator(check_available=True)
    states = [torch.get_rng_state()]
    if device is not None:
        states.append(torch.get_device_module(device).get_rng_state())
    return states


def _set_random_state(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.get_device_module().set_rng_state(states[1])


@contextmanager
def _replayed(states: list[Tensor]) -> Iterator[None]:
    """Draw again from these states, then go on from where the generators are now."""
    now = _random_state()
    _set_random_state(states)
    try:
        yield
    finally:
        _set_random_state(now)
