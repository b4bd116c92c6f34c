"""Loss and gradient of a batch that two processes share; run by `torchrun`, or read by a test.

    python -m torch.distributed.run --standalone --nproc-per-node 2 two_processes.py OUT

Each process writes OUT/RANK.pt.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from geobridge.model.objective import ObjectiveConfig, anchor_objective, false_negatives
from geobridge.training.batch import Batch
from geobridge.training.caching import cached_step
from geobridge.training.gather import (
    average_gradients,
    gather_features,
    gather_places,
    gather_rows,
)

CPU = torch.device("cpu")
WIDTHS = {"drone": 3, "street": 4, "satellite": 5, "text": 6}
SETTINGS = {
    "masked": ObjectiveConfig(radius_m=50),
    "positive": ObjectiveConfig(radius_m=50, false_negatives="positive", label_smoothing=0.1),
    "soft": ObjectiveConfig(radius_m=50, text_soft_targets=0.4),
    "sigmoid": ObjectiveConfig(loss="sigmoid", same_text=False),
}
# The first process has no street picture, the second no text; five places and three.
HELD = (
    {"drone": [0, 1, 2, 4], "satellite": [0, 2, 3, 4], "text": [0, 1, 3, 4]},
    {"drone": [0, 2], "street": [0, 1, 2], "satellite": [1, 2]},
)
COUNTS = (5, 3)


def part(rank):
    """The batch of one process, and the numbers that stand for its pictures and sentences."""
    generator = torch.Generator().manual_seed(rank)
    rows = {name: torch.tensor(held) for name, held in HELD[rank].items()}
    # Places 20 m apart, some of them of unknown position; the same texts in both processes.
    lat = 48 + torch.arange(COUNTS[rank], dtype=torch.float64) * 20 / 111_200
    lat[1] = torch.nan
    batch = Batch(
        {}, [], rows, lat, torch.full_like(lat, 11.0 + rank), torch.arange(COUNTS[rank]) // 2,
        [f"{rank}-{place}" for place in range(COUNTS[rank])],
    )  # fmt: skip
    inputs = {
        name: torch.randn(len(held), WIDTHS[name], generator=generator)
        for name, held in rows.items()
    }
    return batch, inputs


def joint():
    """The batch of both processes in one, put together by hand."""
    (first, one), (second, two) = part(0), part(1)
    rows = {
        name: torch.tensor(
            [*HELD[0].get(name, []), *(COUNTS[0] + row for row in HELD[1].get(name, []))]
        )
        for name in WIDTHS
    }
    batch = Batch(
        {}, [], rows, torch.cat([first.lat, second.lat]), torch.cat([first.lon, second.lon]),
        torch.cat([first.text_key, second.text_key]), [*first.names, *second.names],
    )  # fmt: skip
    inputs = {
        name: torch.cat([held[name] for held in (one, two) if name in held]) for name in WIDTHS
    }
    return batch, inputs


class Model(torch.nn.Module):
    """An encoder of each modality, and a last layer that is used after gathering."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.encoders = torch.nn.ModuleDict(
            {
                name: torch.nn.Sequential(torch.nn.Linear(width, 9), torch.nn.Tanh())
                for name, width in WIDTHS.items()
            }
        )
        self.project = torch.nn.ModuleDict({name: torch.nn.Linear(9, 4) for name in WIDTHS})
        self.unused = torch.nn.Linear(2, 2)
        self.log_scale = torch.nn.Parameter(torch.tensor(1.5))
        self.bias = torch.nn.Parameter(torch.tensor(-2.0))


def loss_and_gradients(batch, inputs, config, chunk):
    """Loss, and gradient of every parameter after averaging over processes."""
    model = Model()

    def loss_of(features):
        places = gather_places(batch, CPU)
        embeddings = {
            name: torch.zeros(len(places), 4).index_copy(
                0,
                places.rows[name],
                torch.nn.functional.normalize(model.project[name](rows), dim=1),
            )
            for name, rows in gather_features(features, CPU).items()
        }
        masks = false_negatives(places.lat, places.lon, places.text_key, config)
        loss, _ = anchor_objective(
            embeddings, places.present, model.log_scale.exp(), config, masks, model.bias
        )
        return loss

    loss = cached_step(
        lambda name, first, last: model.encoders[name](inputs[name][first:last]),
        {name: len(rows) for name, rows in inputs.items()},
        chunk,
        loss_of,
        torch.Tensor.backward,
    )
    average_gradients(model.parameters())
    return {"loss": loss} | {name: weight.grad for name, weight in model.named_parameters()}


def everything(batch, inputs):
    """Of every setting, at once and with gradient caching."""
    return {
        f"{name} {chunk}": loss_and_gradients(batch, inputs, config, chunk)
        for name, config in SETTINGS.items()
        for chunk in (100, 2)
    }


def gathered_rows():
    """Rows of half precision through `gather_rows`, and what comes back to them."""
    rank = dist.get_rank()
    rows = torch.full((rank + 1, 2), float(rank + 1), dtype=torch.bfloat16, requires_grad=True)
    frozen = torch.zeros(rank * 2, 3)
    found = gather_rows(rows)
    # Each process says something else about the rows.
    ((found * (rank + 1)).sum() + gather_rows(frozen).sum()).backward()
    return {"rows": found.detach(), "gradient": rows.grad, "count": len(gather_rows(frozen))}


def main():
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    batch, inputs = part(rank)
    places = gather_places(batch, CPU)
    found = {
        "steps": everything(batch, inputs),
        "rows": gathered_rows(),
        "places": [places.rows, places.lat, places.lon, places.text_key],
    }
    torch.save(found, Path(sys.argv[1]) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
