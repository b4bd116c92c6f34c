"""What several processes do together: join their batches, share one gradient.

Every process computes the loss of the joint batch from gathered features. The gradient that comes
back to a process is the sum of what all processes say about its rows: after averaging over
processes, as data-parallel training does, each holds the gradient that one process with the joint
batch would have. Alone, where `torch.distributed` is not initialised, everything passes unchanged.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from geobridge.training.batch import Batch
from geobridge.views import MODALITIES, Modality


@dataclass(frozen=True)
class Places:
    """What the loss needs to know of the B places of a batch, of one process or of all.

    Attributes:
        rows: for each modality that any place has, int64 (n,), ascending: which places have it.
        lat: float64 (B,), WGS-84 degrees, NaN where the position is unknown.
        lon: float64 (B,), the same.
        text_key: int64 (B,), equal where places may share a text.
    """

    rows: dict[Modality, Tensor]
    lat: Tensor
    lon: Tensor
    text_key: Tensor

    def __len__(self) -> int:
        """B."""
        return len(self.lat)

    @property
    def present(self) -> dict[Modality, Tensor]:
        """Which places have each modality of `rows`: bool (B,)."""
        nobody = torch.zeros(len(self), dtype=torch.bool, device=self.lat.device)
        return {name: nobody.index_fill(0, rows, True) for name, rows in self.rows.items()}


def gather_rows(tensor: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks, with gradients.

    All processes must call it together, and go back through it together.

    Args:
        tensor: (n, ...), n may differ between processes and be zero; the rest, the dtype and the
            kind of device may not.

    Returns:
        (sum of n, ...), the same in every process.
    """
    if not is_distributed():
        return tensor
    counts = [int(count) for count in _all_gather(torch.tensor([len(tensor)]).to(tensor.device))]
    # Where this process has nothing to learn from its rows another may have: all must take part in
    # the backward pass, and the token makes sure of it.
    token = torch.zeros((), requires_grad=tensor.is_floating_point())
    return cast(Tensor, _GatherRows.apply(tensor, token, counts))  # type: ignore[no-untyped-call]


def gather_features(
    features: Mapping[Modality, Tensor], device: torch.device
) -> dict[Modality, Tensor]:
    """Features of the joint batch, with gradients; a modality may be missing in some processes.

    Args:
        features: float (n, F) for each modality of this process, n rows, of any precision.
        device: of all features; needed where a process has none.

    Returns:
        float32 (sum of n, F) for each modality that any process has rows of, in the order of
        `MODALITIES`; the same in every process.
    """
    held = {m: features[m].float() for m in MODALITIES if len(features.get(m, ()))}
    if not is_distributed():
        return held
    shape = torch.tensor([tuple(held[m].shape) if m in held else (0, 0) for m in MODALITIES])
    shapes = torch.stack(_all_gather(shape.to(device))).tolist()
    # One flat row of numbers a process: a single exchange forwards and a single one backwards.
    flat = torch.cat([torch.zeros(0, device=device), *(rows.flatten() for rows in held.values())])
    sizes = [count * width for process in shapes for count, width in process]
    parts = torch.split(gather_rows(flat), sizes)
    joint: dict[Modality, Tensor] = {}
    for index, modality in enumerate(MODALITIES):
        width = max(process[index][1] for process in shapes)
        if width:
            own = [part.reshape(-1, width) for part in parts[index :: len(MODALITIES)]]
            joint[modality] = torch.cat(own)
    return joint


def gather_places(batch: Batch, device: torch.device) -> Places:
    """What the loss needs to know of the places of all processes, in the order of their ranks.

    Row numbers count the places of the joint batch, so that rows gathered by `gather_features`
    belong to them one by one.

    Args:
        batch: of this process.
        device: to bring everything to.
    """
    present = torch.stack([batch.present(modality) for modality in MODALITIES], dim=1)
    # Positions travel as the bits of integers: one exchange for all columns, and nothing is lost.
    columns = [batch.lat.view(torch.int64), batch.lon.view(torch.int64), batch.text_key]
    table = torch.cat([torch.stack(columns, dim=1), present.long()], dim=1)
    lat, lon, text_key, *held = (column.clone() for column in gather_rows(table.to(device)).T)
    rows = {name: has.nonzero().flatten() for name, has in zip(MODALITIES, held, strict=True)}
    return Places(
        {name: numbers for name, numbers in rows.items() if len(numbers)},
        lat.view(torch.float64),
        lon.view(torch.float64),
        text_key,
    )


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients; a missing one counts as zero.

    A parameter without gradient in every process keeps none. Those that are divided between the
    processes (DTensor) are left alone: their gradients are averaged where they are divided. All
    processes must call it together, with the same parameters in the same order.
    """
    if not is_distributed():
        return
    learning = [p for p in parameters if p.requires_grad and not isinstance(p, DTensor)]
    if not learning:
        return
    device = learning[0].device
    reached = torch.tensor([parameter.grad is not None for parameter in learning], device=device)
    reached = reached.int()
    dist.all_reduce(reached, dist.ReduceOp.MAX)
    learning = [learning[index] for index in reached.nonzero().flatten().tolist()]
    for parameter in learning:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [cast(Tensor, parameter.grad) for parameter in learning]
    for group in _by_dtype(gradients):
        flat = torch.cat([gradient.flatten() for gradient in group])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        means = torch.split(flat, [gradient.numel() for gradient in group])
        for gradient, mean in zip(group, means, strict=True):
            gradient.copy_(mean.view_as(gradient))


def of_first(value: float, device: torch.device) -> float:
    """The value of the first process, where clocks and disks may differ; all call it together."""
    if not is_distributed():
        return value
    told = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(told, 0)
    return float(told)


def is_distributed() -> bool:
    """Whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, token: Tensor, counts: list[int]) -> Tensor:  # noqa: ARG004
        ctx.counts = counts
        # The collectives take equal shapes only: shorter parts are filled up, and cut again.
        padded = tensor.new_zeros((max(counts), *tensor.shape[1:]))
        padded[: len(tensor)] = tensor
        parts = _all_gather(padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        total = gradient.float() if gradient.dtype.itemsize < 4 else gradient.clone()
        total = total.contiguous()
        dist.all_reduce(total)
        own = torch.split(total, ctx.counts)[dist.get_rank()]
        return own.to(gradient.dtype), None, None


def _all_gather(tensor: Tensor) -> list[Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return parts


def _by_dtype(gradients: list[Tensor]) -> list[list[Tensor]]:
    groups: dict[torch.dtype, list[Tensor]] = {}
    for gradient in gradients:
        groups.setdefault(gradient.dtype, []).append(gradient)
    return list(groups.values())
