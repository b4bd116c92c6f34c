"""What is measured: sets of items that are embedded, and tasks that look one up in another."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import EvaluationError
from geobridge.imagery.street import StreetField
from geobridge.views import Direction, Modality

Content = Path | str | Callable[[], NDArray[np.uint8]]
"""A picture's file, a text, or a function that makes a picture, uint8 (H, W, 3) RGB."""

Geodesy = Literal["wgs84", "haversine-6371", "haversine-6378.137", "cosines-6371.004", "plane"]
"""How metres between two positions are told.

`wgs84` is on the ellipsoid; `haversine-R` and `cosines-R` are the haversine and the spherical law
of cosines on a sphere of R km, as published code has them; `plane` is Euclid in metres of a map.
"""


@dataclass(frozen=True)
class Items:
    """A set of pictures of one view, or of texts.

    Attributes:
        modality: of all items.
        names: N names, none twice: what reports call them.
        contents: N pictures or texts.
        places: N ids of what they show; the same id is the same place. None where there are none.
        lat, lon: float64 (N,), WGS-84 degrees, NaN where unknown; None where no item has any.
        xy_m: float64 (N, 2), metres east and north on a map of their own, for geodesy `plane`.
        regions: N names of cities, countries or heights, by which results are broken down.
        fields: N angles of street pictures whose shape does not tell them, such as parts cut out
            of a strip; None entries are told as `imagery.street_field` does.
    """

    modality: Modality
    names: Sequence[str]
    contents: Sequence[Content]
    places: Sequence[str] | None = None
    lat: NDArray[np.float64] | None = None
    lon: NDArray[np.float64] | None = None
    xy_m: NDArray[np.float64] | None = None
    regions: Sequence[str] | None = None
    fields: Sequence[StreetField | None] | None = None

    def __post_init__(self) -> None:
        for field in ("contents", "places", "lat", "lon", "xy_m", "regions", "fields"):
            value = getattr(self, field)
            if value is not None and len(value) != len(self.names):
                raise EvaluationError(
                    f"a set of {len(self.names)} {self.modality} items has {len(value)} {field}: "
                    f"give one for each."
                )
        if len(set(self.names)) < len(self.names):
            raise EvaluationError(
                f"a set of {self.modality} items has a name twice: make names unique."
            )

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Relevance:
    """Which references belong to each of Q queries: compressed rows.

    Attributes:
        starts: int64 (Q + 1,); query q has `rows[starts[q] : starts[q + 1]]`.
        rows: int64, references.
    """

    starts: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, lists: Iterable[Sequence[int] | NDArray[np.int64]]) -> Self:
        """From one list of references a query, empty where it has none."""
        parts = [np.asarray(part, np.int64) for part in lists]
        starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return cls(starts, np.concatenate([np.zeros(0, np.int64), *parts]))

    @classmethod
    def same(cls, queries: Sequence[str], references: Sequence[str]) -> Self:
        """References of the same id as the query, ascending."""
        held: dict[str, list[int]] = {}
        for row, name in enumerate(references):
            held.setdefault(name, []).append(row)
        return cls.of([held.get(name, []) for name in queries])

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, query: int) -> NDArray[np.int64]:
        return self.rows[self.starts[query] : self.starts[query + 1]]

    @property
    def counts(self) -> NDArray[np.int64]:
        """int64 (Q,), how many references each query has."""
        return np.diff(self.starts)

    def transposed(self, references: int) -> Self:
        """Which queries belong to each of that many references, ascending."""
        queries = np.repeat(np.arange(len(self), dtype=np.int64), self.counts)
        counts = np.bincount(self.rows, minlength=references)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return type(self)(starts, queries[np.argsort(self.rows, kind="stable")])


@dataclass(frozen=True)
class Sdm:
    """Spatial distance metric: how SDM@K turns a distance into a score, exp(-scale * d).

    Attributes:
        unit: `degrees` (Euclid over lon and lat: DenseUAV) or `metres` (GTA-UAV).
        scale: 5e3 for DenseUAV, 1e-3 for GTA-UAV.
        float32: compute with coordinates rounded to float32, as DenseUAV's own code does.
    """

    unit: Literal["degrees", "metres"]
    scale: float
    float32: bool = False


@dataclass(frozen=True)
class Task:
    """Queries of one set that are looked up in another, and what is right.

    Attributes:
        name: unique within its benchmark, such as `D2S` or `D2S 150 m`.
        direction: of the lookup.
        queries: name of the set of queries.
        gallery: name of the set of references.
        positives: right references of each query, as rows of `gallery_rows`; ordered by the
            queries of `query_rows`.
        query_rows: int64 (Q,), which items of the set are asked; None for all.
        gallery_rows: int64 (G,), which items of the set are ranked; None for all.
        semipositives: references that a hit rate forgives (VIGOR), ordinary rivals elsewhere.
        candidates: the only references that compete for each query; None for all.
        recall_at: the k of R@k.
        percent_of: how many references one per cent is taken of, where that is not the gallery.
        matched_only: average precision is averaged over queries that have a positive; otherwise
            one that has none counts 0.
        radii_m: the d of L@d, share of queries whose first reference is at most d metres away.
        geodesy: how metres are told.
        sdm: how SDM@K is told; None for none.
        headline: the measures that the data set's own rules ask for, in their order; names as in
            `evaluation.scores`.
        remarks: what a reader of the numbers must know of this task, in whole sentences.
    """

    name: str
    direction: Direction
    queries: str
    gallery: str
    positives: Relevance
    query_rows: NDArray[np.int64] | None = None
    gallery_rows: NDArray[np.int64] | None = None
    semipositives: Relevance | None = None
    candidates: Relevance | None = None
    recall_at: tuple[int, ...] = (1, 5, 10)
    percent_of: int | None = None
    matched_only: bool = False
    radii_m: tuple[float, ...] = (50.0, 100.0, 150.0)
    geodesy: Geodesy = "wgs84"
    sdm: Sdm | None = None
    headline: tuple[str, ...] = ("R@1", "R@5", "R@10")
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """A benchmark as it lies on the disk.

    Attributes:
        sets: of items, by name.
        tasks: between them.
        remarks: what differs from what was published or is left out, in whole sentences.
    """

    sets: Mapping[str, Items]
    tasks: tuple[Task, ...]
    remarks: tuple[str, ...] = ()
