"""The public face that joins the rooms: a gallery that is asked where something is."""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from geobridge.errors import GalleryError, GeoBridgeError, ModelError, QueryError
from geobridge.gallery.search import ExactSearch
from geobridge.gallery.store import GalleryStore, references
from geobridge.geo.distance import check_position, distance_m
from geobridge.localization.calibration import (
    Calibration,
    calibrate,
    calibration_for,
    keep_calibrations,
    query_kind,
    radius_of,
)
from geobridge.localization.estimate import Candidate, Estimate, estimate_position
from geobridge.localization.position import HYPOTHESES, Hypotheses, errors_m, find_mode
from geobridge.localization.query import (
    ROTATIONS,
    PreparedQuery,
    Query,
    embed_prepared_queries,
    prepare_query,
)
from geobridge.model.geobridge import GeoBridge, check_device
from geobridge.progress import Step, silent
from geobridge.views import Modality, View

if TYPE_CHECKING:
    from geobridge.gallery.build import Progress

T = TypeVar("T")

Within = tuple[float, float, float]
"""Latitude and longitude in degrees, and a radius in kilometres."""

CALIBRATION_PHOTOS = 300
"""Simulated photos that a model is calibrated on; the nine-in-ten point rests on 30 of them."""

CALIBRATION_SEED = 1_000_003
"""Of their places and looks: not one that an adaptation is likely to have trained with."""

# Queries embedded and searched together; the pictures of one such chunk are in memory at once.
_CHUNK = 16
# Shortest degree of latitude on the ellipsoid (at the equator), less a little.
_METRES_PER_DEGREE_LAT = 110_000.0


@dataclass(frozen=True)
class _Found:
    """The references most similar to one query, best first.

    Attributes:
        similarity: (K,) float32, the best over the query's variants.
        row: (K,) int64, of the gallery.
        variant: (K,) int64, which variant of the query was that similar.
    """

    similarity: NDArray[np.float32]
    row: NDArray[np.int64]
    variant: NDArray[np.int64]


class Gallery:
    """References of known position, in memory, and the model that embedded them.

    Open one with `Gallery.open`, make one with `Gallery.build`.

    Args:
        store: the gallery on the disk.
        model: the model that built it.

    Raises:
        GalleryError: another model built it.
    """

    def __init__(self, store: GalleryStore, model: GeoBridge) -> None:
        store.check_model(model)
        self.store = store
        self.model = model
        self.metadata = store.metadata()
        self._search = ExactSearch(store.vectors())
        self._lat = self.metadata["lat"].to_numpy()
        self._lon = self.metadata["lon"].to_numpy()
        self._size_m = self.metadata["size_m"].to_numpy()
        self._modality = np.asarray(self.metadata["modality"].to_pylist(), dtype=str)

    @classmethod
    def build(
        cls,
        source: str | Path | Sequence[str | Path],
        model: GeoBridge,
        *,
        view: View,
        out: str | Path,
        footprint_m: float = 100.0,
        stride_m: float = 25.0,
        text: bool = False,
        whole_tiles: bool = False,
        batch_size: int = 32,
        progress: "Progress | None" = None,
    ) -> "Gallery":
        """Index one or several sources and open the result.

        Run again after an interruption it continues; run with another source or view and the
        same `out` it adds to the gallery.

        Args:
            source: a GeoTIFF, a folder of XYZ tiles or of photos, a table, a places data set.
            model: embeds the references.
            view: where the pictures were taken from.
            out: the gallery's folder.
            footprint_m: side of the ground windows cut from a raster or tiles, and of
                pictures whose extent nobody states.
            stride_m: distance between neighbouring windows.
            text: whether the sentences of a table or places data set become references too.
            whole_tiles: whether a folder of tiles gives its tiles, in place of windows over them.
            batch_size: pictures in one forward pass.
            progress: called with how many items are done, and of how many where known.

        Raises:
            SourceError: a source cannot be read or holds nothing.
            GalleryError: `out` belongs to another model or is something else.
        """
        from geobridge.gallery.build import build_gallery
        from geobridge.gallery.sources import open_source

        paths = [source] if isinstance(source, str | Path) else source
        sources = [
            open_source(
                path,
                view,
                footprint_m=footprint_m,
                stride_m=stride_m,
                text=text,
                whole_tiles=whole_tiles,
            )
            for path in paths
        ]
        build_gallery(sources, model, out, batch_size=batch_size, progress=progress)
        return cls(GalleryStore.open(out), model)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        model: GeoBridge | str | Path | None = None,
        device: str = "cpu",
    ) -> "Gallery":
        """Open a gallery with the model that built it.

        Args:
            folder: the gallery.
            model: the model, its name or its folder; by default the one it was built with,
                from where that was loaded.
            device: where a model that has to be loaded computes.

        Raises:
            GalleryError: there is none, it is half-written, or another model built it.
            ModelError: the model asked for cannot be loaded.
        """
        store = GalleryStore.open(folder)
        if isinstance(model, GeoBridge):
            return cls(store, model)
        check_device(device)
        if model is not None:
            return cls(store, GeoBridge.load(model, device=device))
        return cls(store, _load_recorded(store, device))

    def __len__(self) -> int:
        return len(self._search)

    def __repr__(self) -> str:
        return f"Gallery({str(self.store.path)!r}, {len(self)} references, {self.model.name!r})"

    def info(self) -> dict[str, Any]:
        """What the gallery is: model, sources, counts, footprints; plain values for JSON."""
        return self.store.info()

    def locate(
        self,
        query: Query,
        *,
        top: int = 5,
        within: Within | None = None,
        reference: Modality | None = None,
        rotations: int = ROTATIONS,
    ) -> Estimate:
        """Where a query was taken.

        Args:
            query: one or several modalities of one place.
            top: how many candidates the estimate lists; it is always computed from the same 100.
            within: only references whose centre is inside this circle.
            reference: only references of this modality; by default all, whichever are most
                similar.
            rotations: headings tried for a drone photo of unknown heading.

        Raises:
            QueryError: nothing can be asked that way (empty circle, no such references).
            ModelError: the model lacks a modality of the query.
            ImageError: a picture cannot be read.
        """
        return self.locate_many(
            [query], top=top, within=within, reference=reference, rotations=rotations
        )[0]

    def locate_many(
        self,
        queries: Sequence[Query],
        *,
        top: int = 5,
        within: Within | None = None,
        reference: Modality | None = None,
        rotations: int = ROTATIONS,
    ) -> list[Estimate]:
        """Where each of many queries was taken: arguments and errors as in `locate`.

        They are embedded in batches and searched with one matrix product a batch. The first
        query that fails ends it; `locate_each` goes on.
        """
        estimates = []
        for answer in self.locate_each(
            queries, top=top, within=within, reference=reference, rotations=rotations
        ):
            if isinstance(answer, GeoBridgeError):
                raise answer
            estimates.append(answer)
        return estimates

    def locate_each(
        self,
        queries: Sequence[Query],
        *,
        top: int = 5,
        within: Within | None = None,
        reference: Modality | None = None,
        rotations: int = ROTATIONS,
    ) -> Iterator[Estimate | GeoBridgeError]:
        """One answer a query, in order: an estimate, or the error that stands in its place.

        Arguments as in `locate`. What is wrong with the search itself (`within`, `reference`,
        `top`) is raised.
        """
        if top < 1:
            raise QueryError(f"top must be at least 1, not {top}.")
        mask = self._allowed(within, reference)
        footprint_m = self._footprint_m(reference)
        for start in range(0, len(queries), _CHUNK):
            chunk = queries[start : start + _CHUNK]
            prepared = [
                _attempt(lambda query=query: prepare_query(  # type: ignore[misc]
                    query, self.model, footprint_m=footprint_m, rotations=rotations
                ))
                for query in chunk
            ]  # fmt: skip
            yield from self._answer(chunk, prepared, mask, top)

    def search(
        self,
        queries: Sequence[Query],
        *,
        within: Within | None = None,
        reference: Modality | None = None,
        rotations: int = ROTATIONS,
    ) -> list[Hypotheses]:
        """What an estimate is made of: the 100 most similar references of each query.

        `calibrate` and `reliability` take these together with the true positions. Arguments and
        errors as in `locate`.
        """
        mask = self._allowed(within, reference)
        footprint_m = self._footprint_m(reference)
        found = []
        for start in range(0, len(queries), _CHUNK):
            prepared = [
                prepare_query(query, self.model, footprint_m=footprint_m, rotations=rotations)
                for query in queries[start : start + _CHUNK]
            ]
            found += self._find(embed_prepared_queries(prepared, self.model), mask, HYPOTHESES)
        return [
            Hypotheses.of(f.similarity, self._lat[f.row], self._lon[f.row], self._size_m[f.row])
            for f in found
        ]

    def draw(self, estimate: Estimate, out: str | Path, query: Query | None = None) -> list[str]:
        """Draw an answer over the gallery's own imagery.

        Args:
            estimate: the answer.
            out: a file ending in `.html` (one self-contained page) or `.png`.
            query: its pictures and text are shown beside the map.

        Returns:
            One sentence for each reference picture that could not be shown.

        Raises:
            QueryError: `out` has another ending or cannot be written.
        """
        from geobridge.localization.drawing import draw_map

        return draw_map(estimate, self.metadata, Path(out), query)

    def _answer(
        self,
        queries: Sequence[Query],
        prepared: Sequence[PreparedQuery | GeoBridgeError],
        mask: NDArray[np.bool_] | None,
        top: int,
    ) -> Iterator[Estimate | GeoBridgeError]:
        ready = [p for p in prepared if not isinstance(p, GeoBridgeError)]
        embeddings = self._embed_each(ready)
        good = [rows for rows in embeddings if not isinstance(rows, GeoBridgeError)]
        found = iter(self._find(good, mask, max(HYPOTHESES, top)))
        embedded = iter(embeddings)
        for query, outcome in zip(queries, prepared, strict=True):
            if isinstance(outcome, GeoBridgeError):
                yield outcome
                continue
            rows = next(embedded)
            if isinstance(rows, GeoBridgeError):
                yield rows
            else:
                yield self._estimate(query, outcome.yaws_deg, next(found), top)

    def _embed_each(
        self, prepared: Sequence[PreparedQuery]
    ) -> list[NDArray[np.float32] | GeoBridgeError]:
        """Embeddings (V, D), or the error of the query that has one."""
        try:
            return list(embed_prepared_queries(prepared, self.model))
        except GeoBridgeError:
            # One of them is at fault, such as a sentence that is too long: ask for each alone.
            return [
                _attempt(lambda query=query: embed_prepared_queries([query], self.model)[0])  # type: ignore[misc]
                for query in prepared
            ]

    def _find(
        self, embeddings: Sequence[NDArray[np.float32]], mask: NDArray[np.bool_] | None, k: int
    ) -> list[_Found]:
        """The k most similar references of each query, over all its variants (V, D)."""
        if not embeddings:
            return []
        similarity, row = self._search.search(np.concatenate(embeddings), k, mask)
        ends = np.cumsum([len(rows) for rows in embeddings])[:-1]
        return [
            best_of_variants(s, r, k)
            for s, r in zip(np.split(similarity, ends), np.split(row, ends), strict=True)
        ]

    def _estimate(
        self, query: Query, yaws_deg: Sequence[float | None], found: _Found, top: int
    ) -> Estimate:
        calibration = calibration_for(
            self.model.config.calibration,
            query.modalities,
            self._trained_temperature(),
            heading_known=query.yaw_deg is not None,
        )
        rows = found.row[:HYPOTHESES]
        location = estimate_position(
            found.similarity[:HYPOTHESES],
            self._lat[rows],
            self._lon[rows],
            self._size_m[rows],
            calibration,
        )
        best_in_group = int(np.argmax(location.agrees))
        agrees = np.zeros(len(found.row), bool)
        agrees[: len(rows)] = location.agrees
        return Estimate(
            lat=location.lat,
            lon=location.lon,
            radius_m=location.radius_m,
            probability=location.probability,
            confidence=location.confidence,
            within_m=location.within_m,
            calibrated=calibration.queries > 0,
            yaw_deg=yaws_deg[found.variant[best_in_group]],
            modalities=query.modalities,
            candidates=self._candidates(found, agrees, yaws_deg, top),
        )

    def _candidates(
        self,
        found: _Found,
        agrees: NDArray[np.bool_],
        yaws_deg: Sequence[float | None],
        top: int,
    ) -> tuple[Candidate, ...]:
        rows = found.row[:top]
        away_m = distance_m(
            self._lat[rows[0]], self._lon[rows[0]], self._lat[rows], self._lon[rows]
        )
        return tuple(
            Candidate(
                rank=i + 1,
                similarity=float(found.similarity[i]),
                distance_m=float(away_m[i]),
                yaw_deg=yaws_deg[found.variant[i]],
                agrees=bool(agrees[i]),
                **vars(reference),
            )
            for i, reference in enumerate(references(self.metadata, rows.tolist()))
        )

    def _trained_temperature(self) -> float:
        return math.exp(-float(self.model.logit_scale.detach()))

    def _footprint_m(self, reference: Modality | None) -> float:
        """Ground size that pictures from above are cut to: that of what they are compared with."""
        sizes = self.store.footprint_m
        wanted: tuple[Modality, ...] = (reference,) if reference else ()
        for modality in (*wanted, "satellite", "drone"):
            if modality in sizes:
                return sizes[modality]
        return float(np.median(self._size_m)) if len(self) else 100.0

    def _allowed(
        self, within: Within | None, reference: Modality | None
    ) -> NDArray[np.bool_] | None:
        """(N,) which references may be found; None for all of them."""
        if not len(self):
            raise QueryError(f"{self.store.path} holds no references: index a source into it.")
        if reference is None and within is None:
            return None
        mask = np.ones(len(self), bool)
        if reference is not None:
            mask = self._modality == reference
            if not mask.any():
                held = ", ".join(sorted(set(self._modality.tolist())))
                raise QueryError(
                    f"{self.store.path} holds no {reference} references: ask for {held}."
                )
        return mask if within is None else self._inside(within, mask)

    def _inside(self, within: Within, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The references of `mask` whose centres are in the circle."""
        lat, lon, radius_km = within
        check_position(lat, lon, "the centre of within")
        if not (math.isfinite(radius_km) and radius_km > 0):
            raise QueryError(f"within needs a radius above 0 km, not {radius_km}.")
        reach_deg = radius_km * 1000 / _METRES_PER_DEGREE_LAT
        rows = np.flatnonzero(mask & (np.abs(self._lat - lat) <= reach_deg))
        near = distance_m(lat, lon, self._lat[rows], self._lon[rows]) <= radius_km * 1000
        inside = np.zeros(len(self), bool)
        inside[rows[near]] = True
        if not inside.any():
            nearest_km = distance_m(lat, lon, self._lat[mask], self._lon[mask]).min() / 1000
            raise QueryError(
                f"No reference lies within {radius_km:g} km of {lat:g}, {lon:g}: the nearest is "
                f"{nearest_km:.3g} km away, widen the circle or move it."
            )
        return inside


@dataclass(frozen=True)
class MapCalibration:
    """What came of calibrating a model on its own map, for one kind of query.

    Attributes:
        kind: `drone`, or `drone+heading` where the heading is given.
        calibration: what was fitted, and is now the model's.
        found: share of the simulated photos whose estimate is within one footprint of the truth.
        radius_m: median stated radius in metres.
    """

    kind: str
    calibration: Calibration
    found: float
    radius_m: float


def calibrate_on_maps(
    model: GeoBridge,
    maps: Sequence[str | Path],
    *,
    footprint_m: float = 100.0,
    stride_m: float = 25.0,
    photos: int = CALIBRATION_PHOTOS,
    strength: tuple[float, float] | None = None,
    seed: int = CALIBRATION_SEED,
    step: Step = silent,
) -> list[MapCalibration]:
    """Fit radius and confidence of drone queries on photos made from the maps themselves.

    The maps are indexed as `Gallery.build` does it, in a folder that is removed again, and
    photos drawn at random (`geobridge.localization.simulated`) are searched in it, each once
    without and once with its heading. Save the model to keep what was fitted.

    It holds for real photos as far as they differ from the map as the simulated ones do; no real
    photo is looked at.

    Args:
        model: gets the calibrations, in place.
        maps: georeferenced rasters, folders of them, or folders of XYZ tiles.
        footprint_m: side of the windows on the ground.
        stride_m: distance between neighbouring windows.
        photos: how many.
        strength: least and largest strength of season and sensor of the photos; by default
            `simulated.STRENGTH`.
        seed: of the photos; another than that of an adaptation.
        step: is told of the progress.

    Raises:
        SourceError: a map cannot be indexed.
        RasterError: a map is missing, or cannot be placed on the ground.
        TrainingError: no map holds a whole footprint.
        QueryError: `photos` is too few to calibrate on.
    """
    from geobridge.localization.simulated import STRENGTH, simulate_photos

    drawn = simulate_photos(
        maps,
        model,
        photos,
        footprint_m=footprint_m,
        strength=strength or STRENGTH,
        seed=seed,
    )
    truths = [(photo.lat, photo.lon) for photo in drawn]
    with tempfile.TemporaryDirectory() as scratch:
        gallery = Gallery.build(
            maps,
            model,
            view="satellite",
            out=Path(scratch) / "map",
            footprint_m=footprint_m,
            stride_m=stride_m,
            progress=step("Indexing the map"),
        )
        results = []
        for heading_known in (False, True):
            kind = query_kind(["drone"], heading_known)
            found = _search_told(gallery, [photo.query(heading_known) for photo in drawn], step)
            results.append(_map_calibration(kind, found, truths))
    keep_calibrations(model, {result.kind: result.calibration for result in results})
    return results


def _search_told(gallery: Gallery, queries: Sequence[Query], step: Step) -> list[Hypotheses]:
    report, found = step("Locating simulated photos"), []
    for start in range(0, len(queries), _CHUNK):
        found += gallery.search(queries[start : start + _CHUNK])
        report(len(found), len(queries))
    return found


def _map_calibration(
    kind: str, found: Sequence[Hypotheses], truths: Sequence[tuple[float, float]]
) -> MapCalibration:
    calibration = calibrate(found, truths)
    modes = [find_mode(one, calibration.temperature, calibration.probability) for one in found]
    near = errors_m(modes, truths) <= [mode.size_m for mode in modes]
    radius_m = np.median([radius_of(mode, calibration) for mode in modes])
    return MapCalibration(kind, calibration, float(near.mean()), float(radius_m))


def best_of_variants(similarity: NDArray[np.float32], row: NDArray[np.int64], k: int) -> _Found:
    """Join the searches of a query's variants: a reference counts once, at its best.

    Args:
        similarity: (V, K) of each variant's best references.
        row: (V, K) which references they are.
        k: how many to keep. Taking K >= k from each variant loses none of the best k.
    """
    order = np.argsort(-similarity.ravel(), kind="stable")
    rows = row.ravel()[order]
    _, first = np.unique(rows, return_index=True)
    kept = order[np.sort(first)[:k]]
    return _Found(similarity.ravel()[kept], row.ravel()[kept], kept // max(row.shape[1], 1))


def _attempt(ask: Callable[[], T]) -> T | GeoBridgeError:
    try:
        return ask()
    except GeoBridgeError as error:
        return error


def _load_recorded(store: GalleryStore, device: str) -> GeoBridge:
    """The model a gallery was built with, if it still lies where it was loaded from."""
    where = store.model_loaded_from
    try:
        model = GeoBridge.load(where, device=device)
    except ModelError as error:
        raise GalleryError(
            f"{store.path} was built by model {store.model_name!r} from {where!r}, which cannot be "
            f"loaded ({str(error).rstrip('.')}): say where its checkpoint is (--model)."
        ) from None
    if model.fingerprint != store.model_fingerprint:
        raise GalleryError(
            f"{store.path} was built by a model {store.model_name!r} that is no longer the one at "
            f"{where!r} ({store.model_fingerprint[:12]} and {model.fingerprint[:12]}): "
            f"give the folder of the checkpoint it was built with (--model), or index again."
        )
    return model
