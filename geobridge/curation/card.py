"""The data card: what a places data set holds and whose it is, as a README.md."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geobridge.curation.countries import countries_at
from geobridge.curation.licences import may_be_redistributed
from geobridge.curation.recipes import (
    PICTURE_COLUMNS,
    GroundOrigin,
    PictureRow,
    Recipe,
    StreetOrigin,
)
from geobridge.files import write_atomically
from geobridge.geo.distance import distance_m
from geobridge.places.place import Place
from geobridge.views import VIEWS

_SHOWN = 40
_NAMED = 3
_ROWS = 12

_UNKNOWN = "not stated"


def write_card(
    path: Path,
    places: Sequence[Place],
    pictures: Sequence[PictureRow],
    *,
    left_out: int,
    apart_m: float,
    recipe: Recipe | None = None,
) -> None:
    """Write the card of a data set; the same tables give the same bytes.

    Args:
        path: of the card.
        places: with or without their pictures.
        pictures: rows of the table of pictures.
        left_out: places that are not published.
        apart_m: least distance between places of two splits.
        recipe: of the pictures that are kept back.
    """
    frame = pd.DataFrame([row.columns() for row in pictures], columns=list(PICTURE_COLUMNS))
    country = pd.Series([place.country for place in places], dtype=object)
    split = pd.Series([place.split for place in places], dtype=object)
    _, near_border = countries_at([place.lat for place in places], [place.lon for place in places])
    parts = [
        "# Places\n",
        f"{len(places):,} places with {len(frame):,} pictures, in `places.parquet` (GeoParquet, "
        f"one row a place) and the folders beside it. `pictures.parquet` tells of each picture "
        f"whom it comes from, its licence, whom to name, its date, its ground resolution and its "
        f"SHA-256. {left_out:,} more places were left out when this was published.\n",
        _warning(frame),
        *(f"**Mind:** {told}.\n" for told in cautions(places, pictures, apart_m)),
        _kept_back(recipe, len(frame)),
        f"Places of different splits are at least {apart_m:g} m apart.\n",
        _counts("Splits", "split", split),
        _counts("Countries", "country", country.fillna("at sea")),
        _border_note(int(near_border.sum())),
        _views(frame),
        _by_view("Dates", "year", frame, frame["captured"].map(_year)),
        _by_view("Providers", "provider", frame, frame["provider"]),
        _by_view("Licences", "licence", frame, frame["licence"].fillna(_UNKNOWN)),
        _attributions(frame),
    ]
    write_atomically(path, "\n".join(part for part in parts if part).encode())


def cautions(places: Sequence[Place], pictures: Sequence[PictureRow], apart_m: float) -> list[str]:
    """What stands in the way of training on a data set, or of trusting its splits.

    Args:
        places: with or without their pictures.
        pictures: of them.
        apart_m: least distance between places of two splits.
    """
    told = []
    count = Counter(row.place_id for row in pictures)
    taught = sum(count[place.place_id] + bool(place.text) > 1 for place in places)
    if taught < len(places):
        some = "none" if not taught else f"{taught:,}"
        told.append(
            f"{some} of the {len(places):,} places can be trained on, since it takes two views of "
            f"a place, or a view and a text"
        )
    longest_m = max((_diagonal_m(place) for place in places), default=0.0)
    if len({place.split for place in places}) > 1 and apart_m < longest_m:
        told.append(
            f"footprints of two splits may overlap, since places of two splits are {apart_m:g} m "
            f"apart (`splits.apart_m`) and the longest diagonal of a footprint is "
            f"{longest_m:.0f} m"
        )
    return told


def kept_back(recipe: Recipe, published: int) -> str:
    """How many pictures a recipe keeps back, and of what licence.

    Args:
        recipe: of the data set.
        published: pictures that are in it.
    """
    kinds = Counter(f"{row.view} ({row.licence or _UNKNOWN})" for row in recipe.pictures)
    told = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common())
    count = len(recipe.pictures)
    return f"{count:,} of {count + published:,} pictures kept back: {told}"


def _kept_back(recipe: Recipe | None, published: int) -> str:
    """What a recipe keeps back, and the command and the files that bring it."""
    if recipe is None or not recipe.pictures:
        return ""
    origins = [row.origin for row in recipe.pictures]
    rasters = [raster.name for raster in recipe.rasters]
    photos = [row for row in recipe.pictures if row.provider == "folder" and row.view == "street"]
    addresses = {
        origin.raster for origin in origins if isinstance(origin, GroundOrigin) and origin.raster
    }.difference(rasters)
    asked = sorted(
        {
            row.provider
            for row in recipe.pictures
            if isinstance(row.origin, StreetOrigin) and row.provider != "folder"
        }
    )
    command = "geobridge data rebuild places ."
    command += " --raster RASTERS" * bool(rasters) + " --photos PHOTOS" * bool(photos)
    lines = [
        "## What is not here, and how to get it\n",
        f"{kept_back(recipe, published)}. Their licences are not known to let anyone pass them "
        f"on; `recipe.json` tells how each is made again, and with which digest:\n",
        f"```bash\n{command} --out whole\n```\n",
        "It needs",
    ]
    if rasters:
        lines.append(f"- RASTERS, a folder with your copies of {_some(rasters)}")
    if addresses:
        lines.append(f"- from the network {_some(sorted(addresses))}")
    if photos:
        lines.append(
            f"- PHOTOS, your copy of the folder of photos, of which {len(photos):,} are needed"
        )
    if recipe.settings.tiles and any(
        isinstance(origin, GroundOrigin) and origin.raster is None for origin in origins
    ):
        lines.append("- tiles, from the server that the recipe names")
    if asked:
        lines.append(f"- access to {_some(asked)}")
    return "\n".join(lines) + "\n"


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(f"`{name}`" for name in names[:_NAMED]) + more


def _diagonal_m(place: Place) -> float:
    """From corner to corner of a footprint, at most."""
    lon, lat = np.array(place.footprint.exterior.coords)[:-1].T
    return float(np.max(distance_m(lat[:, None], lon[:, None], lat, lon)))


def _warning(frame: pd.DataFrame) -> str:
    """That the data set may not be passed on, where it may not."""
    kept_back = int((~frame["licence"].map(may_be_redistributed)).sum())
    if not kept_back:
        return ""
    return (
        f"**Not to be passed on:** {kept_back:,} of the pictures have no licence that is known to "
        f"let anyone pass them on. `only_redistributable` publishes a data set without them, and a "
        f"recipe for them.\n"
    )


def _border_note(count: int) -> str:
    if not count:
        return ""
    return (
        f"{count:,} of them are so near to a border that they may lie in the other country: the "
        f"outlines, Natural Earth's at 1:10 million, are not finer.\n"
    )


def _counts(title: str, name: str, values: "pd.Series[Any]") -> str:
    counted = sorted(values.value_counts().items(), key=lambda item: (-item[1], str(item[0])))
    return f"## {title}\n\n" + _table((name, "places"), ((word, f"{n:,}") for word, n in counted))


def _views(frame: pd.DataFrame) -> str:
    rows = []
    for view in VIEWS:
        of_view = frame[frame["view"] == view]
        gsd_m = of_view["gsd_m"].dropna().to_numpy(np.float64)
        told = ("", "", "")
        if len(gsd_m):
            low, middle, high = np.quantile(gsd_m, [0, 0.5, 1])
            told = (f"{low:.3g}", f"{middle:.3g}", f"{high:.3g}")
        rows.append((view, f"{len(of_view):,}", *told))
    header = ("view", "pictures", "finest m a pixel", "median", "coarsest")
    return "## Views\n\n" + _table(header, rows)


def _by_view(title: str, name: str, frame: pd.DataFrame, values: "pd.Series[Any]") -> str:
    counted = pd.crosstab(values, frame["view"]).reindex(columns=list(VIEWS), fill_value=0)
    rows = sorted(zip(counted.index, counted.to_numpy().tolist(), strict=True))
    if len(rows) > _ROWS:
        # Rasters that state no source are named after their files: many, of a few pictures each.
        most = sorted(rows, key=lambda row: (-sum(row[1]), row[0]))
        shown, rest = most[:_ROWS], most[_ROWS:]
        summed = np.sum([counts for _, counts in rest], axis=0).tolist()
        rows = [*sorted(shown), (f"{len(rest):,} others", summed)]
    cells = [(word, *(f"{n:,}" for n in counts)) for word, counts in rows]
    return f"## {title}\n\n" + _table((name, *VIEWS), cells)


def _attributions(frame: pd.DataFrame) -> str:
    """Whom to name, by provider."""
    named = frame.dropna(subset=["attribution"])
    lines = [
        "## Attribution\n",
        "Whoever shows a picture names whom its row in `pictures.parquet` names.\n",
    ]
    providers: dict[tuple[str, ...], list[str]] = {}
    for provider, some in sorted(named.groupby("provider")["attribution"]):
        providers.setdefault(tuple(sorted(set(some))), []).append(provider)
    for who, of in providers.items():
        others = f", and {len(of) - _NAMED:,} other providers" if len(of) > _NAMED else ""
        more = f", and {len(who) - _SHOWN:,} more" if len(who) > _SHOWN else ""
        lines.append(f"- {', '.join(of[:_NAMED])}{others}: {', '.join(who[:_SHOWN])}{more}")
    return "\n".join(lines) + "\n"


def _year(captured: Any) -> str:
    return captured[:4] if isinstance(captured, str) else _UNKNOWN


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(word: Any) -> str:
    return str(word).replace("|", "\\|").replace("\n", " ")
