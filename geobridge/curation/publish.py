"""Stage 7: what stays becomes a places data set that says whose everything in it is.

    DIR/publish.parquet             a row a place that came so far: split, country, kept, reason
    DIR/places/places.parquet       the places, with pictures beside it (`geobridge.places`)
    DIR/places/pictures.parquet     a row a picture: provider, licence, attribution, date, digest
    DIR/places/README.md            the data card
    DIR/places/recipe.json          with `only_redistributable`: how to rebuild what is left out
    DIR/sheets/places.png           a sample of the places, the views beside each other

Everything is the same, byte for byte, when it is made from the same tables and pictures.
"""

import io
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from geobridge.curation.card import cautions, kept_back, write_card
from geobridge.curation.countries import countries_at
from geobridge.curation.rasters import file_digest
from geobridge.curation.recipes import FILE_NAME as RECIPE
from geobridge.curation.recipes import (
    PICTURE_COLUMNS,
    GroundOrigin,
    PictureRow,
    StreetOrigin,
    write_recipe,
)
from geobridge.curation.redistribution import PlacePicture, make_recipe, shareable, stated
from geobridge.curation.sheets import PASSED, Card, write_sheet
from geobridge.curation.splits import SplitConfig, split_places
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError
from geobridge.files import stamp, write_atomically
from geobridge.model.config import Settings, first_problem
from geobridge.places.place import Place
from geobridge.places.table import write_places
from geobridge.progress import Step
from geobridge.views import VIEWS

STAGE = "publish"
FOLDER = "places"
"""Of the data set, in the curation's folder."""

PICTURES = "pictures.parquet"

_SHOWN_PLACES = 12


class PublishConfig(Settings):
    """What is published.

    Attributes:
        splits: how places are divided.
        whole: whether a place is left out that has no satellite picture or no text, where the
            stage was run that should have given it.
        only_redistributable: publish only pictures whose licence is known to let anyone pass them
            on, and a recipe for the others.
    """

    splits: SplitConfig = SplitConfig()
    whole: bool = True
    only_redistributable: bool = False


def run(workspace: Workspace, config: PublishConfig, step: Step) -> pd.DataFrame:
    """Publish the places that all stages have kept.

    Returns:
        place_id; country (None at sea); near_border (bool, whether the country may be the
        neighbour's); split (None where not kept); kept; reason. Sorted by place_id.

    Raises:
        CurationError: the stages before have not been run, nothing is left to publish, a picture
            is gone, or a table has what cannot be published.
    """
    try:
        return _run(workspace, config, step)
    except ValidationError as error:
        place, problem = first_problem(error)
        at = f" at {place!r}" if place else ""
        raise CurationError(
            f"the tables in {workspace.folder} cannot be published, for a {error.title}{at} "
            f"({problem}): correct the configuration and run the stage again that wrote it."
        ) from error


def _run(workspace: Workspace, config: PublishConfig, step: Step) -> pd.DataFrame:
    report = step("dividing places")
    places = _places(workspace)
    table = _table(places, config)
    report(len(table), len(table))
    able = table[table["kept"]].set_index("place_id")
    records = places[table["kept"].to_numpy()].to_dict("records")
    pictures = {str(place["place_id"]): _pictures(place) for place in records}
    places_by_id = {
        name: _place(place, able.loc[name]) for name, place in zip(pictures, records, strict=True)
    }
    shown = _shown(table, pictures, config)
    _check_any(workspace, table)
    recipe = None
    if config.only_redistributable:
        # Before anything is written, as it may turn out that there can be none.
        left_out, apart_m = len(table) - len(able), config.splits.apart_m
        recipe = make_recipe(workspace.folder, places_by_id, pictures, left_out, apart_m, step)
    folder = workspace.folder / FOLDER
    digests = _copy(workspace, folder, shown, step)
    rows = [
        PictureRow(**picture.columns(name, digests[picture.path]))
        for name, some in shown.items()
        for picture in some
    ]
    there = [places_by_id[name] for name in shown if shown[name]]
    write_data_set(folder, there, rows)
    if recipe:
        write_recipe(folder, recipe)
    else:
        (folder / RECIPE).unlink(missing_ok=True)
    write_card(
        folder / "README.md",
        there,
        rows,
        left_out=len(table) - len(there),
        apart_m=config.splits.apart_m,
        recipe=recipe,
    )
    _write_sheet(workspace.folder / "sheets" / "places.png", folder, there, rows)
    if recipe and recipe.pictures:
        step(kept_back(recipe, len(rows)))
    for caution in cautions(there, rows, config.splits.apart_m):
        step(f"mind: {caution}")
    _remove_former(folder, {row.path for row in rows})
    return workspace.write(STAGE, table)


def _shown(
    table: pd.DataFrame, pictures: Mapping[str, list[PlacePicture]], config: PublishConfig
) -> dict[str, list[PlacePicture]]:
    """The pictures to publish; places of which there are none are left out of the table."""
    shown = {
        name: [p for p in some if not config.only_redistributable or p.is_free]
        for name, some in pictures.items()
    }
    for row, name in enumerate(table["place_id"]):
        if table.at[row, "kept"] and not shown[name]:
            table.loc[row, ["kept", "split", "reason"]] = [
                *(False, None),
                "none of its pictures may be redistributed",
            ]
    return shown


def _check_any(workspace: Workspace, table: pd.DataFrame) -> None:
    if table["kept"].any():
        return
    reasons = table["reason"].dropna().value_counts()
    told = f" ({reasons.index[0]})" if len(reasons) else ""
    raise CurationError(
        f"no place is left to publish in {workspace.folder}{told}: see the column `reason` of "
        f"the stages' tables."
    )


# What there is


def _places(workspace: Workspace) -> pd.DataFrame:
    """The places that the stages up to `clean` kept, with all that is known of each."""
    places = _kept(workspace.read("crops"))
    if workspace.has("clean"):
        clean = _kept(workspace.read("clean"))
        places = places[places["place_id"].isin(clean["place_id"])]
    if places.empty:
        raise CurationError(
            f"no place was kept before the stage {STAGE}: see the column `reason` of the tables "
            f"in {workspace.folder}."
        )
    facts = ["licence", "attribution"]
    seeds = workspace.read("seeds")[["seed_id", "source", "date", *facts]]
    street = workspace.read("street")[
        ["pano_id", "provider", "url", "path", "captured", "heading_deg", "is_360", *facts]
    ]
    places = places.merge(
        seeds.add_prefix("drone_"), "left", left_on="seed_id", right_on="drone_seed_id"
    )
    places = places.merge(
        street.add_prefix("street_"), "left", left_on="pano_id", right_on="street_pano_id"
    )
    for stage, columns in (
        ("satellite", ["satellite", "gsd_m", "raster", "date", "source", *facts]),
        ("describe", ["text", "model", "prompt_digest"]),
    ):
        if workspace.has(stage):
            found = workspace.read(stage)
            # A table of an earlier version may lack one: the recipe then does not tell it.
            found = found.reindex(columns=["place_id", *columns, "kept", "reason"])
            found = found.add_prefix(f"{stage}_").rename(columns={f"{stage}_place_id": "place_id"})
            places = places.merge(found, "left", on="place_id")
    places = pd.DataFrame(places).astype(object)
    return places.where(places.notna(), None).sort_values("place_id", ignore_index=True)


def _kept(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["kept"].astype(bool)]


def _table(places: pd.DataFrame, config: PublishConfig) -> pd.DataFrame:
    """Split and country of every place, and why one has to stay behind."""
    reasons = [_lack(place) if config.whole else None for place in places.to_dict("records")]
    lat, lon = (places[name].to_numpy(np.float64) for name in ("lat", "lon"))
    country, near_border = countries_at(lat, lon)
    splits: list[str | None] = [None] * len(places)
    able = [row for row, reason in enumerate(reasons) if reason is None]
    names = places["place_id"].to_numpy()[able].tolist()
    found, crowded = split_places(names, lat[able], lon[able], config.splits)
    for row, split, reason in zip(able, found, crowded, strict=True):
        splits[row], reasons[row] = split if reason is None else None, reason
    return pd.DataFrame(
        {
            "place_id": places["place_id"],
            "country": pd.Series(country, dtype=object),
            "near_border": near_border,
            "split": pd.Series(splits, dtype=object),
            "kept": [reason is None for reason in reasons],
            "reason": pd.Series(reasons, dtype=object),
        }
    )


def _lack(place: Mapping[str, Any]) -> str | None:
    """What a place lacks that a stage should have given it, and why; None if nothing."""
    for stage in ("satellite", "describe"):
        if f"{stage}_kept" in place and not place[f"{stage}_kept"]:
            return f"{stage}: {place[f'{stage}_reason'] or 'the stage does not know the place'}"
    return None


def _pictures(place: Mapping[str, Any]) -> list[PlacePicture]:
    """The pictures of a place, in the order of the views."""
    ground = {name: place[name] for name in ("lat", "lon", "side_m")}
    found = []
    if place["drone"]:
        found.append(
            PlacePicture(
                view="drone",
                path=place["drone"],
                provider=stated(
                    place["drone_source"] or PurePosixPath(shareable(place["raster"])).name
                ),
                licence=place["drone_licence"],
                attribution=place["drone_attribution"],
                captured=place["drone_date"],
                gsd_m=place["gsd_m"],
                origin=GroundOrigin(raster=place["raster"], **ground),
            )
        )
    if place["street"]:
        found.append(
            PlacePicture(
                view="street",
                path=place["street"],
                provider=place["street_provider"],
                licence=place["street_licence"],
                attribution=place["street_attribution"],
                captured=place["street_captured"],
                gsd_m=None,
                origin=StreetOrigin(
                    pano_id=place["pano_id"],
                    url=place["street_url"] and stated(place["street_url"]),
                    heading_deg=place["street_heading_deg"],
                    is_360=bool(place["street_is_360"]),
                    sha256=None,
                ),
                source=place["street_path"],
            )
        )
    if place.get("satellite_kept"):
        found.append(
            PlacePicture(
                view="satellite",
                path=place["satellite_satellite"],
                provider=stated(place["satellite_source"] or "not stated"),
                licence=place["satellite_licence"],
                attribution=place["satellite_attribution"],
                captured=place["satellite_date"],
                gsd_m=place["satellite_gsd_m"],
                origin=GroundOrigin(raster=place["satellite_raster"], **ground),
            )
        )
    return found


def _place(place: Mapping[str, Any], facts: Mapping[str, Any]) -> Place:
    """A place without its pictures; `facts` is its row in the table of the stage."""
    return Place(
        place_id=str(place["place_id"]),
        lat=place["lat"],
        lon=place["lon"],
        footprint=place["footprint"],
        text=place.get("describe_text") if place.get("describe_kept") else None,
        country=facts["country"],
        split=facts["split"],
    )


# Writing


def _copy(
    workspace: Workspace, folder: Path, shown: Mapping[str, list[PlacePicture]], step: Step
) -> dict[str, str]:
    """Copy the pictures, each once, and give the digest of each by its path."""
    pictures = {picture.path: picture for some in shown.values() for picture in some}
    report = step("copying pictures")
    digests = {}
    for done, (path, picture) in enumerate(sorted(pictures.items()), 1):
        source, target = workspace.folder / path, folder / picture.published
        try:
            digests[path] = file_digest(source)
            if not (target.is_file() and stamp(target) == stamp(source)):
                target.parent.mkdir(parents=True, exist_ok=True)
                draft = target.with_name(f".{target.name}.new")
                shutil.copy2(source, draft)
                draft.replace(target)
        except OSError as error:
            raise CurationError(
                f"{source} cannot be copied to {target} ({error.strerror}): make room, or run the "
                f"stage again that made it."
            ) from error
        report(done, len(pictures))
    return digests


def write_data_set(folder: Path, places: Iterable[Place], rows: Sequence[PictureRow]) -> None:
    """Write the table of places and that of their pictures, which are expected to be there.

    Args:
        folder: of the data set.
        places: without their pictures, and without what these tell: source, licence, attribution.
        rows: of their pictures.
    """
    of_place: dict[str, list[PictureRow]] = {}
    for row in rows:
        of_place.setdefault(row.place_id, []).append(row)
    buffer = io.BytesIO()
    frame = pd.DataFrame([row.columns() for row in rows], columns=list(PICTURE_COLUMNS))
    frame.astype({"gsd_m": "float64"}).to_parquet(buffer, index=False)
    write_atomically(folder / PICTURES, buffer.getvalue())
    write_places(folder, [_with_pictures(place, of_place[place.place_id]) for place in places])


def _with_pictures(place: Place, rows: Sequence[PictureRow]) -> Place:
    paths: dict[str, Any] = {row.view: Path(row.path) for row in rows}
    return replace(
        place,
        source=_together(rows, "provider"),
        licence=_together(rows, "licence"),
        attribution=_together(rows, "attribution"),
        **paths,
    )


def _together(rows: Sequence[PictureRow], name: str) -> str | None:
    """What the pictures of a place say, in one cell; view by view where they differ."""
    said = [(row.view, getattr(row, name)) for row in rows]
    told = [(view, words) for view, words in said if words]
    if not told:
        return None
    if len(told) == len(said) and len({words for _, words in told}) == 1:
        return str(told[0][1])
    return "; ".join(f"{view}: {words}" for view, words in told)


def _write_sheet(
    path: Path, folder: Path, places: Sequence[Place], rows: Sequence[PictureRow]
) -> None:
    """A sample of the places from all over the table, a row each, its views side by side."""
    path_of = {(row.place_id, row.view): folder / row.path for row in rows}
    views = [view for view in VIEWS if any(row.view == view for row in rows)]
    spread = np.linspace(0, len(places) - 1, min(_SHOWN_PLACES, len(places)))
    picked = [places[at] for at in np.unique(spread.round().astype(np.int64))]
    cards = [
        Card(path_of.get((place.place_id, view)), (view, place.place_id), PASSED)
        for place in picked
        for view in views
    ]
    title = f"{len(picked)} of {len(places):,} places"
    write_sheet(path, title, cards, columns=len(views))


def _remove_former(folder: Path, paths: set[str]) -> None:
    """Remove pictures of an earlier publication, which no table names any more."""
    for view in VIEWS:
        for path in (folder / view).glob("*"):
            if path.is_file() and path.relative_to(folder).as_posix() not in paths:
                path.unlink()
