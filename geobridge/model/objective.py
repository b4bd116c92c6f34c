"""The anchor objective of the paper, for places of which any view may be missing.

L_total = L_img + L_text: the mean over the image-image edges and the mean over the text-image
edges of the symmetric InfoNCE loss of each edge (arXiv 2512.02697).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from geobridge.errors import ModelError
from geobridge.views import VIEWS, Modality

Edge = tuple[Modality, Modality]

IMAGE_EDGES: tuple[Edge, ...] = (
    ("drone", "street"),
    ("street", "satellite"),
    ("satellite", "drone"),
)
"""(d,p), (p,s), (s,d) of the paper."""

TEXT_EDGES: tuple[Edge, ...] = tuple(("text", view) for view in VIEWS)
"""The anchor with each view."""

ALL_EDGES: tuple[Edge, ...] = IMAGE_EDGES + TEXT_EDGES


def anchor_objective(
    embeddings: Mapping[Modality, Tensor],
    present: Mapping[Modality, Tensor],
    scale: Tensor,
    edges: Sequence[Edge] = ALL_EDGES,
    ignore: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw the pictures and the text of each place together.

    An edge counts the places that have both its modalities; an edge with fewer than two such
    places teaches nothing and is left out of the average. So a missing view removes its own terms
    and touches no other, and a triple and a quadruple weigh the same.

    Args:
        embeddings: unit-norm float (B, D) for each modality; row b is place b in all of them, and
            is not read where it is missing.
        present: bool (B,) for each modality: which places have it; all, where left out.
        scale: inverse temperature (not its logarithm), shape ().
        edges: pairs of modalities to compare; those without embeddings are left out.
        ignore: bool (B, B), pairs of places that must not be pushed apart (too close, or of the
            same text); a place always stays its own positive.
        label_smoothing: share of the target spread evenly over all places that count.

    Returns:
        The loss, shape (), and its terms: one for each edge (`drone-street`, ...), `image` and
        `text` where there are such edges, all detached.

    Raises:
        ModelError: no edge has two places in the batch.
    """
    losses: dict[Edge, Tensor] = {}
    for edge in edges:
        if edge[0] not in embeddings or edge[1] not in embeddings:
            continue
        rows = _shared_rows(embeddings, present, edge)
        if len(rows) < 2:
            continue
        first, second = embeddings[edge[0]][rows], embeddings[edge[1]][rows]
        skip = None if ignore is None else ignore[rows][:, rows]
        losses[edge] = info_nce(scale * first @ second.T, skip, label_smoothing)
    if not losses:
        raise ModelError(
            "no two places in the batch share a pair of modalities to learn from: make the batch "
            "larger, or choose edges that the data has."
        )
    groups = {
        "image": [loss for edge, loss in losses.items() if "text" not in edge],
        "text": [loss for edge, loss in losses.items() if "text" in edge],
    }
    means = {name: torch.stack(group).mean() for name, group in groups.items() if group}
    terms = {"-".join(edge): loss for edge, loss in losses.items()} | means
    total = torch.stack(list(means.values())).sum()
    return total, {name: term.detach() for name, term in terms.items()}


def info_nce(logits: Tensor, ignore: Tensor | None = None, label_smoothing: float = 0.0) -> Tensor:
    """Symmetric InfoNCE: each row must find its own column, and each column its own row.

    Args:
        logits: (N, N), scaled similarities; the right answers are on the diagonal.
        ignore: bool (N, N), pairs that are neither right nor wrong.
        label_smoothing: see `anchor_objective`.

    Returns:
        Mean over rows and columns, shape ().
    """
    keep = torch.ones_like(logits, dtype=torch.bool) if ignore is None else ~ignore
    keep = keep | torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    forward = _cross_entropy(logits.float(), keep, label_smoothing)
    backward = _cross_entropy(logits.float().T, keep.T, label_smoothing)
    return (forward + backward) / 2


def _cross_entropy(logits: Tensor, keep: Tensor, label_smoothing: float) -> Tensor:
    log_probability = logits.masked_fill(~keep, -torch.inf).log_softmax(dim=1)
    right = log_probability.diagonal()
    # -inf of what is not kept must not meet the zero weight: 0 * inf is no number.
    spread = log_probability.masked_fill(~keep, 0.0).sum(dim=1) / keep.sum(dim=1)
    return -((1 - label_smoothing) * right + label_smoothing * spread).mean()


def _shared_rows(
    embeddings: Mapping[Modality, Tensor], present: Mapping[Modality, Tensor], edge: Edge
) -> Tensor:
    """Indices of the places that have both modalities."""
    rows = embeddings[edge[0]]
    both = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    for modality in edge:
        if modality in present:
            both = both & present[modality].to(rows.device)
    return both.nonzero().flatten()
