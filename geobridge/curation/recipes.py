"""`recipe.json`: what it takes to make again the pictures of a data set that are not passed on.

Written by the stage `publish`, carried out by `rebuild`. What comes from elsewhere is not to be
trusted: paths in it stay within their folder, and what it asks for is bounded.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import rasterio
import shapely
import simplejpeg
from pydantic import Field, FiniteFloat, ValidationError, model_validator

import geobridge
from geobridge.curation.crop import CropConfig
from geobridge.curation.pictures import MOST_SIDE_M, PictureConfig
from geobridge.curation.providers.google import GoogleConfig
from geobridge.curation.providers.mapillary import MapillaryConfig
from geobridge.curation.providers.panoramax import PanoramaxConfig
from geobridge.curation.tiles import TilesConfig
from geobridge.errors import CurationError
from geobridge.files import write_atomically
from geobridge.model.config import Settings, first_problem
from geobridge.views import View

FILE_NAME = "recipe.json"

FORMAT: Literal["geobridge recipe"] = "geobridge recipe"
VERSION: Literal[3] = 3

_NAME = re.compile(r"[A-Za-z0-9_~,+-][A-Za-z0-9._~,+-]*\.(jpg|png)")

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""Hexadecimal SHA-256."""

Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]


class PictureRow(Settings):
    """A row of `pictures.parquet`.

    Attributes:
        place_id: of its place.
        view: of the place.
        path: in the data set, `VIEW/NAME.jpg` or `.png`.
        provider: whom it comes from.
        licence: its terms, or None.
        attribution: whom to name, or None.
        captured: ISO date or date-time, or None.
        gsd_m: ground metres a pixel, or None.
        sha256: of the file.
    """

    place_id: str = Field(min_length=1)
    view: View
    path: str
    provider: str
    licence: str | None = None
    attribution: str | None = None
    captured: str | None = None
    gsd_m: FiniteFloat | None = None
    sha256: Digest

    @model_validator(mode="after")
    def _stays_inside(self) -> Self:
        folder, _, name = self.path.partition("/")
        if folder != self.view or not _NAME.fullmatch(name):
            raise ValueError(
                f"the path {self.path!r} is not of a picture in the folder {self.view}"
            )
        return self

    def columns(self) -> dict[str, Any]:
        """As columns of the table."""
        return {name: getattr(self, name) for name in PICTURE_COLUMNS}


PICTURE_COLUMNS = tuple(PictureRow.model_fields)
"""Of the table of pictures."""


class GroundOrigin(Settings):
    """What a picture from above is made of.

    Attributes:
        raster: address, or a name in `Recipe.rasters`; None where it is of tiles.
        lat: of its middle, WGS-84 degrees.
        lon: of its middle.
        side_m: of the square of ground.
    """

    raster: str | None
    lat: Latitude
    lon: Longitude
    side_m: float = Field(gt=0, le=MOST_SIDE_M)


class StreetOrigin(Settings):
    """What a picture of a street is made of.

    Attributes:
        pano_id: `provider:id`.
        url: its lasting address without secrets; None for a file.
        heading_deg: compass of its middle column; None where it is not known.
        is_360: whether it goes all the way round.
        sha256: of the file that the provider gave; None where it was gone.
    """

    pano_id: str = Field(pattern=r"^[^:]+:.+$")
    url: str | None
    heading_deg: FiniteFloat | None
    is_360: bool
    sha256: Digest | None


class RecipePicture(PictureRow):
    """A picture that is not passed on, and what it is made of (`origin`)."""

    origin: GroundOrigin | StreetOrigin

    @model_validator(mode="after")
    def _origin_fits(self) -> Self:
        if isinstance(self.origin, StreetOrigin) != (self.view == "street"):
            raise ValueError(f"the origin of {self.path!r} is not one of its view")
        return self


class RecipeRaster(Settings):
    """A file that pictures are cut from; its maker's name for it, and what is in it.

    Attributes:
        name: of the file, without folders.
        sha256: of its content; None where it was gone.
    """

    name: str = Field(pattern=r"^[^/]+$")
    sha256: Digest | None


class RecipePlace(Settings):
    """A place of which no picture is passed on.

    Attributes:
        place_id: as in the table of places.
        lat: of the spot its pictures are of.
        lon: likewise.
        footprint: corners of its outline, lon and lat, the last the same as the first.
        country: where it lies, or None.
        split: which it is in.
        text: its description, or None.
    """

    place_id: str = Field(min_length=1)
    lat: Latitude
    lon: Longitude
    footprint: tuple[tuple[FiniteFloat, FiniteFloat], ...] = Field(min_length=4)
    country: str | None
    split: str | None
    text: str | None

    @model_validator(mode="after")
    def _lies_within(self) -> Self:
        ground = shapely.Polygon(self.footprint)
        if not ground.is_valid or not ground.area:
            raise ValueError(f"the footprint of the place {self.place_id!r} has no area")
        # Across the antimeridian longitudes go on beyond +-180.
        turned = [shapely.Point(self.lon + turn, self.lat) for turn in (-360, 0, 360)]
        if not any(map(ground.covers, turned)):
            raise ValueError(f"the place {self.place_id!r} does not lie in its footprint")
        return self


Online = PanoramaxConfig | MapillaryConfig | GoogleConfig
"""Providers that are asked through the network."""


class RecipeSettings(Settings):
    """What stages were set to, as far as it decides how pictures come out.

    Attributes:
        crop: how pictures of drone and street are made.
        satellite: how those of satellites are; None where there are none.
        tiles: of a web map that these are of, or None.
        providers: of panoramas, folders left out.
        apart_m: least distance between places of two splits.
    """

    crop: CropConfig
    satellite: PictureConfig | None
    tiles: TilesConfig | None
    providers: tuple[Annotated[Online, Field(discriminator="kind")], ...]
    apart_m: float = Field(gt=0)


class Recipe(Settings):
    """What a recipe holds.

    Attributes:
        format: what it is.
        version: of the format.
        made_with: versions of what decides how pixels come out.
        settings: of the stages.
        left_out: places that were not published for other reasons.
        rasters: files that pictures are cut from.
        places: of which no picture is passed on.
        pictures: that are not passed on.
    """

    format: Literal["geobridge recipe"] = FORMAT
    version: Literal[3] = VERSION
    made_with: dict[str, str]
    settings: RecipeSettings
    left_out: int = Field(ge=0)
    rasters: tuple[RecipeRaster, ...]
    places: tuple[RecipePlace, ...]
    pictures: tuple[RecipePicture, ...]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        _check_once("raster", (raster.name for raster in self.rasters))
        _check_once("place", (place.place_id for place in self.places))
        _check_once("picture", (f"{row.view} of {row.place_id}" for row in self.pictures))
        digests: dict[str, str] = {}
        for row in self.pictures:
            if digests.setdefault(row.path, row.sha256) != row.sha256:
                raise ValueError(f"{row.path!r} is to be two different pictures")
        return self

    @model_validator(mode="after")
    def _tells_how(self) -> Self:
        if self.settings.satellite is None and any(p.view == "satellite" for p in self.pictures):
            raise ValueError("the settings do not tell how pictures of satellites are made")
        return self

    def versions_apart(self) -> str:
        """What was of another version when it was made than it is here; empty where nothing."""
        here = versions()
        return ", ".join(
            f"{name} {version} instead of {here.get(name, 'none')}"
            for name, version in sorted(self.made_with.items())
            if here.get(name) != version
        )


def versions() -> dict[str, str]:
    """Versions of what decides how pixels come out."""
    return {
        "geobridge": geobridge.__version__,
        "gdal": rasterio.__gdal_version__,
        "simplejpeg": simplejpeg.__version__,
    }


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the recipe of a data set whole."""
    text = json.dumps(recipe.model_dump(mode="json"), indent=1, ensure_ascii=False)
    write_atomically(folder / FILE_NAME, f"{text}\n".encode())


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a data set.

    Raises:
        CurationError: there is none, or it is damaged or of another version; says where.
    """
    path = folder / FILE_NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CurationError(
            f"{folder} has no {FILE_NAME}: name the folder of a data set that was published with "
            f"only_redistributable."
        ) from None
    except (OSError, ValueError, RecursionError):
        raise CurationError(f"{path} is damaged: get it again from whoever published it.") from None
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise CurationError(
            f"{path} is no recipe of GeoBridge: name the folder of a data set that was published "
            f"with only_redistributable."
        )
    if data.get("version") != VERSION:
        raise CurationError(
            f"{path} is of version {data.get('version')}, and version {VERSION} is read here: ask "
            f"whoever published it to publish it again."
        )
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        place, problem = first_problem(error)
        at = f" at {place!r}" if place else ""
        raise CurationError(
            f"{path} is damaged{at} ({problem}): get it again from whoever published it."
        ) from None


def _check_once(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"the {what} {name!r} is there twice")
        seen.add(name)
