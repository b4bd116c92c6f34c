"""GeoBridge: cross-view geo-localization that works on real pictures.

Names are imported when they are first used, so that `import geobridge` stays fast and does not
load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geobridge.api import Gallery as Gallery
    from geobridge.errors import GeoBridgeError as GeoBridgeError
    from geobridge.localization.estimate import Candidate as Candidate
    from geobridge.localization.estimate import Estimate as Estimate
    from geobridge.localization.query import Query as Query
    from geobridge.model.geobridge import GeoBridge as GeoBridge
    from geobridge.views import Direction as Direction
    from geobridge.views import Modality as Modality
    from geobridge.views import View as View
    from geobridge.world import World as World

__version__ = "0.1.0"

_HOMES = {
    "Candidate": "geobridge.localization.estimate",
    "Direction": "geobridge.views",
    "Estimate": "geobridge.localization.estimate",
    "Gallery": "geobridge.api",
    "GeoBridge": "geobridge.model.geobridge",
    "GeoBridgeError": "geobridge.errors",
    "Modality": "geobridge.views",
    "Query": "geobridge.localization.query",
    "View": "geobridge.views",
    "World": "geobridge.world",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'geobridge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
