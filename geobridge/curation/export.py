"""A places data set in other layouts: WebDataset shards, and the folders of the paper's release.

Both are the same, byte for byte, when they are made from the same data set.
"""

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from geobridge.curation.publish import PICTURES
from geobridge.errors import PlacesError
from geobridge.geo.footprint import to_geojson
from geobridge.places.place import Place
from geobridge.places.release import footprint_name
from geobridge.places.table import iter_places
from geobridge.progress import Report
from geobridge.views import VIEWS

UNSPLIT = "all"
"""What the split is called of places that have none."""

PLACES_PER_SHARD = 1000

_OF_PICTURE = ("provider", "licence", "attribution", "captured", "gsd_m", "sha256")
"""Columns of the table of pictures that the JSON of a shard has too."""


def export_webdataset(
    folder: str | Path,
    out: str | Path,
    *,
    per_shard: int = PLACES_PER_SHARD,
    progress: Report | None = None,
) -> list[Path]:
    """Write a data set as shards of WebDataset (https://github.com/webdataset/webdataset).

    `OUT/<split>-000000.tar` holds of each place `<key>.drone.jpg`, `<key>.street.jpg`,
    `<key>.satellite.jpg` (or with the suffix they have), `<key>.txt` and `<key>.json`. The key is
    the place_id with what a file's name may not have, and with dots, as `%2E`: WebDataset takes
    all after the first dot for the kind of a file; a minus at its beginning is `%2D`, which `tar`
    would take for an option. The JSON has what the table of places tells and, where the data set
    has a `pictures.parquet`, of each view whom the picture comes from, its licence, whom to name,
    its date, its ground resolution and its SHA-256, in `pictures`. Which shard a place is in is
    drawn by a digest of its id, so that a shard shows places from everywhere.

    Args:
        folder: of the places data set.
        out: folder of the shards; empty or missing.
        per_shard: places in one shard, at most.
        progress: is told how many places of how many are written.

    Returns:
        The shards, sorted.

    Raises:
        PlacesError: the data set cannot be read, or `out` holds something.
    """
    if per_shard < 1:
        raise PlacesError(f"a shard of {per_shard} places holds nothing: choose one or more.")
    places = _read_places(folder)
    pictures = _read_pictures(Path(folder))
    target = _empty_folder(Path(out))
    shards: list[tuple[Path, list[Place]]] = []
    for split in sorted({_split(place) for place in places}):
        some = sorted((p for p in places if _split(p) == split), key=_draw)
        parts = [some[at : at + per_shard] for at in range(0, len(some), per_shard)]
        shards += [(target / f"{split}-{at:06d}.tar", part) for at, part in enumerate(parts)]
    done = 0
    for path, part in shards:
        draft = path.with_name(f".{path.name}.new")
        with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:
            for place in sorted(part, key=_key):
                for name, data in _members(place, pictures.get(place.place_id, {})):
                    _add(tar, name, data)
                done += 1
                if progress:
                    progress(done, len(places))
        draft.replace(path)
    return [path for path, _ in shards]


def export_release(
    folder: str | Path, out: str | Path, *, progress: Report | None = None
) -> list[Path]:
    """Write a data set as the paper's release is laid out (`geobridge.places.release`).

    `OUT/<split>/<view>/<lon1_lat1_lon2_lat2>.jpg` and `OUT/<split>/<view>.csv` with the columns
    id and text. It holds no more than that: position is the footprint's centre, and country,
    licence and attribution are lost.

    Args:
        folder: of the places data set.
        out: folder of the copy; empty or missing.
        progress: is told how many places of how many are written.

    Returns:
        The folders of the splits, sorted.

    Raises:
        PlacesError: the data set cannot be read, `out` holds something, two places have the same
            footprint, or a place has no picture that could bear its name.
    """
    places = sorted(_read_places(folder), key=lambda place: place.place_id)
    _check_names(places)
    target = _empty_folder(Path(out))
    splits = sorted({_split(place) for place in places})
    texts: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for done, place in enumerate(places, 1):
        name = footprint_name(place.footprint)
        for view in VIEWS:
            picture: Path | None = getattr(place, view)
            if picture is None:
                continue
            copy = target / _split(place) / view / f"{name}{picture.suffix.lower()}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(_read(picture))
            texts.setdefault((_split(place), view), []).append((name, place.text or ""))
        if progress:
            progress(done, len(places))
    for (split, kind), rows in texts.items():
        with (target / split / f"{kind}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([("id", "text"), *sorted(rows)])
    return [target / split for split in splits]


def _split(place: Place) -> str:
    return place.split or UNSPLIT


def _read_places(folder: str | Path) -> list[Place]:
    """The places of a data set, whose splits can name files."""
    places = list(iter_places(folder))
    for place in places:
        if any(sign in _split(place) for sign in "/\\") or _split(place).startswith("."):
            raise PlacesError(
                f"the split {_split(place)!r} of place {place.place_id!r} cannot name a file: "
                f"rename it."
            )
    return places


def _empty_folder(out: Path) -> Path:
    """A folder to write to, which must hold nothing that could be taken for part of the copy."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise PlacesError(f"{out} is not empty: name another folder, or empty it.")
    except OSError as error:
        raise PlacesError(
            f"{out} cannot be made a folder ({error.strerror}): choose another."
        ) from error
    return out


def _read(picture: Path) -> bytes:
    try:
        return picture.read_bytes()
    except OSError as error:
        raise PlacesError(
            f"{picture} cannot be read ({error.strerror}): restore it and export again."
        ) from error


# Shards


def _key(place: Place) -> str:
    """The name of a place's files before the first dot; `urllib.parse.unquote` gives its id."""
    key = quote(place.place_id, safe=" ,~-_").replace(".", "%2E")
    return f"%2D{key[1:]}" if key.startswith("-") else key


def _draw(place: Place) -> str:
    return hashlib.sha256(place.place_id.encode()).hexdigest()


def _read_pictures(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """What the table of pictures tells, by place and view; nothing where there is no table."""
    path = folder / PICTURES
    if not path.is_file():
        return {}
    try:
        table = pd.read_parquet(path)[["place_id", "view", *_OF_PICTURE]].astype(object)
    except (OSError, ValueError, KeyError) as error:
        raise PlacesError(
            f"{path} cannot be read ({error}): restore it, or publish the data set again."
        ) from error
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in table.where(table.notna(), None).to_dict("records"):
        facts = {name: row[name] for name in _OF_PICTURE}
        found.setdefault(row["place_id"], {})[row["view"]] = facts
    return found


def _members(
    place: Place, pictures: Mapping[str, Mapping[str, Any]]
) -> Iterable[tuple[str, bytes]]:
    """Names and contents of a place's files, sorted by name."""
    key = _key(place)
    facts = {**_facts(place), **({"pictures": pictures} if pictures else {})}
    members = [(f"{key}.json", json.dumps(facts, ensure_ascii=False).encode())]
    if place.text:
        members.append((f"{key}.txt", place.text.encode()))
    for view in VIEWS:
        picture: Path | None = getattr(place, view)
        if picture is not None:
            members.append((f"{key}.{view}{picture.suffix.lower()}", _read(picture)))
    return sorted(members)


def _facts(place: Place) -> dict[str, Any]:
    return {
        "place_id": place.place_id,
        "lat": place.lat,
        "lon": place.lon,
        "footprint": to_geojson(place.footprint),
        "country": place.country,
        "split": place.split,
        "source": place.source,
        "licence": place.licence,
        "attribution": place.attribution,
    }


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file that says nothing of this machine or of now."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(data), 0, 0o644
    tar.addfile(info, io.BytesIO(data))


# Release


def _check_names(places: Sequence[Place]) -> None:
    names: dict[str, str] = {}
    for place in places:
        if all(getattr(place, view) is None for view in VIEWS):
            raise PlacesError(
                f"place {place.place_id!r} has a text and no picture, which the release's layout "
                f"cannot hold: leave it out of the data set, or export webdataset."
            )
        name = footprint_name(place.footprint)
        other = names.setdefault(name, place.place_id)
        if other != place.place_id:
            raise PlacesError(
                f"places {other!r} and {place.place_id!r} have the same footprint, which names "
                f"their files in the release's layout: leave one out, or export webdataset."
            )
