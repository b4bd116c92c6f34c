"""What somebody who carries out a recipe has, and what of it goes where.

A recipe is somebody else's word: which secret is sent to which host is decided here.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, field_validator

from geobridge.curation.http import DownloadError, is_set, origin
from geobridge.curation.providers import google, mapillary
from geobridge.curation.providers.google import GoogleConfig
from geobridge.curation.providers.mapillary import MapillaryConfig
from geobridge.curation.rasters import file_digest, is_address, list_rasters
from geobridge.curation.recipes import GroundOrigin, Online, Recipe
from geobridge.curation.street import secret_of
from geobridge.errors import CurationError
from geobridge.model.config import Settings

# What a recipe may ask for without being asked back: a provider's secret for the provider itself.
_OWN = {
    (mapillary.TOKEN, origin(MapillaryConfig().url)),
    (google.KEY, origin(GoogleConfig().url)),
}


class Access(Settings):
    """What somebody who carries out a recipe has, and allows.

    Attributes:
        rasters: own copies of the rasters, files or folders of them, told by their content or
            their name; or `NAME=FILE` with the name (or address) in the recipe.
        photos: own copy of the folder that the provider `folder` was given, or None.
        send: `VARIABLE=https://host`: secrets of the environment that may be sent to hosts that
            the recipe names. Those of Mapillary and Google may be sent to these.
        i_accept_the_terms: true states that an agreement with Google allows what is done here.
        allow_private: whether addresses of this machine and its networks may be asked.
        max_picture_mb: larger downloads are left out.
        threads: pictures under way at once.
    """

    rasters: tuple[str, ...] = ()
    photos: Path | None = None
    send: tuple[str, ...] = ()
    i_accept_the_terms: bool = False
    allow_private: bool = False
    max_picture_mb: float = Field(default=64.0, gt=0)
    threads: int = Field(default=8, ge=1)

    @field_validator("send")
    @classmethod
    def _is_assignment(cls, send: tuple[str, ...]) -> tuple[str, ...]:
        for entry in send:
            variable, _, host = entry.partition("=")
            if not variable or _origin(host) != host.lower():
                raise ValueError(f"{entry!r} is not of the form VARIABLE=https://host")
        return send

    def refusal(self, variable: str, url: str) -> str | None:
        """Why a secret is not sent to the host of an address that a recipe names, or None."""
        host = _origin(url)
        if host is None:
            return "the recipe names a provider without a host"
        sent = (entry.partition("=") for entry in self.send)
        if (variable, host) not in _OWN | {(name, given.lower()) for name, _, given in sent}:
            return (
                f"the recipe wants {variable} sent to {host}: allow it with --send "
                f"{variable}={host} if that is right"
            )
        if not (host.startswith("https://") or self.allow_private):
            return f"{variable} would be sent unencrypted to {host}"
        if not is_set(variable):
            return f"{variable} is not set: put your own secret into this environment variable"
        return None

    def refusal_of(self, provider: Online) -> str | None:
        """Why a provider of a recipe is not asked, or None."""
        if isinstance(provider, GoogleConfig) and not self.i_accept_the_terms:
            return (
                "Google's terms in general forbid to store Street View pictures and to train "
                "models on them: pass --i-accept-the-terms if an agreement allows it"
            )
        secret = secret_of(provider)
        return secret and self.refusal(secret, provider.url)


def _origin(url: str) -> str | None:
    """`https://host` of an address, in small letters; None where it has none."""
    try:
        return origin(url)
    except DownloadError:
        return None


def own_copies(recipe: Recipe, given: Sequence[str]) -> dict[str, str]:
    """By what the recipe calls a raster, one's own copy of it.

    Raises:
        CurationError: something that was given does not exist, or has nothing to do with the
            recipe.
    """
    origins = (row.origin for row in recipe.pictures)
    names = {o.raster for o in origins if isinstance(o, GroundOrigin) and o.raster}
    named: dict[str, str] = {}
    others = []
    for entry in given:
        name = next((name for name in names if entry.startswith(f"{name}=")), None)
        if name is None:
            others.append(entry)
        else:
            copy = entry.removeprefix(f"{name}=")
            if not (is_address(copy) or Path(copy).is_file()):
                raise CurationError(f"{copy} is no file that could stand for {name}: correct it.")
            named[name] = copy
    of_digest = {raster.sha256: raster.name for raster in recipe.rasters if raster.sha256}
    alike: dict[str, str] = {}
    same: dict[str, str] = {}
    for found in (found for found in list_rasters(others) if found.fault is None):
        if is_address(found.raster):
            raise CurationError(
                f"{found.raster} stands for no raster of the recipe: write NAME={found.raster} "
                f"with its name there."
            )
        path = Path(found.raster)
        if path.name in names:
            alike[path.name] = found.raster
        if name := of_digest.get(file_digest(path)):
            same[name] = found.raster
        elif found.is_named and path.name not in names:
            raise CurationError(
                f"{path} is none of the recipe's rasters ({', '.join(sorted(names)) or 'none'}): "
                f"write NAME={path} if it stands for one of them."
            )
    return {**alike, **same, **named}
