"""The anchor objective of the paper, for places of which any view may be missing.

L_total = L_img + L_text: the mean over the image-image edges and the mean over the text-image
edges of the symmetric loss of each edge (arXiv 2512.02697).
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self, cast

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from geobridge.errors import ModelError
from geobridge.geo.distance import earth_centred_m
from geobridge.model.config import Settings, read_modality
from geobridge.views import VIEWS, Modality, View

Edge = tuple[Modality, Modality]

IMAGE_EDGES: tuple[Edge, ...] = (
    ("drone", "street"),
    ("street", "satellite"),
    ("satellite", "drone"),
)
"""(d,p), (p,s), (s,d) of the paper."""

TEXT_EDGES: tuple[Edge, ...] = tuple(("text", view) for view in VIEWS)
"""The anchor with each view."""

LEAST_PLACES = 2
"""An edge compares places with each other: fewer than these teach it nothing."""


class ObjectiveConfig(Settings):
    """What is minimised.

    Attributes:
        anchors: `both` draws views to each other and to the text (the paper), `none` only views
            to each other, `text-only` only views to the text.
        image_edges: pairs of views that are drawn together, as `[drone, satellite]` or `D-S`; the
            paper's three by default. `[D-S, P-S]` is the satellite-centric baseline. Not with
            the anchors `text-only`, which draw no two views together.
        text_views: views that the text is drawn to.
        loss: `info_nce` (a softmax over the batch, the paper) or `sigmoid` (each pair by itself,
            SigLIP, arXiv 2303.15343), which has a learnable bias beside its temperature.
        label_smoothing: share of each target that is spread evenly over all places that count.
        initial_temperature: the learnable temperature at the start of training from nothing.
        initial_bias: the learnable bias of the sigmoid loss at the start; the default is SigLIP's.
        max_scale: highest inverse temperature.
        radius_m: places nearer to each other than this many metres are no negatives; 0 switches
            it off.
        same_text: whether a text is no negative of the pictures of another place that may share
            it.
        false_negatives: what becomes of pairs that are no negatives: `mask` leaves them out,
            `positive` makes them right answers too, which share the target evenly.
        text_soft_targets: against captions that say wrong things: largest share of the target of
            text edges that is not the caption's own place but what the model finds already (soft
            bootstrapping, arXiv 1412.6596; on the gradient it acts as a smaller weight). A text
            gets the more of it, the less all views of its place together agree with it, compared
            with the best text of the batch. 0 takes every caption at its word. Not with the
            anchors `none`, which read no caption.
    """

    anchors: Literal["none", "text-only", "both"] = "both"
    image_edges: tuple[tuple[View, View], ...] = (
        ("drone", "street"),
        ("street", "satellite"),
        ("satellite", "drone"),
    )
    text_views: tuple[View, ...] = VIEWS
    loss: Literal["info_nce", "sigmoid"] = "info_nce"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    initial_temperature: float = Field(default=0.07, gt=0)
    initial_bias: float = -10.0
    max_scale: float = Field(default=100.0, gt=0)
    radius_m: float = Field(default=0.0, ge=0)
    same_text: bool = True
    false_negatives: Literal["mask", "positive"] = "mask"
    text_soft_targets: float = Field(default=0.0, ge=0, le=1)

    @field_validator("image_edges", mode="before")
    @classmethod
    def _read_edges(cls, value: Any) -> Any:
        return (
            tuple(_read_edge(edge) for edge in value) if isinstance(value, list | tuple) else value
        )

    @field_validator("text_views", mode="before")
    @classmethod
    def _read_views(cls, value: Any) -> Any:
        is_list = isinstance(value, list | tuple)
        return tuple(read_modality(view, VIEWS) for view in value) if is_list else value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        pairs = [frozenset(edge) for edge in self.image_edges]
        if any(len(pair) < 2 for pair in pairs) or len(set(pairs)) < len(pairs):
            raise ValueError("image_edges are pairs of two different views, each pair once")
        if len(set(self.text_views)) < len(self.text_views):
            raise ValueError("text_views names a view twice")
        if not self.edges():
            raise ValueError("no edge is left: name image_edges, text_views or other anchors")
        if self.initial_temperature * self.max_scale < 1:
            raise ValueError(
                f"initial_temperature {self.initial_temperature} is below 1 / max_scale: raise it"
            )
        return self

    @model_validator(mode="after")
    def _nothing_idle(self) -> Self:
        """What would say nothing is refused; a resolved configuration names every default."""
        texts = any("text" in edge for edge in self.edges())
        idle = {
            "image_edges": self.anchors == "text-only" and "anchors 'text-only'",
            "text_views": self.anchors == "none" and "anchors 'none'",
            "text_soft_targets": not texts and "an objective without text",
            "same_text": not texts and "an objective without text",
            "initial_bias": self.loss != "sigmoid" and f"loss {self.loss!r}",
        }
        for name, beside in idle.items():
            if beside and self.differs(name):
                raise ValueError(f"{name} means nothing beside {beside}: leave one out")
        if self.false_negatives == "positive" and not (self.radius_m or (texts and self.same_text)):
            raise ValueError(
                "false_negatives means nothing where none are looked for: set radius_m, or leave "
                "it out"
            )
        return self

    def edges(self) -> tuple[Edge, ...]:
        """The pairs of modalities that are drawn together, those of images first."""
        images: tuple[Edge, ...] = () if self.anchors == "text-only" else self.image_edges
        texts: tuple[Edge, ...] = tuple(("text", view) for view in self.text_views)
        return images if self.anchors == "none" else images + texts

    @property
    def initial_logit_scale(self) -> float:
        """Log of the inverse temperature at the start."""
        return -math.log(self.initial_temperature)

    def clamped_scale(self, logit_scale: Tensor) -> Tensor:
        """The inverse temperature, at most `max_scale`, with gradient.

        The parameter itself is held at the limit, as CLIP does between steps: where only its value
        were cut, nothing could ever bring it back.

        Args:
            logit_scale: learnable log of the inverse temperature, shape (); changed in place.
        """
        with torch.no_grad():
            logit_scale.clamp_(max=math.log(self.max_scale))
        return logit_scale.exp()


class FalseNegatives(NamedTuple):
    """Pairs of different places that must not be pushed apart, bool (B, B) each.

    Attributes:
        image: on edges between views: places that are near each other.
        text: on edges with the text: these, and places that may share a text.
    """

    image: Tensor
    text: Tensor


def false_negatives(
    lat: Tensor, lon: Tensor, text_key: Tensor, config: ObjectiveConfig
) -> FalseNegatives:
    """Which pairs of a batch are no negatives, by `radius_m` and `same_text`.

    Args:
        lat: float64 (B,), WGS-84 degrees; a place of unknown position (NaN) is near to none.
        lon: float64 (B,), the same.
        text_key: int64 (B,), equal where places may share a text.
        config: the objective.

    Returns:
        Two symmetric masks, false on the diagonal, where `lat` is.
    """
    near = torch.zeros(len(lat), len(lat), dtype=torch.bool, device=lat.device)
    if config.radius_m:
        points = torch.from_numpy(earth_centred_m(lat.cpu().numpy(), lon.cpu().numpy()))
        points = points.to(lat.device)
        # By differences, not by a product: that would lose metres to cancellation.
        mode = "donot_use_mm_for_euclid_dist"
        near = torch.cdist(points, points, compute_mode=mode) < config.radius_m
    near = near.fill_diagonal_(False)
    if not config.same_text:
        return FalseNegatives(near, near)
    shared = (text_key[:, None] == text_key[None, :]).fill_diagonal_(False)
    return FalseNegatives(near, near | shared)


def teaching_edges(present: Mapping[Modality, Tensor], config: ObjectiveConfig) -> tuple[Edge, ...]:
    """The edges that a batch can teach: two of its places at least have both modalities.

    Args:
        present: bool (B,) for each modality that is compared: which places have it.
        config: the objective.
    """
    return tuple(
        (first, second)
        for first, second in config.edges()
        if first in present
        and second in present
        and int((present[first] & present[second]).sum()) >= LEAST_PLACES
    )


def anchor_objective(
    embeddings: Mapping[Modality, Tensor],
    present: Mapping[Modality, Tensor],
    scale: Tensor,
    config: ObjectiveConfig,
    masks: FalseNegatives | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw the pictures and the text of each place together.

    An edge counts the places that have both its modalities; an edge with fewer than two such
    places teaches nothing and is left out of the average. So a missing view removes its own terms
    and touches no other, and a triple and a quadruple weigh the same.

    One edge at a time is held in memory: its (B, B) tables are computed again on the way back.

    Args:
        embeddings: unit-norm float (B, D) for each modality; row b is place b in all of them, and
            is not read where it is missing.
        present: bool (B,) for each modality: which places have it; all, where left out.
        scale: inverse temperature (not its logarithm), shape ().
        config: what is compared, and how; edges without embeddings are left out.
        masks: see `false_negatives`; where left out, all other places are negatives.
        bias: of the sigmoid loss, shape (); the caller holds it as a parameter that starts at
            `config.initial_bias`.

    Returns:
        The loss, shape (), and its terms: one for each edge (`drone-street`, ...), `image` and
        `text` where there are such edges, all detached.

    Raises:
        ModelError: no edge has two places in the batch, or the sigmoid loss has no bias.
    """
    if config.loss == "sigmoid" and bias is None:
        raise ModelError(
            "the sigmoid loss has a learnable bias: pass one that starts at initial_bias."
        )
    has = {modality: _has(embeddings, present, modality) for modality in embeddings}
    losses: dict[Edge, Tensor] = {}
    for edge in teaching_edges(has, config):
        rows = (has[edge[0]] & has[edge[1]]).nonzero().flatten()
        losses[edge] = checkpoint(
            _edge_loss, edge, embeddings, present, rows, scale, config, masks, bias,
            use_reentrant=False, preserve_rng_state=False,
        )  # fmt: skip
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


class _Pairs(NamedTuple):
    """The pairs of one edge, bool (N, N): which count at all, and which of them are right."""

    keep: Tensor
    right: Tensor


class _Targets(NamedTuple):
    """What each row of an edge should find among the columns, and each column among the rows.

    Float (N, N) both, zero where pairs do not count.
    """

    forward: Tensor
    backward: Tensor


def _edge_loss(
    edge: Edge,
    embeddings: Mapping[Modality, Tensor],
    present: Mapping[Modality, Tensor],
    rows: Tensor,
    scale: Tensor,
    config: ObjectiveConfig,
    masks: FalseNegatives | None,
    bias: Tensor | None,
) -> Tensor:
    """Loss of one edge over the places `rows`, shape ()."""
    # Half precision would leave a scaled similarity three digits.
    with torch.autocast(scale.device.type, enabled=False):
        first, second = (embeddings[modality][rows].float() for modality in edge)
        logits = scale * first @ second.T
        if config.loss == "sigmoid":
            logits = logits + cast(Tensor, bias)
        near = torch.zeros_like(logits, dtype=torch.bool)
        if masks is not None:
            near = (masks.text if "text" in edge else masks.image).to(rows.device)[rows][:, rows]
        pairs = _pairs(near, config)
        targets = _targets(pairs, config)
        if config.text_soft_targets and "text" in edge:
            doubt = _doubt(_place_logits(embeddings, present, rows, scale), pairs)
            targets = _softened(targets, logits, pairs, config.text_soft_targets * doubt, config)
        if config.loss == "sigmoid":
            return _sigmoid_loss(logits, pairs, targets)
        return _info_nce(logits, pairs, targets)


def _info_nce(logits: Tensor, pairs: _Pairs, targets: _Targets) -> Tensor:
    """Each row must find its column, and each column its row: mean over both directions."""
    masked = logits.masked_fill(~pairs.keep, -torch.inf)
    # Targets sum to one, so cross-entropy is the log of the sum less the mean of what is right.
    forward = masked.logsumexp(dim=1) - (targets.forward * logits).sum(dim=1)
    backward = masked.logsumexp(dim=0) - (targets.backward * logits).sum(dim=0)
    return (forward.mean() + backward.mean()) / 2


def _sigmoid_loss(logits: Tensor, pairs: _Pairs, targets: _Targets) -> Tensor:
    """Each pair is right or wrong by itself; the sum over pairs for each place."""
    target = (targets.forward + targets.backward) / 2
    losses = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (losses * pairs.keep).sum() / len(logits)


def _pairs(near: Tensor, config: ObjectiveConfig) -> _Pairs:
    """What becomes of places that are near each other or share a text."""
    own = torch.eye(len(near), dtype=torch.bool, device=near.device)
    if config.false_negatives == "mask":
        return _Pairs(~near | own, own)
    return _Pairs(torch.ones_like(near), near | own)


def _targets(pairs: _Pairs, config: ObjectiveConfig) -> _Targets:
    """Right answers share each target evenly, or are right each by itself; then smoothing."""
    right = pairs.right.float()
    forward, backward = (
        torch.lerp(
            right / right.sum(dim, keepdim=True) if config.loss == "info_nce" else right,
            pairs.keep / pairs.keep.sum(dim, keepdim=True),
            config.label_smoothing,
        )
        for dim in (1, 0)
    )
    return _Targets(forward, backward)


@torch.no_grad()
def _softened(
    targets: _Targets, logits: Tensor, pairs: _Pairs, shares: Tensor, config: ObjectiveConfig
) -> _Targets:
    """Targets of which a share, (N,) by place, is what the model finds already."""
    if config.loss == "sigmoid":
        found = logits.sigmoid() * pairs.keep
        forward, backward = found, found
    else:
        masked = logits.masked_fill(~pairs.keep, -torch.inf)
        forward, backward = masked.softmax(dim=1), masked.softmax(dim=0)
    return _Targets(
        torch.lerp(targets.forward, forward, shares[:, None]),
        torch.lerp(targets.backward, backward, shares[None, :]),
    )


@torch.no_grad()
def _doubt(logits: Tensor, pairs: _Pairs) -> Tensor:
    """How much less than the best text of the batch each one is found at its own place: (N,), 0..1.

    Found is the geometric mean of both directions. It is compared with the best one, not with
    certainty: an untrained model, that finds none, doubts none.
    """
    masked = logits.masked_fill(~pairs.keep, -torch.inf)
    # Logarithms throughout: the probability of a text that is wholly wrong is zero in float32.
    forward, backward = (
        masked.log_softmax(dim).masked_fill(~pairs.right, -torch.inf).logsumexp(dim)
        for dim in (1, 0)
    )
    found = (forward + backward) / 2
    return 1 - (found - found.max()).exp()


@torch.no_grad()
def _place_logits(
    embeddings: Mapping[Modality, Tensor],
    present: Mapping[Modality, Tensor],
    rows: Tensor,
    scale: Tensor,
) -> Tensor:
    """Scaled similarity of each text to each place: the mean over the views it has, (N, N)."""
    text = embeddings["text"][rows].float()
    total, views = torch.zeros_like(text), torch.zeros_like(text[:, :1])
    for view in VIEWS:
        if view in embeddings:
            has = _has(embeddings, present, view)[rows][:, None]
            total += torch.where(has, embeddings[view][rows].float(), 0)
            views += has
    return scale * text @ (total / views).T


def _has(
    embeddings: Mapping[Modality, Tensor], present: Mapping[Modality, Tensor], modality: Modality
) -> Tensor:
    """Which places have the modality, bool (B,)."""
    rows = embeddings[modality]
    if modality in present:
        return present[modality].to(rows.device)
    return torch.ones(len(rows), dtype=torch.bool, device=rows.device)


def _read_edge(edge: Any) -> Any:
    """`[drone, satellite]`, `D-S` or `drone-satellite` as a pair of words."""
    parts = edge.split("-") if isinstance(edge, str) else edge
    if not isinstance(parts, list | tuple):
        return parts
    return tuple(read_modality(part, VIEWS) for part in parts)
