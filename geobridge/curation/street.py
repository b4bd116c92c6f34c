"""The second stage: panoramas inside the seeds' footprints (paper, section "GeoLoc", step 2).

Providers are asked for boxes around the seeds. What lies in a footprint belongs to the seed whose
centre is nearest; of each seed's panoramas the nearest in time to the orthomosaic come first, then
the nearest to the centre. Everything a provider named becomes a row: kept, or with the reason why
not.
"""

import datetime as clock
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from pydantic import Field
from shapely.geometry.base import BaseGeometry

from geobridge.curation.http import Client, DownloadError, picture_kind
from geobridge.curation.providers import (
    OUTSIDE,
    SWAPPED,
    Bounds,
    Panorama,
    Provider,
    google,
    mapillary,
)
from geobridge.curation.providers.folder import Folder, FolderConfig
from geobridge.curation.providers.google import Google, GoogleConfig
from geobridge.curation.providers.mapillary import Mapillary, MapillaryConfig
from geobridge.curation.providers.panoramax import Panoramax, PanoramaxConfig
from geobridge.curation.rasters import digest, file_digest, version_of
from geobridge.curation.workspace import Journal, Workspace
from geobridge.errors import CurationError, ImageError, PositionError
from geobridge.geo.distance import distance_m
from geobridge.geo.photos import PhotoMetadata, read_photo_metadata
from geobridge.imagery.decode import read_image
from geobridge.model.config import Settings
from geobridge.progress import Step

STAGE = "street"

NOT_360 = "it does not go all the way round"

AnyProvider = Annotated[
    PanoramaxConfig | MapillaryConfig | GoogleConfig | FolderConfig, Field(discriminator="kind")
]


class StreetConfig(Settings):
    """Which panoramas are taken.

    Attributes:
        providers: who is asked; Panoramax needs nothing, Mapillary a token.
        per_seed: panoramas kept for one seed at most.
        only_360: whether plain street photos are left out.
        max_exif_distance_m: a picture whose own EXIF puts it further from where the provider
            does is left out.
        max_picture_mb: larger pictures are left out.
        threads: downloads at once, among all providers.
        allow_private: whether addresses of this machine and its networks may be asked.
    """

    providers: tuple[AnyProvider, ...] = Field(
        default=(PanoramaxConfig(), MapillaryConfig()), min_length=1
    )
    per_seed: int = Field(default=3, ge=1)
    only_360: bool = True
    max_exif_distance_m: float = Field(default=50.0, gt=0)
    max_picture_mb: float = Field(default=64.0, gt=0)
    threads: int = Field(default=8, ge=1)
    allow_private: bool = False


@dataclass(frozen=True)
class Plan:
    """What a run will ask for at most; sizes are guesses where providers do not state them.

    Attributes:
        seeds: how many there are.
        boxes: query boxes, over all providers.
        search_requests: to find panoramas, further pages and what is cached not counted.
        pictures: to download.
        picture_bytes: of all these.
    """

    seeds: int
    boxes: int
    search_requests: int
    pictures: int
    picture_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.seeds:,} seeds in {self.boxes:,} boxes: {self.search_requests:,} requests or "
            f"more to search, {self.pictures:,} pictures or less to download, about "
            f"{self.picture_bytes / 1e6:,.0f} MB"
        )


def plan(workspace: Workspace, config: StreetConfig) -> Plan:
    """What the stage will ask for, told without a request.

    Raises:
        CurationError: there are no seeds, or a provider cannot be used.
    """
    seeds = _read_seeds(workspace)
    boxes = requests = 0
    with _client(workspace, config) as client:
        providers = make_providers(config, client)
        for provider in providers:
            asked = query_boxes(seeds["footprint"], provider.limits.side_deg)
            boxes += len(asked)
            requests += sum(provider.search_requests(box) for box in asked)
    size = max(provider.limits.picture_bytes for provider in providers)
    # Those of a folder are not downloaded.
    pictures = len(seeds) * config.per_seed if size else 0
    return Plan(len(seeds), boxes, requests, pictures, pictures * size)


def run(workspace: Workspace, config: StreetConfig, step: Step) -> geopandas.GeoDataFrame:
    """Find and download panoramas, and write `street.parquet`.

    A run that was killed goes on: pages and pictures lie in the cache, and what came of each
    picture in the journal. Downloads that failed for reasons that may pass are rows with that
    reason, and are tried again when the stage is run again.

    Args:
        workspace: with the table `seeds`.
        config: which panoramas are taken.
        step: is told what is done, the estimate of the downloads among it.

    Returns:
        One row a panorama, sorted by `pano_id`, with `is_360` and a point geometry beside the
        columns of the pipeline; `path` is what was downloaded, `sha256` its digest.

    Raises:
        CurationError: there are no seeds, a provider cannot be used or does not answer.
    """
    seeds = _read_seeds(workspace)
    seeds_digest = file_digest(workspace.path("seeds"))
    whose = digest(config.model_dump(mode="json"), seeds_digest, _COLUMNS)
    with _client(workspace, config) as client:
        providers = {provider.name: provider for provider in make_providers(config, client)}
        panoramas = _search(providers.values(), seeds, config, step)
        found = _assign(panoramas, seeds, config)
        with workspace.journal(STAGE, whose) as journal:
            _download(found, providers, config, _Outcomes(journal, workspace, config), step)
    rows = [_row(candidate) for candidate in sorted(found, key=lambda c: c.panorama.pano_id)]
    table = geopandas.GeoDataFrame(
        pd.DataFrame(rows, columns=_COLUMNS, dtype=object).astype(_TYPES),
        geometry=[_point(row) for row in rows],
        crs="EPSG:4326",
    )
    return workspace.write(STAGE, table)


def query_boxes(footprints: Iterable[BaseGeometry], side_deg: float) -> list[Bounds]:
    """Few boxes that together hold all footprints.

    Footprints are gathered by the cells of a grid; a cell's box is no larger than what it holds
    of them.

    Args:
        footprints: in lon, lat; those across the antimeridian have longitudes beyond +-180.
        side_deg: longest side of a box.

    Returns:
        Boxes within -180..180 and -90..90, sorted, touching at most.
    """
    cells: dict[tuple[int, int], list[float]] = {}
    for footprint in footprints:
        for west, south, east, north in _within_world(*footprint.bounds):
            for column in range(math.floor(west / side_deg), math.floor(east / side_deg) + 1):
                for row in range(math.floor(south / side_deg), math.floor(north / side_deg) + 1):
                    part = (
                        max(west, column * side_deg),
                        max(south, row * side_deg),
                        min(east, (column + 1) * side_deg),
                        min(north, (row + 1) * side_deg),
                    )
                    if part[0] < part[2] and part[1] < part[3]:
                        box = cells.setdefault((column, row), list(part))
                        box[:2] = map(min, box[:2], part[:2])
                        box[2:] = map(max, box[2:], part[2:])
    return [Bounds(*box) for _, box in sorted(cells.items())]


@dataclass
class _Candidate:
    """A panorama, the seed it belongs to, and what came of it."""

    panorama: Panorama
    seed_id: str | None = None
    distance_m: float | None = None
    days: int | None = None
    path: str | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    reason: str | None = None
    is_kept: bool = False


class _Outcomes:
    """What came of each picture: from the journal, or by a download that is then noted."""

    def __init__(self, journal: Journal, workspace: Workspace, config: StreetConfig) -> None:
        self._journal = journal
        self._folder = workspace.folder
        self._config = config
        self._lock = threading.Lock()

    def settle(self, candidate: _Candidate, provider: Provider) -> None:
        """Give a candidate its picture, or the reason why it has none."""
        key = candidate.panorama.pano_id
        if candidate.panorama.file:
            # A photo that was replaced, such as by one with blurred faces, is another one.
            key = f"{key} {version_of(candidate.panorama.file)}"
        # Files may have been deleted since, to make room.
        if key in self._journal and self._is_there(self._journal[key]):
            outcome = self._journal[key]
        else:
            try:
                outcome = self._outcome(candidate.panorama, provider)
            except DownloadError as error:
                outcome = {"reason": str(error)}
                if not error.is_final:
                    candidate.reason = str(error)
                    return
            with self._lock:
                self._journal.add(key, outcome)
        candidate.path = outcome.get("path")
        candidate.sha256 = outcome.get("sha256")
        candidate.width = outcome.get("width")
        candidate.height = outcome.get("height")
        candidate.reason = outcome.get("reason")
        candidate.is_kept = candidate.reason is None

    def _is_there(self, outcome: dict[str, Any]) -> bool:
        return "path" not in outcome or (self._folder / outcome["path"]).is_file()

    def _outcome(self, panorama: Panorama, provider: Provider) -> dict[str, Any]:
        path = provider.picture(panorama)
        outcome: dict[str, Any] = {
            "path": path.relative_to(self._folder).as_posix(),
            "sha256": file_digest(path),
        }
        try:
            # Whether all pixels are there, at an eighth of the size where the format can.
            read_image(path, min_side=64)
            meta = read_photo_metadata(path)
        except ImageError as error:
            name = str(error).replace(str(path), "the picture").partition(":")[0]
            return {**outcome, "reason": name}
        except PositionError:
            # Its EXIF has no position that could contradict; the provider's counts.
            return outcome
        size = {"width": meta.width, "height": meta.height}
        return {**outcome, **size, **self._contradiction(panorama, meta)}

    def _contradiction(self, panorama: Panorama, meta: PhotoMetadata) -> dict[str, str]:
        if panorama.lat is None or panorama.lon is None or meta.lat is None or meta.lon is None:
            return {}
        apart_m = float(distance_m(panorama.lat, panorama.lon, meta.lat, meta.lon))
        if apart_m <= self._config.max_exif_distance_m:
            return {}
        return {"reason": f"the picture's EXIF puts it {apart_m:,.0f} m from there"}


def _client(workspace: Workspace, config: StreetConfig) -> Client:
    return Client(workspace.cache, allow_private=config.allow_private)


def make_providers(config: StreetConfig, client: Client) -> list[Provider]:
    """The providers of a configuration, one of a kind.

    Raises:
        CurationError: one comes twice, or cannot be used.
    """
    pictures = picture_kind(int(config.max_picture_mb * 1e6))
    made: list[Provider] = []
    for one in config.providers:
        match one:
            case PanoramaxConfig():
                made.append(Panoramax(one, client, pictures))
            case MapillaryConfig():
                made.append(Mapillary(one, client, pictures))
            case GoogleConfig():
                made.append(Google(one, client, pictures))
            case FolderConfig():
                made.append(Folder(one, client, pictures))
    names = [provider.name for provider in made]
    if len(set(names)) < len(names):
        raise CurationError(
            "street.providers names a provider twice, whose panoramas could not be told apart: "
            "run the stage once for each, in folders of their own."
        )
    return made


def secret_of(provider: AnyProvider) -> str | None:
    """The environment variable that a provider's secret is read from; None where it needs none."""
    match provider:
        case MapillaryConfig():
            return mapillary.TOKEN
        case GoogleConfig():
            return google.KEY
    return None


def _read_seeds(workspace: Workspace) -> geopandas.GeoDataFrame:
    seeds = workspace.read("seeds")
    if not len(seeds):
        raise CurationError(
            f"{workspace.path('seeds')} has no seeds: give rasters with more valid ground to the "
            f"stage seeds."
        )
    return seeds


def _search(
    providers: Iterable[Provider],
    seeds: geopandas.GeoDataFrame,
    config: StreetConfig,
    step: Step,
) -> list[Panorama]:
    """Everything the providers have around the seeds, each panorama once, sorted by id."""
    work = [
        (provider, box)
        for provider in providers
        for box in query_boxes(seeds["footprint"], provider.limits.side_deg)
    ]
    report = step(f"asking for panoramas in {len(work):,} boxes")
    found: dict[str, Panorama] = {}
    with ThreadPoolExecutor(config.threads) as pool:
        answers = [pool.submit(_found, provider, box) for provider, box in work]
        try:
            for done, answer in enumerate(as_completed(answers), 1):
                for panorama in answer.result():
                    former = found.setdefault(panorama.pano_id, panorama)
                    if _worth(panorama) < _worth(former):
                        found[panorama.pano_id] = panorama
                report(done, len(work))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [found[key] for key in sorted(found)]


def _found(provider: Provider, box: Bounds) -> list[Panorama]:
    return list(provider.search(box))


def _worth(panorama: Panorama) -> tuple[bool, bool, str]:
    """Which of two answers for one panorama counts: none is at fault in the box it lies in."""
    return panorama.fault is not None, panorama.fault != SWAPPED, repr(panorama)


def _assign(
    panoramas: Sequence[Panorama], seeds: geopandas.GeoDataFrame, config: StreetConfig
) -> list[_Candidate]:
    """Each panorama with the nearest seed that holds it, or with the reason why it has none."""
    candidates = [_Candidate(panorama, reason=_fault(panorama, config)) for panorama in panoramas]
    usable = [candidate for candidate in candidates if candidate.reason is None]
    if not usable:
        return candidates
    lat = np.array([candidate.panorama.lat for candidate in usable], np.float64)
    lon = np.array([candidate.panorama.lon for candidate in usable], np.float64)
    # Footprints across the antimeridian have longitudes beyond +-180.
    turns = np.array([0.0, 360.0, -360.0])
    points = shapely.points((lon[:, None] + turns).ravel(), np.repeat(lat, len(turns)))
    tree = shapely.STRtree(seeds["footprint"].to_numpy())
    which, seed = tree.query(points, predicate="intersects")
    which //= len(turns)
    apart_m = distance_m(
        lat[which], lon[which], seeds["lat"].to_numpy()[seed], seeds["lon"].to_numpy()[seed]
    )
    names = seeds["seed_id"].to_numpy()[seed]
    dates = seeds["date"].to_numpy()[seed]
    # The nearest first, so that it alone is taken.
    for index in np.lexsort((names, apart_m)):
        candidate = usable[which[index]]
        if candidate.seed_id is None:
            candidate.seed_id = str(names[index])
            candidate.distance_m = float(apart_m[index])
            candidate.days = _days_between(candidate.panorama.captured, dates[index])
    for candidate in usable:
        if candidate.seed_id is None:
            candidate.reason = OUTSIDE
    return candidates


def _fault(panorama: Panorama, config: StreetConfig) -> str | None:
    if panorama.fault:
        return panorama.fault
    return NOT_360 if config.only_360 and not panorama.is_360 else None


def _download(
    candidates: Sequence[_Candidate],
    providers: dict[str, Provider],
    config: StreetConfig,
    outcomes: _Outcomes,
    step: Step,
) -> None:
    """Give each seed its panoramas, best first, until it has enough."""
    of_seed: dict[str, list[_Candidate]] = {}
    for candidate in candidates:
        if candidate.seed_id is not None:
            of_seed.setdefault(candidate.seed_id, []).append(candidate)
    for seed_id in of_seed:
        of_seed[seed_id].sort(key=_preference)
    wanted = [candidate for some in of_seed.values() for candidate in some[: config.per_seed]]
    report = step(_estimate(wanted, providers))

    def settle(some: list[_Candidate]) -> None:
        kept = 0
        for candidate in some:
            if kept == config.per_seed:
                candidate.reason = f"the seed has {config.per_seed} that are nearer"
                continue
            outcomes.settle(candidate, providers[candidate.panorama.provider])
            kept += candidate.is_kept

    with ThreadPoolExecutor(config.threads) as pool:
        work = [pool.submit(settle, of_seed[seed_id]) for seed_id in sorted(of_seed)]
        try:
            for done, one in enumerate(as_completed(work), 1):
                one.result()
                report(done, len(work))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _estimate(wanted: Sequence[_Candidate], providers: dict[str, Provider]) -> str:
    missing = [
        (candidate.panorama, providers[candidate.panorama.provider])
        for candidate in wanted
        if not providers[candidate.panorama.provider].has_picture(candidate.panorama)
    ]
    size = sum(
        panorama.size_bytes or provider.limits.picture_bytes for panorama, provider in missing
    )
    return (
        f"downloading {len(missing):,} of {len(wanted):,} panoramas, about {size / 1e6:,.0f} MB, "
        f"for each seed"
    )


def _preference(candidate: _Candidate) -> tuple[float, float, str]:
    days = math.inf if candidate.days is None else candidate.days
    return days, candidate.distance_m or 0.0, candidate.panorama.pano_id


def _days_between(captured: str | None, date: Any) -> int | None:
    first, second = _day(captured), _day(date)
    return None if first is None or second is None else abs((first - second).days)


def _day(text: Any) -> clock.date | None:
    """The day of an ISO date or time; the middle where only a year or a month is known."""
    if not isinstance(text, str):
        return None
    middle = {4: "-07-01", 7: "-15"}.get(len(text), "")
    try:
        return clock.date.fromisoformat((text + middle)[:10])
    except ValueError:
        return None


def _within_world(
    west: float, south: float, east: float, north: float
) -> Iterator[tuple[float, float, float, float]]:
    """The parts of a box that lie in -180..180, after turning those beyond."""
    south, north = max(south, -90.0), min(north, 90.0)
    for turn in (-360.0, 0.0, 360.0):
        left, right = max(west + turn, -180.0), min(east + turn, 180.0)
        if left < right:
            yield left, south, right, north


_COLUMNS = [
    "pano_id", "provider", "seed_id", "lat", "lon", "captured", "heading_deg", "distance_m",
    "url", "path", "sha256", "width", "height", "licence", "attribution", "is_360", "kept",
    "reason",
]  # fmt: skip

_TYPES = {
    **dict.fromkeys(("lat", "lon", "heading_deg", "distance_m"), "float64"),
    **dict.fromkeys(("width", "height"), "Int64"),
    **dict.fromkeys(("is_360", "kept"), "bool"),
}


def _row(candidate: _Candidate) -> dict[str, Any]:
    row = asdict(candidate.panorama)
    return row | {
        "pano_id": candidate.panorama.pano_id,
        "seed_id": candidate.seed_id,
        "distance_m": candidate.distance_m,
        "path": candidate.path,
        "sha256": candidate.sha256,
        "width": candidate.width or candidate.panorama.width,
        "height": candidate.height or candidate.panorama.height,
        "kept": candidate.is_kept,
        "reason": candidate.reason,
    }


def _point(row: dict[str, Any]) -> shapely.Point | None:
    return None if row["lat"] is None else shapely.Point(row["lon"], row["lat"])
