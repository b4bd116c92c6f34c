"""Stage 5: the satellite picture of each kept place's footprint, from one source.

    DIR/satellite.parquet            a row a place, kept or with its reason
    DIR/satellite_rasters.parquet    a row a file, where they come from files
    DIR/pictures/satellite/...       the pictures, named by their footprint

Whatever the source's own grid is, its picture shows the same square of ground as the drone's, north
up, with the date its source states.
"""

import datetime as clock
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, Self

import pandas as pd
from pydantic import Field, model_validator
from shapely import Polygon, STRtree, affinity

from geobridge.curation.http import Client, DownloadError, PlainAddress, PlainKeys
from geobridge.curation.pictures import Ground, PictureConfig, Shot, Source, UnfitError, cut
from geobridge.curation.providers import Bounds
from geobridge.curation.rasters import (
    Found,
    RasterFacts,
    digest,
    facts_of,
    idle_facts,
    is_address,
    list_rasters,
    opened,
    parse_date,
)
from geobridge.curation.remote import RemoteFiles
from geobridge.curation.stac import Item, StacConfig, search
from geobridge.curation.tiles import TilesConfig, TileSource
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError, RasterError
from geobridge.geo.footprint import footprint_from_bounds
from geobridge.progress import Step

COLUMNS = (
    *("place_id", "satellite", "satellite_sha256", "gsd_m", "raster", "date", "source"),
    *("licence", "attribution", "kept", "reason"),
)
"""Of the table `satellite`."""

# Of a catalogue's items over a place: the next ones are worse, and each is a few requests.
_TRIES = 5

# Places of one cell are served by one search.
_CELL_DEG = 0.05

_UNKNOWN_DAYS = 1 << 20
_MAX_CLOUD = 20.0


class SatelliteConfig(PictureConfig):
    """Where satellite pictures come from, one of three, and how large they become.

    Attributes:
        rasters: GeoTIFFs, COGs, folders of them, or their addresses.
        tiles: template of an XYZ or WMTS service.
        stac: catalogue of rasters, such as NAIP or Sentinel-2.
        max_cloud: items of a catalogue with more clouds, in per cent, are not looked at.
        allow_private: whether addresses in `rasters` may be of this machine and its networks;
            `tiles` and `stac` say so for themselves.
        facts: date, licence, attribution and source of rasters, by a pattern of their path or
            name; they count before what files and catalogues say.
    """

    rasters: tuple[PlainAddress, ...] = ()
    tiles: TilesConfig | None = None
    stac: StacConfig | None = None
    max_cloud: float = Field(default=_MAX_CLOUD, ge=0, le=100)
    allow_private: bool = False
    facts: Annotated[dict[str, RasterFacts], PlainKeys] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("rasters", "tiles", "stac") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"satellite pictures come from one of `rasters`, `tiles` and `stac`, and "
                f"{' and '.join(given) or 'none'} is given: name one."
            )
        return self

    @model_validator(mode="after")
    def _nothing_in_vain(self) -> Self:
        if self.tiles and self.facts:
            raise ValueError("`facts` are of rasters: put those of tiles into `tiles.facts`.")
        if not self.stac and self.max_cloud != _MAX_CLOUD:
            raise ValueError(
                "`max_cloud` is for catalogues, which alone tell of clouds: leave it out without "
                "`stac`."
            )
        if self.allow_private and not any(map(is_address, self.rasters)):
            raise ValueError(
                "`allow_private` is for addresses in `rasters`, and there are none: put it into "
                "`tiles` or `stac`, or leave it out."
            )
        return self


def run(workspace: Workspace, config: SatelliteConfig, step: Step) -> pd.DataFrame:
    """Cut or fetch the satellite picture of every kept place.

    Places are those the stage `clean` kept, or where it was not run all that `crop` kept. Pictures
    that did not come for reasons that may pass are rows with that reason, and are tried again when
    the stage is run again.

    Returns:
        Columns as in `COLUMNS`, sorted by place_id; `satellite` is a path in the workspace,
        beside it the SHA-256 of that file, `raster` what it was cut from, None where it is of
        tiles.

    Raises:
        CurationError: the stages before have not been run, or a catalogue cannot be asked.
        RasterError: a named raster cannot be read.
    """
    places = _places(workspace)
    if config.rasters:
        for fault in idle_facts(config.facts, [one.raster for one in list_rasters(config.rasters)]):
            step(fault)
    report = step("fetching satellite pictures")
    rows: list[dict[str, Any]] = []
    whose = digest(config.model_dump(mode="json"), _versions(config), COLUMNS)
    with _source(workspace, config) as source, workspace.journal("satellite", whose) as journal:
        for done, place in enumerate(places, 1):
            # Its name is rounded to a centimetre.
            key = digest(place.place_id, place.lat, place.lon, place.side_m, place.date)
            if key in journal and _is_there(workspace, journal[key]):
                row = journal[key]
            else:
                row, is_final = _row(workspace, config, source, place)
                if is_final:
                    journal.add(key, row)
            rows.append(row)
            report(done, len(places))
    columns = {name: pd.Series([row[name] for row in rows], dtype=object) for name in COLUMNS}
    table = pd.DataFrame(columns).astype({"gsd_m": "float64", "kept": "bool"})
    return workspace.write("satellite", table)


def _places(workspace: Workspace) -> list[Ground]:
    crops = workspace.read("crops")
    kept = crops.loc[crops["kept"].astype(bool)]
    if workspace.has("clean"):
        clean = workspace.read("clean")
        kept = kept.loc[kept["place_id"].isin(clean.loc[clean["kept"].astype(bool), "place_id"])]
    dates = workspace.read("seeds").set_index("seed_id")["date"]
    return [
        Ground(
            place_id=row["place_id"],
            lat=row["lat"],
            lon=row["lon"],
            footprint=row["footprint"],
            side_m=row["side_m"],
            date=parse_date(dates.get(row["seed_id"])),
        )
        for row in kept.sort_values("place_id").to_dict("records")
    ]


def _versions(config: SatelliteConfig) -> list[str]:
    return [entry.version for entry in list_rasters(config.rasters)]


def _is_there(workspace: Workspace, row: dict[str, Any]) -> bool:
    return not row["kept"] or workspace.sha256(row["satellite"]) == row["satellite_sha256"]


def _row(
    workspace: Workspace, config: SatelliteConfig, source: Source, place: Ground
) -> tuple[dict[str, Any], bool]:
    """The row of a place, its picture written, and whether it will be the same next time."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"place_id": place.place_id, "kept": False}
    try:
        shot = source.shoot(place)
    except UnfitError as error:
        return {**row, "reason": str(error)}, True
    except (DownloadError, RasterError) as error:
        if isinstance(error, DownloadError) and error.is_final:
            # Of a catalogue: it would say the same of every place.
            raise
        return {**row, "reason": str(error)}, False
    name = f"satellite/{place.place_id}{config.suffix}"
    row |= {**shot.facts.columns(), "gsd_m": place.side_m / len(shot.picture), "kept": True}
    row["satellite"] = workspace.picture(name, config.encode(shot.picture))
    row["satellite_sha256"] = workspace.sha256(row["satellite"])
    row["raster"] = shot.raster
    return row, True


@contextmanager
def _source(workspace: Workspace, config: SatelliteConfig) -> Iterator[Source]:
    network = config.tiles or config.stac or config
    with Client(workspace.cache, allow_private=network.allow_private) as client:
        if config.tiles:
            with ThreadPoolExecutor(config.tiles.pace.connections) as pool:
                yield TileSource(client, pool, config, config.tiles)
        elif config.stac:
            yield _Catalogue(client, config, config.stac)
        else:
            yield _Rasters(workspace, config, RemoteFiles(client))


class _Rasters:
    """Rasters on the disk; of several that show a place the one nearest in time, then finest."""

    def __init__(self, workspace: Workspace, config: SatelliteConfig, files: RemoteFiles) -> None:
        self._config = config
        self._files = files
        self._rasters: list[tuple[Found, RasterFacts, float]] = []
        outlines: list[Polygon] = []
        rows = []
        for entry in list_rasters(config.rasters):
            row: dict[str, Any] = {"raster": entry.raster, **entry.facts.columns(), "gsd_m": None}
            row["reason"] = entry.fault
            try:
                if entry.fault is None:
                    with opened(entry.raster, files) as raster:
                        facts = facts_of(entry, raster.tags, config.facts)
                        self._rasters.append((entry, facts, raster.gsd_m))
                        outlines.append(footprint_from_bounds(*raster.bounds))
                        row |= {**facts.columns(), "gsd_m": raster.gsd_m}
            except RasterError as error:
                if entry.is_named:
                    raise
                row["reason"] = str(error)
            rows.append(row)
        rows.sort(key=lambda row: str(row["raster"]))
        workspace.write("satellite_rasters", pd.DataFrame(rows))
        if not outlines:
            raise CurationError(
                f"none of the files in {', '.join(config.rasters)} is a raster with a place on "
                f"the ground: correct `rasters` of the satellite stage."
            )
        self._tree = STRtree(outlines)

    def shoot(self, place: Ground) -> Shot:
        found = {
            int(index)
            for turn in (-360, 0, 360)
            for index in self._tree.query(affinity.translate(place.footprint, turn))
        }
        best_first = sorted(found, key=lambda index: self._worth(index, place))
        return _first_shot(
            (partial(self._cut, index, place) for index in best_first), "no raster reaches there"
        )

    def _cut(self, index: int, place: Ground) -> Shot:
        entry, facts, _ = self._rasters[index]
        with opened(entry.raster, self._files) as raster:
            picture, _ = cut(raster, place.lat, place.lon, place.side_m, self._config)
        return Shot(picture, facts, entry.raster)

    def _worth(self, index: int, place: Ground) -> tuple[int, float, str]:
        entry, facts, gsd_m = self._rasters[index]
        return _days(facts.date, place.date), gsd_m, entry.raster


class _Catalogue:
    """Rasters of a STAC catalogue: the least clouds, then nearest in time."""

    def __init__(self, client: Client, config: SatelliteConfig, stac: StacConfig) -> None:
        self._client = client
        self._files = RemoteFiles(client)
        self._config = config
        self._stac = stac
        self._found: dict[tuple[int, int], list[Item]] = {}

    def shoot(self, place: Ground) -> Shot:
        items = [item for item in self._items(place) if _shows(item, place.footprint)]
        usable = [item for item in items if item.fault is None]
        if not usable:
            fault = next((item.fault for item in items if item.fault), None)
            raise UnfitError(fault or "the catalogue has nothing there")
        clear = [item for item in usable if (item.cloud or 0) <= self._config.max_cloud]
        if not clear:
            raise UnfitError(f"all pictures have more than {self._config.max_cloud:g} % of clouds")
        best_first = sorted(clear, key=lambda item: _item_worth(item, place))
        return _first_shot(
            (partial(self._cut, item, place) for item in best_first[:_TRIES]),
            "the catalogue has nothing there",
        )

    def _cut(self, item: Item, place: Ground) -> Shot:
        with opened(item.raster, self._files) as raster:
            entry = Found(item.raster, is_named=False, facts=item.facts)
            facts = facts_of(entry, raster.tags, self._config.facts)
            picture, _ = cut(raster, place.lat, place.lon, place.side_m, self._config)
        return Shot(picture, facts, item.raster)

    def _items(self, place: Ground) -> Sequence[Item]:
        """What the catalogue has around a place; asked once for all places of a cell."""
        cell = int(place.lat // _CELL_DEG), int(place.lon // _CELL_DEG)
        if cell not in self._found:
            south, west = (index * _CELL_DEG for index in cell)
            box = Bounds(west, south, west + _CELL_DEG, south + _CELL_DEG)
            self._found[cell] = list(search(self._client, self._stac, box))
        return self._found[cell]


def _first_shot(attempts: Iterable[Callable[[], Shot]], nothing: str) -> Shot:
    """The first picture that can be had.

    Raises:
        RasterError: none, the first reason that may pass.
        UnfitError: none, and no reason may pass: the first one, `nothing` without attempts.
    """
    lasting: UnfitError | None = None
    passing: RasterError | None = None
    for attempt in attempts:
        try:
            return attempt()
        except UnfitError as error:
            lasting = lasting or error
        except RasterError as error:
            passing = passing or error
    raise passing or lasting or UnfitError(nothing)


def _shows(item: Item, footprint: Polygon) -> bool:
    """Whether an item has pixels anywhere in a footprint, as far as it tells."""
    if item.ground is None:
        return True
    return any(item.ground.intersects(affinity.translate(footprint, t)) for t in (-360, 0, 360))


def _item_worth(item: Item, place: Ground) -> tuple[bool, float, int, str]:
    """Whole before cut off, then by whole per cents of clouds, days between, and name."""
    is_cut = item.ground is not None and not any(
        item.ground.covers(affinity.translate(place.footprint, t)) for t in (-360, 0, 360)
    )
    return is_cut, round(item.cloud or 0), _days(item.facts.date, place.date), item.item_id


def _days(one: clock.date | None, other: clock.date | None) -> int:
    return abs((one - other).days) if one and other else _UNKNOWN_DAYS
