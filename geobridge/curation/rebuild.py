"""A recipe carried out: the pictures that were not passed on, made again with one's own access.

    OUT/places/             the whole data set, as `publish` writes it
    OUT/rebuild.parquet     a row a picture: whether it is there, and why not
    OUT/rebuild.json        which data set is rebuilt here
    OUT/cache/              what was downloaded

The same pictures come out as were left out, or none: each is compared with the digest in the
recipe. A recipe is somebody else's word, so it decides neither where files are written nor which
secret is sent where.
"""

import hashlib
import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow
import shapely
from pydantic import ValidationError

from geobridge.curation.access import Access, own_copies
from geobridge.curation.card import write_card
from geobridge.curation.crop import street_picture
from geobridge.curation.http import Client, DownloadError, is_below
from geobridge.curation.pictures import Ground, PictureConfig, UnfitError, cut
from geobridge.curation.providers import Panorama, Provider
from geobridge.curation.providers.folder import Folder
from geobridge.curation.providers.google import GoogleConfig
from geobridge.curation.publish import FOLDER, PICTURES, write_data_set
from geobridge.curation.rasters import file_digest, is_address, opened
from geobridge.curation.recipes import (
    FILE_NAME,
    GroundOrigin,
    Online,
    PictureRow,
    Recipe,
    RecipePicture,
    RecipePlace,
    StreetOrigin,
    read_recipe,
)
from geobridge.curation.remote import RemoteFiles
from geobridge.curation.street import StreetConfig, make_providers
from geobridge.curation.tiles import TilesConfig, TileSource
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError, ImageError, RasterError
from geobridge.files import write_atomically
from geobridge.geo.footprint import footprint_around
from geobridge.model.config import first_problem
from geobridge.places.place import Place
from geobridge.places.table import TABLE_NAME, iter_places
from geobridge.progress import Step, silent
from geobridge.views import VIEWS

TABLE = "rebuild"
NOTE = "rebuild.json"

COLUMNS = ("place_id", "view", "path", "sha256", "is_published", "kept", "reason")
"""Of the table `rebuild`."""

_NAMED = 3

_OF_A_FILE = re.compile(
    r"(it comes out differently: )?(.+?) is (not there.*|not what it was made of)"
)

_MOST_PX = 8192

# Larger ones are made one after the other, for the memory they take.
_LARGE_PX = 2048


@dataclass(frozen=True)
class Rebuilt:
    """What came of a rebuild.

    Attributes:
        table: a row a picture, columns as in `COLUMNS`.
        places: in the data set.
    """

    table: pd.DataFrame
    places: int


def rebuild(
    folder: str | Path,
    out: str | Path,
    access: Access | None = None,
    step: Step = silent,
) -> Rebuilt:
    """Make a data set whole that was published with `only_redistributable`.

    Run again it goes on: what is there is not made again, and what could not be made is tried
    again. Nothing that is there is written over.

    Args:
        folder: of the published data set, with its recipe.
        out: folder to work in, empty, missing, or of an earlier run for the same data set.
        access: what there is to make pictures of.
        step: is told what begins.

    Returns:
        What came of each picture; a picture that could not be made, or came out differently, is
        a row with its reason, and its place is without it.

    Raises:
        CurationError: the recipe is damaged or not of this data set, `out` holds something else,
            what was given does not exist, or nothing at all could be had.
        PlacesError: the published data set cannot be read.
    """
    folder, access = Path(folder), access or Access()
    recipe = read_recipe(folder)
    places = [_bare(place) for place in iter_places(folder)]
    published = _published_rows(folder)
    _check_belongs(folder, recipe, places, published)
    workspace = _begin(Path(out), folder)
    target = workspace.folder / FOLDER
    with workspace.locked():
        with _maker(workspace, recipe, access) as maker:
            reasons = _copy(folder, target, published, step)
            reasons |= _make(target, recipe.pictures, maker, access.threads, step)
        places += [_left_behind(place) for place in recipe.places]
        rows: list[PictureRow] = [*published, *recipe.pictures]
        rows.sort(key=lambda row: (row.place_id, VIEWS.index(row.view)))
        kept = [row for row in rows if reasons[row.path] is None]
        shown = {row.place_id for row in kept}
        there = sorted((p for p in places if p.place_id in shown), key=lambda p: p.place_id)
        table = _table(rows, reasons, {row.path for row in published})
        workspace.write(TABLE, table)
        if not there:
            raise CurationError(
                f"no picture could be had: {workspace.path(TABLE)} says why of each."
            )
        write_data_set(target, there, kept)
        left_out = recipe.left_out + len(places) - len(there)
        apart_m = recipe.settings.apart_m
        write_card(target / "README.md", there, kept, left_out=left_out, apart_m=apart_m)
    return Rebuilt(table, len(there))


def kinds_of_reasons(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """Reasons that differ by the file they name alone as one, and how many there are of each.

    Args:
        reasons: of `Rebuilt.table`.

    Returns:
        The most frequent first, with the first few names in brackets where there are several.
    """
    # By what stands before and after the name of a file.
    named: dict[tuple[str, str], Counter[str]] = {}
    for reason in reasons:
        match = _OF_A_FILE.fullmatch(reason)
        before, name, after = match.groups("") if match else ("", reason, "")
        # Where no file is named the whole reason is what they have in common.
        around = (before, after) if match else (reason, "")
        named.setdefault(around, Counter())[name] += 1
    told = [(_told(*around, names), names.total()) for around, names in named.items()]
    return sorted(told, key=lambda each: (-each[1], each[0]))


def _told(before: str, after: str, names: Collection[str]) -> str:
    """A reason of one file, or of several."""
    if not after:
        return before
    if len(names) == 1:
        return f"{before}{next(iter(names))} is {after}"
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    few = ", ".join(sorted(names)[:_NAMED])
    return f"{before}{len(names):,} files are {after} ({few}{more})"


def _table(
    rows: Sequence[PictureRow], reasons: Mapping[str, str | None], published: set[str]
) -> pd.DataFrame:
    """Columns as in `COLUMNS`."""
    records = [
        {
            **row.columns(),
            "is_published": row.path in published,
            "kept": reasons[row.path] is None,
            "reason": reasons[row.path],
        }
        for row in rows
    ]
    return pd.DataFrame(records, columns=list(COLUMNS)).astype({"reason": object})


# What there is


def _published_rows(folder: Path) -> list[PictureRow]:
    path = folder / PICTURES
    try:
        frame = pd.read_parquet(path).astype(object)
        records = frame.where(frame.notna(), None).to_dict("records")
        return [PictureRow.model_validate(record) for record in records]
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        told = first_problem(error)[1] if isinstance(error, ValidationError) else str(error)
        raise CurationError(
            f"{path} is damaged ({told.splitlines()[0]}): get it again from whoever published it."
        ) from None


def _check_belongs(
    folder: Path, recipe: Recipe, places: Sequence[Place], published: Sequence[PictureRow]
) -> None:
    """Refuse a recipe that is of another data set than the one it lies in."""
    here = {place.place_id for place in places}
    known = here | {place.place_id for place in recipe.places}
    shown = {(row.place_id, row.view) for row in published}
    paths = {row.path for row in published}
    faults = (
        [f"place {p.place_id} is published" for p in recipe.places if p.place_id in here]
        + [f"place {r.place_id} is not known" for r in published if r.place_id not in here]
        + [f"place {r.place_id} is not known" for r in recipe.pictures if r.place_id not in known]
        + [
            f"{r.path} is published"
            for r in recipe.pictures
            if r.path in paths or (r.place_id, r.view) in shown
        ]
    )
    if faults:
        raise CurationError(
            f"{folder / FILE_NAME} is not of the data set it lies in ({faults[0]}): get both again "
            f"from whoever published them."
        )


def _bare(place: Place) -> Place:
    """A place without its pictures and what they tell, which `write_data_set` adds."""
    none: dict[str, Any] = dict.fromkeys((*VIEWS, "source", "licence", "attribution"))
    return replace(place, **none)


def _left_behind(place: RecipePlace) -> Place:
    footprint = shapely.Polygon(place.footprint)
    words = {name: getattr(place, name) for name in ("country", "split", "text")}
    return Place(place.place_id, place.lat, place.lon, footprint, **words)


def _begin(out: Path, folder: Path) -> Workspace:
    """The folder to work in.

    Raises:
        CurationError: it holds something else.
    """
    parts = [file_digest(folder / name) for name in (FILE_NAME, TABLE_NAME, PICTURES)]
    note = json.dumps({"rebuilds": parts}, indent=1) + "\n"
    path = out / NOTE
    try:
        out.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            if path.read_text(encoding="utf-8") != note:
                raise CurationError(
                    f"{out} is of another data set, or of another publication of it: name "
                    f"another folder with --out."
                )
        elif any(not entry.name.startswith(".") for entry in out.iterdir()):
            raise CurationError(f"{out} is not empty: name another folder with --out.")
        else:
            write_atomically(path, note.encode())
    except OSError as error:
        raise CurationError(
            f"{out} cannot be written ({error.strerror}): name another folder with --out."
        ) from error
    return Workspace(out)


# Making


@dataclass(frozen=True)
class _Made:
    """A picture's file, and what it was made of: name, file (if it is one) and its right digest."""

    data: bytes
    source: str
    file: Path | None = None
    sha256: str | None = None


def _copy(
    folder: Path, target: Path, rows: Sequence[PictureRow], step: Step
) -> dict[str, str | None]:
    """Copy the published pictures; by path, why one is not there."""
    report = step("copying pictures")
    reasons: dict[str, str | None] = {}
    for done, row in enumerate(rows, 1):
        source = folder / row.path
        reasons[row.path] = _settle(target, row, partial(_made_of_file, source), _damaged)
        report(done, len(rows))
    return reasons


def _made_of_file(path: Path) -> _Made:
    return _Made(path.read_bytes(), str(path))


def _damaged(made: _Made) -> str:
    return f"{made.source} is damaged: get it again from whoever published it"


def _make(
    target: Path, rows: Sequence[RecipePicture], maker: "_Maker", threads: int, step: Step
) -> dict[str, str | None]:
    """Make the pictures that are not passed on; by path, why one is not there."""
    wanted = {row.path: row for row in rows}
    report = step(f"rebuilding {len(wanted):,} pictures")
    reasons: dict[str, str | None] = {}
    with ThreadPoolExecutor(threads) as pool:
        work = {
            pool.submit(_settle, target, row, partial(maker.make, row), maker.why): path
            for path, row in sorted(wanted.items())
        }
        try:
            for done, one in enumerate(as_completed(work), 1):
                reasons[work[one]] = one.result()
                report(done, len(work))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return reasons


def _settle(
    target: Path, row: PictureRow, make: Callable[[], _Made], why: Callable[[_Made], str]
) -> str | None:
    """See that a picture is there, as it should be; the reason why it is not, or None.

    Raises:
        CurationError: files cannot be written.
    """
    path = target / row.path
    if path.exists():
        is_it = path.is_file() and file_digest(path) == row.sha256
        return None if is_it else f"another file is at {path}: move it away"
    try:
        made = make()
    except (UnfitError, ImageError, RasterError, DownloadError) as error:
        return str(error)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if hashlib.sha256(made.data).hexdigest() != row.sha256:
        return why(made)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, made.data)
    except OSError as error:
        raise CurationError(
            f"{path} cannot be written ({error.strerror}): make room and run again, it goes on."
        ) from error
    return None


@contextmanager
def _maker(workspace: Workspace, recipe: Recipe, access: Access) -> Iterator["_Maker"]:
    with (
        Client(workspace.cache, allow_private=access.allow_private) as client,
        ThreadPoolExecutor() as pool,
    ):
        yield _Maker(recipe, access, client, pool)


class _Maker:
    """Makes the pictures of a recipe, of what somebody has."""

    def __init__(
        self, recipe: Recipe, access: Access, client: Client, pool: ThreadPoolExecutor
    ) -> None:
        self._recipe = recipe
        self._settings = recipe.settings
        self._access = access
        self._client = client
        self._pool = pool
        self._one_large = threading.Lock()
        self._files = RemoteFiles(client)
        self._copies = own_copies(recipe, access.rasters)
        self._digests = {raster.name: raster.sha256 for raster in recipe.rasters}
        self._digest_of = cache(file_digest)
        if access.photos and not access.photos.is_dir():
            raise CurationError(f"{access.photos} is no folder: correct --photos.")

    def make(self, row: RecipePicture) -> _Made:
        """A picture.

        Raises:
            UnfitError, ImageError, RasterError, DownloadError: it cannot be had; says why.
        """
        if isinstance(row.origin, StreetOrigin):
            return self._made_of_street(row.origin)
        config = self._settings.crop if row.view == "drone" else self._settings.satellite
        if config is None:
            raise UnfitError("the recipe does not tell how it is made")
        side_px = config.side_px(row.origin.side_m)
        if side_px > _MOST_PX:
            raise UnfitError(f"the recipe wants it more than {_MOST_PX} pixels wide")
        with self._one_large if side_px > _LARGE_PX else nullcontext():
            if row.origin.raster is not None:
                return self._made_of_raster(row.origin, row.origin.raster, config)
            if self._settings.tiles and row.view == "satellite":
                return self._made_of_tiles(row.place_id, row.origin, config, self._settings.tiles)
        raise UnfitError("the recipe does not tell its raster")

    def why(self, made: _Made) -> str:
        """Why a picture came out differently, as far as can be told."""
        if made.file and made.sha256 and self._digest_of(made.file) != made.sha256:
            return f"it comes out differently: {made.source} is not what it was made of"
        apart = self._recipe.versions_apart()
        if apart:
            return f"it comes out differently here, with {apart}"
        return f"it comes out differently: {made.source} gives another picture now"

    # From above

    def _made_of_raster(self, origin: GroundOrigin, name: str, config: PictureConfig) -> _Made:
        raster = self._copies.get(name, name if is_address(name) else None)
        if raster is None:
            raise UnfitError(f"{name} is not there: give your copy with --raster")
        with opened(raster, self._files) as found:
            picture, _ = cut(found, origin.lat, origin.lon, origin.side_m, config)
        file = None if is_address(raster) else Path(raster)
        return _Made(config.encode(picture), raster, file, self._digests.get(name))

    def _made_of_tiles(
        self, place_id: str, at: GroundOrigin, config: PictureConfig, tiles: TilesConfig
    ) -> _Made:
        refusal = tiles.key_variable and self._access.refusal(tiles.key_variable, tiles.url)
        if refusal:
            raise UnfitError(refusal)
        footprint = footprint_around(at.lat, at.lon, at.side_m, at.side_m)
        place = Ground(place_id, at.lat, at.lon, footprint, at.side_m, None)
        paced = tiles.model_copy(update=_pace(tiles))
        shot = TileSource(self._client, self._pool, config, paced).shoot(place)
        return _Made(config.encode(shot.picture), tiles.url)

    # From the street

    def _made_of_street(self, origin: StreetOrigin) -> _Made:
        provider, _, name = origin.pano_id.partition(":")
        if provider == Folder.name:
            path = self._photo(name)
            source = str(path)
        else:
            path = self._download(provider, name, origin.url)
            source = f"the picture that {provider} gives now"
        heading_deg = math.nan if origin.heading_deg is None else origin.heading_deg
        picture = street_picture(path, self._settings.crop, origin.is_360, heading_deg)
        return _Made(self._settings.crop.encode(picture), source, path, origin.sha256)

    def _photo(self, name: str) -> Path:
        if self._access.photos is None:
            raise UnfitError("it is of a folder of photos: give your copy with --photos")
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise UnfitError(f"the recipe names {name!r}, which leads out of the folder of photos")
        path = self._access.photos / pure
        if not path.is_file():
            raise UnfitError(f"{path} is not there")
        return path

    def _download(self, provider: str, name: str, url: str | None) -> Path:
        refusal = self._refusals.get(provider, f"the recipe has no provider {provider!r}")
        if refusal:
            raise UnfitError(refusal)
        root = self._roots[provider]
        if provider != "panoramax" and not is_below(url or "", root):
            raise UnfitError(f"its address is not one of {root}")
        return self._providers[provider].picture(Panorama(id=name, provider=provider, url=url))

    @cached_property
    def _roots(self) -> dict[str, str]:
        return {one.kind: one.url for one in self._settings.providers}

    @cached_property
    def _refusals(self) -> dict[str, str | None]:
        """By kind of provider, why it is not asked, or None."""
        return {one.kind: self._access.refusal_of(one) for one in self._settings.providers}

    @cached_property
    def _providers(self) -> dict[str, Provider]:
        usable = [
            one.model_copy(update=_pace(one) | _word(one))
            for one in self._settings.providers
            if self._refusals[one.kind] is None
        ]
        config = StreetConfig(providers=tuple(usable), max_picture_mb=self._access.max_picture_mb)
        return {one.name: one for one in make_providers(config, self._client)}


def _word(config: Online) -> dict[str, bool]:
    """The word of whoever carries out the recipe, without which Google is not asked."""
    return {"i_accept_the_terms": True} if isinstance(config, GoogleConfig) else {}


def _pace(config: Online | TilesConfig) -> dict[str, float]:
    """The pace of a recipe as an update of its settings, or the usual one if that is slower."""
    usual: float = type(config).model_fields["requests_per_second"].default
    return {"requests_per_second": min(usual, config.requests_per_second)}
