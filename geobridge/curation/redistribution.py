"""What of a data set may be passed on, and the recipe of the rest."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, TypeVar

from pydantic import ValidationError

from geobridge.curation.crop import CropConfig
from geobridge.curation.http import secret_in, without_secrets
from geobridge.curation.licences import may_be_redistributed
from geobridge.curation.pictures import PictureConfig
from geobridge.curation.providers.folder import FolderConfig
from geobridge.curation.providers.google import GoogleConfig
from geobridge.curation.rasters import RasterFacts, digest, file_digest, is_address
from geobridge.curation.recipes import (
    PICTURE_COLUMNS,
    GroundOrigin,
    Online,
    Recipe,
    RecipePicture,
    RecipePlace,
    RecipeRaster,
    RecipeSettings,
    StreetOrigin,
    versions,
)
from geobridge.curation.satellite import SatelliteConfig
from geobridge.curation.state import FILE_NAME as NOTES
from geobridge.curation.state import read_notes
from geobridge.curation.street import StreetConfig
from geobridge.errors import CurationError
from geobridge.model.config import Settings, first_problem
from geobridge.places.place import Place
from geobridge.progress import Step
from geobridge.views import View

_Stage = TypeVar("_Stage", bound=Settings)


@dataclass(frozen=True)
class PlacePicture:
    """A picture of a place: where it lies in the curation's folder, and whose it is.

    Attributes:
        view: of the place.
        path: relative to the curation's folder.
        provider: whom it comes from.
        licence: its terms, or None.
        attribution: whom to name, or None.
        captured: ISO date or date-time, or None.
        gsd_m: ground metres a pixel, or None.
        origin: what it takes to make it again; its raster is that of the tables.
        source: the file it was made of, relative to the curation's folder, where there is one.
    """

    view: View
    path: str
    provider: str
    licence: str | None
    attribution: str | None
    captured: str | None
    gsd_m: float | None
    origin: GroundOrigin | StreetOrigin
    source: str | None = None

    @property
    def is_free(self) -> bool:
        """Whether its licence is known to let anyone pass it on."""
        return may_be_redistributed(self.licence)

    @property
    def published(self) -> str:
        """Its path in the data set."""
        return PurePosixPath(self.path).relative_to("pictures").as_posix()

    def columns(self, place_id: str, digest: str) -> dict[str, Any]:
        """Of the table of pictures."""
        own = {name: getattr(self, name) for name in PICTURE_COLUMNS if hasattr(self, name)}
        return {**own, "place_id": place_id, "path": self.published, "sha256": digest}


def make_recipe(
    folder: Path,
    places: Mapping[str, Place],
    pictures: Mapping[str, list[PlacePicture]],
    left_out: int,
    apart_m: float,
    step: Step,
) -> Recipe:
    """How to rebuild the pictures that may not be passed on.

    Args:
        folder: of the curation.
        places: by their ids.
        pictures: of each, those that may be passed on too.
        left_out: places that are not published for other reasons.
        apart_m: least distance between places of two splits.
        step: is told what is done.

    Raises:
        CurationError: a picture is gone, or the folder's notes do not tell a stage's settings.
    """
    wanted = [
        (n, picture) for n, some in pictures.items() for picture in some if not picture.is_free
    ]
    report = step("writing the recipe")
    settings = _settings(folder, apart_m)
    # A panorama is of several places, and a raster of many.
    digest_of = cache(_digest)
    names = raster_names(
        (
            picture.origin.raster
            for _, picture in wanted
            if isinstance(picture.origin, GroundOrigin) and picture.origin.raster
        ),
        digest_of,
    )
    rows = []
    for done, (name, picture) in enumerate(wanted, 1):
        rows.append(_recipe_row(folder, name, picture, names, digest_of))
        report(done, len(wanted))
    # One name for equal content, and the digest of each name.
    known = {
        name: digest_of(Path(raster)) for raster, name in names.items() if not is_address(raster)
    }
    return Recipe(
        made_with=versions(),
        settings=settings,
        left_out=left_out,
        rasters=tuple(
            RecipeRaster(name=name, sha256=sha256) for name, sha256 in sorted(known.items())
        ),
        places=tuple(
            _recipe_place(places[name])
            for name, some in pictures.items()
            if not any(picture.is_free for picture in some)
        ),
        pictures=tuple(rows),
    )


def raster_names(rasters: Iterable[str], digest_of: Callable[[Path], str | None]) -> dict[str, str]:
    """What the recipe calls each raster: its address, or the name of a file of this content.

    Args:
        rasters: paths and addresses.
        digest_of: gives the digest of a file's content, None where it is gone.
    """
    names: dict[str, str] = {}
    name_of: dict[str, str] = {}
    taken: set[str] = set()
    for raster in sorted(set(rasters)):
        if is_address(raster):
            names[raster] = shareable(raster)
            continue
        content = digest_of(Path(raster)) or digest(raster)
        if content not in name_of:
            name_of[content] = _free_name(PurePath(raster), content, taken)
            taken.add(name_of[content])
        names[raster] = name_of[content]
    return names


def _free_name(path: PurePath, content: str, taken: set[str]) -> str:
    tried = [path.name, *(f"{path.stem}-{content[:n]}{path.suffix}" for n in range(8, 65))]
    return next(name for name in tried if name not in taken)


def shareable(raster: str) -> str:
    """Of an address what is no secret, and of a path of this machine the last part."""
    return stated(raster) if is_address(raster) else PurePath(raster).name or raster


def stated(words: str) -> str:
    """Words as they are, but for what may be a secret in an address."""
    return without_secrets(words) if secret_in(words) else words


def _digest(path: Path) -> str | None:
    """Digest of what a picture was made of; None where it is gone."""
    return file_digest(path) if path.is_file() else None


def _recipe_row(
    folder: Path,
    place_id: str,
    picture: PlacePicture,
    names: Mapping[str, str],
    digest_of: Callable[[Path], str | None],
) -> RecipePicture:
    if isinstance(picture.origin, GroundOrigin):
        known: dict[str, Any] = {"raster": names.get(picture.origin.raster or "")}
    else:
        known = {"sha256": digest_of(folder / picture.source) if picture.source else None}
    sha256 = digest_of(folder / picture.path)
    if sha256 is None:
        raise CurationError(f"{folder / picture.path} is gone: run the stage again that made it.")
    columns = picture.columns(place_id, sha256)
    return RecipePicture(**columns, origin=picture.origin.model_copy(update=known))


def _recipe_place(place: Place) -> RecipePlace:
    return RecipePlace(
        place_id=place.place_id,
        lat=place.lat,
        lon=place.lon,
        footprint=tuple(place.footprint.exterior.coords),
        country=place.country,
        split=place.split,
        text=place.text,
    )


def _settings(folder: Path, apart_m: float) -> RecipeSettings:
    """What the pipeline noted, as far as a rebuild needs it: nothing else leaves this machine."""
    notes = read_notes(folder)
    street = _noted(folder, notes, "street", StreetConfig)
    satellite = (
        _noted(folder, notes, "satellite", SatelliteConfig) if "satellite" in notes else None
    )
    pictures = tiles = None
    if satellite:
        pictures = PictureConfig.model_validate(
            satellite.model_dump(include=set(PictureConfig.model_fields))
        )
        # What they show is told of each picture.
        tiles = satellite.tiles and satellite.tiles.model_copy(
            update={"allow_private": False, "facts": RasterFacts()}
        )
    return RecipeSettings(
        crop=_noted(folder, notes, "crop", CropConfig),
        satellite=pictures,
        tiles=tiles,
        providers=tuple(
            _plain(one) for one in street.providers if not isinstance(one, FolderConfig)
        ),
        apart_m=apart_m,
    )


def _plain(provider: Online) -> Online:
    """A provider without its user's word, which is not that of whoever carries out the recipe."""
    if isinstance(provider, GoogleConfig):
        return provider.model_copy(update={"i_accept_the_terms": False})
    return provider


def _noted(
    folder: Path, notes: Mapping[str, Mapping[str, Any]], stage: str, kind: type[_Stage]
) -> _Stage:
    if stage not in notes:
        raise CurationError(
            f"{folder / NOTES} does not tell with which settings the stage {stage} was run, which "
            f"the recipe needs: run it again with `geobridge curate`."
        )
    try:
        return kind.model_validate(notes[stage]["settings"])
    except ValidationError as error:
        place, problem = first_problem(error)
        raise CurationError(
            f"{folder / NOTES} has settings of the stage {stage} that the recipe cannot hold, at "
            f"{place!r} ({problem}): correct the configuration and run the stage again."
        ) from None
