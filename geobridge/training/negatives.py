"""Which places meet in a batch: at random, or beside others that are hard to tell from them.

A contrastive batch teaches as much as its hardest pairs do. Hard ones are first the neighbours on
the ground and later what the model itself confuses, as Sample4Geo does for its two views (Deuser
et al., ICCV 2023, arXiv 2303.11851); here for every edge of the objective, text included.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from geobridge.errors import MissingExtraError, TrainingError
from geobridge.geo.distance import earth_centred_m
from geobridge.model.config import Settings
from geobridge.model.objective import Edge
from geobridge.training.batch import Source
from geobridge.views import Modality

try:
    from scipy.spatial import cKDTree
except ImportError as error:  # pragma: no cover - exercised where the extra is absent
    raise MissingExtraError("Training", "scipy", "train") from error

Rows = NDArray[np.int64]
Neighbours = NDArray[np.int32]

_BLOCK = 2**24
"""Most elements of any one intermediate array: 64 MiB of similarities, 128 MiB of distances."""


class NegativesConfig(Settings):
    """Which places meet in a batch.

    Attributes:
        kind: `random`; `neighbours` fills part of each batch with neighbours on the ground;
            `mined` takes the places that the model finds most similar, and from drawn weights
            neighbours on the ground until it has seen all places for the first time.
        share: of a batch, that is chosen for being hard. Each of the others, drawn at random,
            gets share / (1 - share) hard ones: one at 0.5, nine at 0.9.
        starts: share of the run (0 to 1) after which hard places come in. From the very start
            they would keep the loss where it begins.
        full: share of the run from which on `share` is reached; it rises linearly in between.
        nearest: how many neighbours of each place are remembered.
        refresh_epochs: epochs between two minings, and before the first where the weights are
            drawn; a trained model (`model.init`) mines as soon as hard places come in. Of `mined`
            alone.
    """

    kind: Literal["random", "neighbours", "mined"] = "random"
    share: float = Field(default=0.5, ge=0, le=1)
    starts: float = Field(default=0.15, ge=0, le=1)
    full: float = Field(default=0.6, ge=0, le=1)
    nearest: int = Field(default=64, ge=1)
    refresh_epochs: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.full < self.starts:
            raise ValueError(f"full {self.full} comes before starts {self.starts}: let it be later")
        return self

    @model_validator(mode="after")
    def _nothing_idle(self) -> Self:
        if self.kind != "mined" and self.differs("refresh_epochs"):
            raise ValueError(
                f"refresh_epochs means nothing beside kind {self.kind!r}, which mines nothing: "
                f"leave it out"
            )
        return self

    def share_at(self, progress: float) -> float:
        """The hard share of a batch, 0 to `share`, when `progress` (0 to 1) of a run is done."""
        if self.kind == "random" or progress < self.starts:
            return 0.0
        if progress >= self.full:
            return self.share
        return self.share * (progress - self.starts) / (self.full - self.starts)


@dataclass(frozen=True)
class Forbidden:
    """Which of N places are no hard negatives of each other: same ground, or same text.

    Attributes:
        lat: float64 (N,), WGS-84 degrees; NaN where unknown, and then no place is near.
        lon: float64 (N,), the same.
        text_key: int64 (N,), equal where places may share a text.
        radius_m: places up to this distance in metres show the same ground.
    """

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    text_key: NDArray[np.int64]
    radius_m: float

    def __len__(self) -> int:
        """N."""
        return len(self.text_key)

    def of(self, places: slice, device: torch.device) -> tuple[Tensor, Tensor]:
        """What to hide from some places, themselves included.

        Returns:
            Two times bool (R, N) for the R places of the slice: the same ground, which counts for
            every edge, and the same ground or text, which counts for edges with text.
        """
        ground = self._ground.to(device)
        keys = torch.as_tensor(self.text_key, device=device)
        # Not as one matrix product: it would round the square of the earth's radius.
        exact = "donot_use_mm_for_euclid_dist"
        near = torch.cdist(ground[places], ground, compute_mode=exact) <= self.radius_m
        own = torch.arange(len(self), device=device)
        near |= own[places, None] == own
        return near, near | (keys[places, None] == keys)

    def digest(self) -> str:
        """Stands for the places in their order: where they are and what they may tell."""
        # To a metre: another machine may compute the last bits of a position differently.
        parts = (self.lat.round(5), self.lon.round(5), self.text_key)
        return hashlib.blake2b(b"".join(part.tobytes() for part in parts)).hexdigest()

    @cached_property
    def _ground(self) -> Tensor:
        return torch.from_numpy(earth_centred_m(self.lat, self.lon))


def geographic_neighbours(
    lat: NDArray[np.float64], lon: NDArray[np.float64], nearest: int, apart_m: float
) -> Neighbours:
    """The nearest other places that do not show the same ground.

    Two neighbours of one place may still be near each other; the objective's own mask covers that.

    Args:
        lat: float64 (N,), WGS-84 degrees, NaN where unknown.
        lon: float64 (N,), the same.
        nearest: K, how many.
        apart_m: only places farther away than this count, in metres (straight through the
            ground, which differs from the geodesic by a millimetre at 10 km).

    Returns:
        int32 (N, K), the nearest first, equally near ones (to the millimetre) by index; -1 where
        there are no more, and for places of unknown position.
    """
    found = np.full((len(lat), nearest), -1, np.int32)
    ground = earth_centred_m(lat, lon)
    known = np.flatnonzero(np.isfinite(ground).all(axis=1))
    if len(known) < 2:
        return found
    ground = ground[known]
    tree = cKDTree(ground)
    undecided, asked = np.arange(len(known)), nearest + nearest // 4 + 2
    # Who has many places within `apart_m`, or a tie at the end, asks again for twice as many.
    while len(undecided):
        asked = min(asked, len(known))
        again = [undecided[:0]]
        for start in range(0, len(undecided), max(1, _BLOCK // 8 // asked)):
            part = undecided[start : start + max(1, _BLOCK // 8 // asked)]
            distance_m, index = tree.query(ground[part], asked, workers=-1)
            # Whole millimetres, or the last bit would choose between two sides of a street.
            best, enough = _first_beyond(np.round(distance_m, 3), index, nearest, apart_m)
            enough |= asked == len(known)
            found[known[part[enough]], : best.shape[1]] = np.where(best < 0, -1, known[best])[
                enough
            ]
            again.append(part[~enough])
        undecided, asked = np.concatenate(again), 2 * asked
    return found


def _first_beyond(
    distance_m: NDArray[np.float64], index: Rows, nearest: int, apart_m: float
) -> tuple[Rows, NDArray[np.bool_]]:
    """The nearest of (R, k) found places beyond a distance, and whether k were enough to tell.

    Returns:
        int64 (R, up to `nearest`), -1 where fewer are beyond; and bool (R,): asking for more
        places would change nothing.
    """
    beyond = distance_m > apart_m
    order = np.lexsort((index, distance_m, ~beyond))[:, :nearest]
    best = np.where(np.take_along_axis(beyond, order, 1), np.take_along_axis(index, order, 1), -1)
    # Those as far as the last one may have equals that were not asked for.
    before_last = beyond & (distance_m < distance_m.max(axis=1, keepdims=True))
    return best, before_last.sum(axis=1) >= nearest


@dataclass(frozen=True)
class _Held:
    """Embeddings of one modality: float32 (n, D), of places int64 (n,), and the way back (N,)."""

    embeddings: Tensor
    places: Tensor
    row_of: Tensor


def mined_neighbours(
    embeddings: Mapping[Modality, NDArray[np.float32] | Tensor],
    rows: Mapping[Modality, Rows | Tensor],
    edges: Sequence[Edge],
    nearest: int,
    forbidden: Forbidden,
) -> Neighbours:
    """The places that a model finds most similar, and should not.

    For every edge a-b and both its ways, each place that has a and b is compared with the b of all
    others that have both: these are the pairs that the objective pushes apart. The lists of the
    ways are interleaved, first the most similar of each, then the second of each, so that every
    edge has its say.

    Besides the embeddings it holds intermediates of at most 2**24 elements (a few hundred MiB
    together) and the result, never N x N.

    Args:
        embeddings: float (n, D) for each modality, rows of unit norm, in memory or on a CUDA
            device, where the work is then done.
        rows: int64 (n,) for each modality, which of the N places each row is of, none twice.
        edges: pairs of modalities; those without embeddings are left out.
        nearest: K, how many.
        forbidden: what must not be a neighbour; its length is N.

    Returns:
        int32 (N, K), the most confusing first and no place twice in a row; equally similar
        places by index; -1 where there are no more.

    Raises:
        TrainingError: an embedding is not finite, or rows do not fit the embeddings.
    """
    held = {
        name: _hold(name, torch.as_tensor(embeddings[name]), rows[name], len(forbidden))
        for name in embeddings
    }
    ways = [
        (held[a], held[b], "text" in edge)
        for edge in edges
        for a, b in (edge, edge[::-1])
        if a in held and b in held
    ]
    found = np.full((len(forbidden), nearest), -1, np.int32)
    if not ways:
        return found
    step = max(1, _BLOCK // max(len(forbidden), nearest * len(ways)))
    for start in range(0, len(forbidden), step):
        places = slice(start, min(start + step, len(forbidden)))
        same_ground, same = forbidden.of(places, ways[0][0].embeddings.device)
        best = [
            _most_similar(places, asked, answers, same if text else same_ground, nearest)
            for asked, answers, text in ways
        ]
        by_rank = torch.stack(best, dim=2).flatten(1).cpu().numpy()
        found[places] = _first_of_each(by_rank, nearest)
    return found


def _hold(modality: Modality, embeddings: Tensor, rows: Rows | Tensor, count: int) -> _Held:
    embeddings = embeddings.detach().float()
    places = torch.as_tensor(rows).to(embeddings.device)
    if len(places) != len(embeddings):
        raise TrainingError(
            f"there are {len(embeddings)} embeddings of {modality} but {len(places)} rows that "
            f"say which places they are of: give one for each."
        )
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < count:
        raise TrainingError(
            f"the embeddings of {modality} are of places {int(places.min())} to "
            f"{int(places.max())}, but there are {count}: embed the source that is trained on."
        )
    row_of = torch.full((count,), -1, device=embeddings.device)
    row_of[places] = torch.arange(len(places), device=embeddings.device)
    if int((row_of >= 0).sum()) < len(places):
        raise TrainingError(
            f"some place has more than one embedding of {modality}: give one for each place."
        )
    bad = (~embeddings.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        raise TrainingError(
            f"the embedding of place {int(places[bad[0]])} in {modality} is not finite "
            f"({len(bad)} of {len(embeddings)}): go back to the last good checkpoint and lower "
            f"the learning rate."
        )
    return _Held(embeddings, places, row_of)


def _most_similar(
    places: slice, asked: _Held, answers: _Held, hidden: Tensor, nearest: int
) -> Tensor:
    """int64 (R, nearest): for a slice of R places, whose answers are most similar; -1 for none."""
    found = torch.full((len(hidden), nearest), -1, device=hidden.device)
    has_both = (asked.row_of >= 0) & (answers.row_of >= 0)
    here = has_both[places]
    queries = asked.embeddings[asked.row_of[places][here]]
    if not len(queries):
        return found
    similarity = queries @ answers.embeddings.T
    hidden = hidden[here][:, answers.places] | ~has_both[answers.places]
    similarity.masked_fill_(hidden, -torch.inf)
    values, columns = _top(similarity, answers.places, min(nearest, len(answers.places)))
    best = torch.where(values == -torch.inf, -1, answers.places[columns])
    found[here, : best.shape[1]] = best
    return found


def _top(similarity: Tensor, places: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row (R, n) and their columns, equal ones by the index of the place."""
    values, columns = similarity.topk(min(k + 1, similarity.shape[1]), dim=1)
    # `topk` chooses freely among equals; it matters where some of them are not among the k.
    tied = (values[:, k:] == values[:, k - 1 : k]).any(dim=1)
    values, columns = values[:, :k], columns[:, :k]
    if bool(tied.any()):
        by_place = places.argsort()
        ordered = similarity[tied][:, by_place]
        columns[tied] = by_place[_lowest_columns(ordered, values[tied, -1:], k)]
        values[tied] = similarity[tied].gather(1, columns[tied])
    order = places[columns].argsort(dim=1)
    order = order.gather(1, values.gather(1, order).argsort(dim=1, descending=True, stable=True))
    return values.gather(1, order), columns.gather(1, order)


def _lowest_columns(values: Tensor, last: Tensor, k: int) -> Tensor:
    """Columns (R, k): all above the `last` value of a row, the first of those that equal it."""
    above, equal = values > last, values == last
    room = k - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= room))
    return chosen.nonzero()[:, 1].view(len(values), k)


def _first_of_each(places: Rows, nearest: int) -> Rows:
    """int64 (R, nearest): the entries of (R, M) in their order, without repetitions and -1."""
    order = places.argsort(axis=1, kind="stable")
    ascending = np.take_along_axis(places, order, axis=1)
    drop = ascending < 0
    drop[:, 1:] |= ascending[:, 1:] == ascending[:, :-1]
    dropped = np.empty_like(drop)
    np.put_along_axis(dropped, order, drop, axis=1)
    # M is K times the number of ways, so K columns are always there.
    kept = dropped.argsort(axis=1, kind="stable")[:, :nearest]
    return np.where(
        np.take_along_axis(dropped, kept, axis=1), -1, np.take_along_axis(places, kept, axis=1)
    )


def epoch_batches(
    count: int, batch: int, seed: int, epoch: int, neighbours: Neighbours | None, share: float
) -> Rows:
    """The batches of one epoch, a pure function of the arguments.

    Every place comes at most once; those that fill no whole batch wait for another epoch. With
    neighbours each batch begins with random places, (1 - share) of it, and grows by neighbours of
    those it has, first the nearest of each, then the second of each, then neighbours of these;
    where none is left, by random places.

    Args:
        count: N, how many places there are.
        batch: how many make a batch.
        seed: of the draws, 0 or more.
        epoch: 0-based.
        neighbours: int32 (N, K), nearest first, -1 for none; None for random batches.
        share: of each batch, 0 to 1, that are neighbours; at least one place is random.

    Returns:
        int64 (N // batch, batch), the random places of each batch first.

    Raises:
        TrainingError: there are fewer places than one batch takes.
    """
    if count < batch:
        raise TrainingError(
            f"there are {count} places, and one batch takes {batch}: make the batch smaller or add "
            f"places."
        )
    order = np.random.default_rng([seed, epoch]).permutation(count)
    batches = count // batch
    hard = min(round(share * batch), batch - 1)
    if neighbours is None or not hard:
        return order[: batches * batch].reshape(batches, batch)
    free = np.ones(count, np.bool_)
    deck = _Deck(order, free)
    out = np.empty((batches, batch), np.int64)
    for row in out:
        random = deck.deal(batch - hard)
        near = _grow(random, hard, neighbours, free)
        row[:] = np.concatenate([random, near, deck.deal(hard - len(near))])
    return out


class _Deck:
    """Places in an order, dealt to whoever asks; those that are not free any more are passed."""

    def __init__(self, order: Rows, free: NDArray[np.bool_]) -> None:
        self._order = order
        self._free = free
        self._next = 0

    def deal(self, n: int) -> Rows:
        """The next n free places, which are free no more; there must be as many."""
        dealt = [self._order[:0]]
        while n:
            part = self._order[self._next : self._next + n]
            self._next += n
            part = part[self._free[part]]
            self._free[part] = False
            n -= len(part)
            dealt.append(part)
        return np.concatenate(dealt)


def _grow(places: Rows, room: int, neighbours: Neighbours, free: NDArray[np.bool_]) -> Rows:
    """Up to `room` free neighbours of places and of what they bring, which are free no more."""
    grown = [places[:0]]
    while room and len(places):
        near = neighbours[places].T.ravel()
        near = near[near >= 0]
        near = near[free[near]]
        first = np.unique(near, return_index=True)[1]
        places = near[np.sort(first)][:room].astype(np.int64)
        free[places] = False
        room -= len(places)
        grown.append(places)
    return np.concatenate(grown)


class BatchOrder:
    """Which places of one source make the batch of each step.

    Where several processes train together, all draw the same joint batch and each takes its part
    of it; they must therefore hold the same mined neighbours (mine in one, and hand its
    `state_dict` to the others: two machines may round a similarity differently).
    """

    def __init__(
        self,
        config: NegativesConfig,
        source: Source,
        edges: Sequence[Edge],
        batch: int,
        seed: int,
        radius_m: float,
        rank: int = 0,
        world_size: int = 1,
        trained: bool = False,
    ) -> None:
        """Order the places of a source.

        Args:
            config: which places meet.
            source: gives name, number, positions and text keys of its places.
            edges: of the objective; what is mined for.
            batch: places of this source in the batch of one process.
            seed: of the draws, 0 or more.
            radius_m: places up to this distance apart are no neighbours: they show the same.
            rank: of this process, 0-based.
            world_size: how many processes there are.
            trained: whether the model begins with trained weights, which can be mined with at once.

        Raises:
            TrainingError: the source has fewer places than one joint batch takes.
        """
        joint = batch * world_size
        if len(source) < joint:
            processes = f" for {world_size} processes" if world_size > 1 else ""
            raise TrainingError(
                f"{source.name} has {len(source)} places, and one batch takes {joint} of "
                f"them{processes}: make the batch smaller or add places."
            )
        self.batches_per_epoch = len(source) // joint
        self._config = config
        self._name = source.name
        self._edges = tuple(edges)
        self._joint = joint
        self._part = slice(rank * batch, (rank + 1) * batch)
        self._seed = seed
        self._forbidden = Forbidden(source.lat, source.lon, source.text_key, radius_m)
        self._mined: Neighbours | None = None
        self._mined_epoch = -1 if trained else 0
        self._drawn: tuple[tuple[int, float], Rows] | None = None

    def rows(self, step: int, progress_of: Callable[[int], float]) -> Rows:
        """Which places make this process's part of a batch.

        Args:
            step: 0-based, of the whole run.
            progress_of: the share of the run (0 to 1) that is done before a step. It is asked
                about the first step of the epoch, so that all its batches are drawn at once.

        Returns:
            int64 (batch,).
        """
        epoch = step // self.batches_per_epoch
        share = self._share(epoch, progress_of)
        if self._drawn is None or self._drawn[0] != (epoch, share):
            neighbours = self._neighbours if share else None
            count = len(self._forbidden)
            drawn = epoch_batches(count, self._joint, self._seed, epoch, neighbours, share)
            self._drawn = (epoch, share), drawn
        return self._drawn[1][step % self.batches_per_epoch, self._part].copy()

    def needs_mining(self, epoch: int, progress_of: Callable[[int], float]) -> bool:
        """Whether to call `mine` before the first batch of an epoch is drawn.

        It is due in every `refresh_epochs`-th epoch, once hard places come in; in the first only
        with trained weights.
        """
        if self._config.kind != "mined" or not self._share(epoch, progress_of):
            return False
        due = epoch - epoch % self._config.refresh_epochs
        return self._mined_epoch < due

    def mine(
        self,
        embeddings: Mapping[Modality, NDArray[np.float32] | Tensor],
        rows: Mapping[Modality, Rows | Tensor],
        epoch: int,
    ) -> None:
        """From `epoch` on, hard places are those that these embeddings confuse.

        See `mined_neighbours` for the arguments.

        Raises:
            TrainingError: an embedding is not finite, or rows do not fit the embeddings.
        """
        nearest = self._config.nearest
        self._mined = mined_neighbours(embeddings, rows, self._edges, nearest, self._forbidden)
        self._mined_epoch = epoch
        self._drawn = None

    def state_dict(self) -> dict[str, Any]:
        """What cannot be drawn again: the mined neighbours, int32 (N, K), and since which epoch."""
        mined = None if self._mined is None else torch.from_numpy(self._mined.copy())
        return {
            "places": len(self._forbidden),
            "digest": self._forbidden.digest(),
            "mined": mined,
            "mined_epoch": self._mined_epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the one that gave the state.

        Raises:
            TrainingError: it came from a source of another size, or of other places.
        """
        if state["places"] != len(self._forbidden):
            raise TrainingError(
                f"the run was started when {self._name} had {state['places']} places, and now it "
                f"has {len(self._forbidden)}: restore the places, or start a new run."
            )
        if state.get("digest", self._forbidden.digest()) != self._forbidden.digest():
            raise TrainingError(
                f"the places of {self._name} lie elsewhere, tell something else or come in another "
                f"order than when the run was started: restore them, or start a new run."
            )
        self._mined = None if state["mined"] is None else state["mined"].numpy().copy()
        self._mined_epoch = int(state["mined_epoch"])
        self._drawn = None

    def _share(self, epoch: int, progress_of: Callable[[int], float]) -> float:
        return self._config.share_at(progress_of(epoch * self.batches_per_epoch))

    @property
    def _neighbours(self) -> Neighbours:
        return self._on_the_ground if self._mined is None else self._mined

    @cached_property
    def _on_the_ground(self) -> Neighbours:
        where = self._forbidden
        return geographic_neighbours(where.lat, where.lon, self._config.nearest, where.radius_m)
