"""Stage 4: what shows too little, and what is there twice, is left out.

    DIR/clean.parquet                   a row a place that was cropped
    DIR/sheets/clean_<view>_<gate>.png  what each gate rejects and what barely passes
    DIR/sheets/clean_same_street.png    panoramas that are the same picture
    DIR/sheets/clean_ground_<gate>.png  panoramas beside the ground that they do not look like
    DIR/clean_sets.parquet              whether all of a provider or a day are turned or mirrored

Three gates judge every picture by one number each (`geobridge.imagery.quality`): BH, blur and
haze; C, contrast; UN, uniformity (entropy). Then places whose panoramas are the same picture, and
places whose footprints overlap, are thinned out. The gates come before, so that a picture that is
rejected takes no place's ground. With `ground` a model compares each panorama with the ground it is
said to stand on (`geobridge.curation.ground`); the last two files are then written.

The least values were set by looking at sheets of real pictures and of the simulated planet, at
`QUALITY_SIDE` pixels. They reject these shares of pictures in which nothing was planted:

| pictures | view | BH | C | UN | any |
|---|---|---|---|---|---|
| 1,122 of NAIP, 0.6 m, four cities | drone | 0 % | 0 % | 0 % | 0 % |
| 1,890 of UC Merced, 0.3 m, 21 kinds of land | drone | 1.1 % | 0.4 % | 0.7 % | 1.8 % |
| 204 of three drones | drone | 0 % | 0 % | 0 % | 0 % |
| 17 panoramas of CVUSA, 10 street photos | street | 0 % | 0 % | 0 % | 0 % |
| 160 of the planet | drone, street | 0 % | 0 % | 0 % | 0 % |

What UC Merced loses is bare beach, rows of one crop, runways, still water and pictures that are
soft; with them go six golf courses and baseball fields of smooth lawn and one aeroplane on plain
ground, 0.4 % of all. Of pictures with a planted fault they catch all that are flat or sea, 98 %
and more of those blurred by a Gaussian of 2 pixels, and all under nine tenths of haze (of haze of
eight tenths 95 % and more, but 2 to 18 % of pictures that are as rich in contrast as those of
fongyuan and ariel: one can still see through it there).

`benchmarks/curation_gates.py` prints these numbers. Imagery of another kind wants another look:
that is what the sheets are for.
"""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from geobridge.curation.cutoffs import capped
from geobridge.curation.duplicates import (
    KEPT,
    light_deg,
    overlapping,
    same_pictures,
    steady_look,
)
from geobridge.curation.ground import GroundConfig, compare, judge_sets
from geobridge.curation.sheets import PASSED, REJECTED, Card, write_sheet
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError, ImageError
from geobridge.files import stamp
from geobridge.geo.distance import distance_m
from geobridge.imagery.decode import read_image
from geobridge.imagery.quality import QUALITY_SIDE, quality_of
from geobridge.model.config import Settings
from geobridge.progress import Step

STAGE = "clean"
SETS = "clean_sets"

Gate = Literal["bh", "contrast", "entropy"]

GATES: dict[Gate, str] = {
    "bh": "blur or haze",
    "contrast": "too little contrast",
    "entropy": "sky, water or uniform texture",
}
"""The gates in the order they judge, and what it means to fall short of them."""

GroundGate = Literal["turn", "mirror", "agreement"]

GROUND_GATES: dict[GroundGate, str] = {
    "turn": "another heading fits the ground better",
    "mirror": "its mirror image fits the ground better",
    "agreement": "other places' grounds look more like it",
}
"""The gates of `ground`, and what it means to fall short of them."""

JudgedView = Literal["drone", "street"]

JUDGED_VIEWS: tuple[JudgedView, ...] = ("drone", "street")
"""The views there are before satellite pictures are fetched."""

# Cards of a sheet: of what is rejected, from the worst to the best, and of what barely passes.
_SHOWN_REJECTED = 48
_SHOWN_PASSED = 12
_MEASURES = "bh contrast entropy look light, 2"


class DroneGates(Settings):
    """The least a drone picture needs.

    Attributes:
        bh: variance of its Laplacian.
        contrast: 0..1, between the 5th and 95th percentile of its grey levels.
        entropy: of its grey levels, bits.
    """

    bh: float = Field(default=40.0, ge=0)
    contrast: float = Field(default=0.12, ge=0, le=1)
    entropy: float = Field(default=5.2, ge=0, le=8)


class StreetGates(Settings):
    """The least a street picture needs, in the middle half of its height.

    Attributes:
        bh: variance of its Laplacian.
        contrast: 0..1, between the 5th and 95th percentile of its grey levels.
        entropy: of its grey levels, bits.
    """

    bh: float = Field(default=60.0, ge=0)
    contrast: float = Field(default=0.25, ge=0, le=1)
    entropy: float = Field(default=5.6, ge=0, le=8)


class CleanConfig(Settings):
    """What is left out.

    Attributes:
        overlap: footprints that share more than this of the smaller one's ground are duplicates.
        across_sizes: whether footprints of different ground sizes are compared. If so, one of
            the sizes around a panorama stays, by chance (the same every time), so that sizes
            stay mixed; if not, each size is thinned out for itself.
        same_street_m: of places whose panoramas are the same picture one stays if all are within
            this distance; else their positions contradict each other, and none does.
        same_turn_deg: likewise, if no two are turned by more than this against each other; else
            their headings do. 180 where panoramas are not turned north (`crop.turn_north`).
        drone: gates of drone pictures.
        street: gates of street pictures.
        ground: the comparison of panoramas with their ground by a model; none without it.
        workers: threads that read pictures.
    """

    overlap: float = Field(default=0.5, ge=0, le=1)
    across_sizes: bool = True
    same_street_m: float = Field(default=50.0, ge=0)
    same_turn_deg: float = Field(default=15.0, ge=0, le=180)
    drone: DroneGates = DroneGates()
    street: StreetGates = StreetGates()
    ground: GroundConfig | None = None
    workers: int = Field(default=2, ge=1)


def run(workspace: Workspace, config: CleanConfig, step: Step) -> pd.DataFrame:
    """Judge the places of `crops.parquet` that were kept.

    Returns:
        place_id; drone_bh, drone_contrast, drone_entropy, street_bh, street_contrast,
        street_entropy (float64, NaN where there is no picture that can be read); ground_turn,
        ground_mirror, ground_agreement (float64, NaN where not judged); duplicate_of
        (place_id or None); kept; reason (None where kept). Sorted by place_id.

    Raises:
        CurationError: there is no table of crops, or no place in it was kept.
    """
    crops = workspace.read("crops")
    places = crops[crops["kept"]].sort_values("place_id").reset_index(drop=True)
    if places.empty:
        raise CurationError(
            f"{workspace.path('crops')} keeps no place: see its column `reason`, and change the "
            f"settings of the stages before."
        )
    measured = _measure(workspace, places, config.workers, step)
    table = _table(places, measured)
    _gate(table, measured, places, config)
    _thin_streets(table, measured, places, config)
    _judge_grounds(workspace, table, places, config.ground, step)
    report = step("comparing places")
    _thin_footprints(table, places, config)
    report(len(table), len(table))
    _write_sheets(workspace, table, places, config, step)
    grounds = [f"ground_{gate}" for gate in GROUND_GATES]
    columns = ["place_id", *_score_columns(), *grounds, "duplicate_of", "kept", "reason"]
    return workspace.write(STAGE, table[columns])


# Measuring


def _measure(
    workspace: Workspace, places: pd.DataFrame, workers: int, step: Step
) -> dict[str, dict[str, Any]]:
    """What was measured on each picture, by its path: scores and look, or `trouble`."""
    pictures = {
        path: view for view in JUDGED_VIEWS for path in places[view] if isinstance(path, str)
    }
    report = step("looking at pictures")
    found: dict[str, dict[str, Any]] = {}
    with (
        workspace.journal(STAGE, _MEASURES) as journal,
        ThreadPoolExecutor(workers, STAGE) as pool,
    ):
        keys = {path: _key(workspace.folder, path) for path in pictures}
        new = [path for path in pictures if keys[path] not in journal]
        work = pool.map(lambda path: _measure_one(workspace.folder, path, pictures[path]), new)
        try:
            for done, (path, value) in enumerate(zip(new, work, strict=True), 1):
                journal.add(keys[path], value)
                report(len(pictures) - len(new) + done, len(pictures))
        finally:
            pool.shutdown(cancel_futures=True)
        found.update({path: journal[keys[path]] for path in pictures})
    return found


def _key(folder: Path, path: str) -> str:
    """Names a picture as it is now: one that was written again is measured again."""
    try:
        return f"{path} {stamp(folder / path)}"
    except OSError:
        return path


def _measure_one(folder: Path, path: str, view: JudgedView) -> dict[str, Any]:
    try:
        image = read_image(folder / path, min_side=QUALITY_SIDE)
    except ImageError as error:
        # A table is the same wherever its folder lies.
        return {"trouble": str(error).replace(str(folder / path), path)}
    found = asdict(quality_of(image, view))
    look = steady_look(image) if view == "street" else None
    if look is None:
        return found
    return {**found, "look": look.tobytes().hex(), "light_deg": light_deg(image)}


def _score_columns() -> list[str]:
    return [f"{view}_{gate}" for view in JUDGED_VIEWS for gate in GATES]


def _table(places: pd.DataFrame, measured: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Scores of every place, all kept so far."""
    columns: dict[str, Any] = {"place_id": places["place_id"]}
    for view in JUDGED_VIEWS:
        of_place = [measured.get(path, {}) for path in places[view]]
        for gate in GATES:
            values = [scores.get(gate, np.nan) for scores in of_place]
            columns[f"{view}_{gate}"] = np.array(values, np.float64)
    for name in ("duplicate_of", "reason"):
        columns[name] = pd.Series([None] * len(places), dtype=object)
    columns["kept"] = True
    return pd.DataFrame(columns)


def _reject(table: pd.DataFrame, row: int, reason: str, duplicate_of: str | None = None) -> None:
    table.loc[row, ["kept", "reason", "duplicate_of"]] = [False, reason, duplicate_of]


# Judging


def _gate(
    table: pd.DataFrame,
    measured: Mapping[str, Mapping[str, Any]],
    places: pd.DataFrame,
    config: CleanConfig,
) -> None:
    """Reject what cannot be read, and what falls short of a gate; the first reason counts."""
    for view in JUDGED_VIEWS:
        for row, path in enumerate(places[view]):
            trouble = measured.get(path, {}).get("trouble")
            if trouble is not None and table.at[row, "kept"]:
                _reject(table, row, f"{view}: {trouble}")
        for gate, meaning in GATES.items():
            least = getattr(getattr(config, view), gate)
            scores = table[f"{view}_{gate}"]
            for row in np.flatnonzero(table["kept"] & (scores < least)).tolist():
                words = f"{view}: {meaning} ({gate} {_written(scores[row])} below {least:g})"
                _reject(table, row, words)


def _written(score: float) -> str:
    return f"{score:.4g}"


def _thin_streets(
    table: pd.DataFrame,
    measured: Mapping[str, Mapping[str, Any]],
    places: pd.DataFrame,
    config: CleanConfig,
) -> None:
    """Of places whose panoramas are the same picture leave one, or none if they contradict."""
    rows_of: dict[str, list[int]] = {}
    for row in np.flatnonzero(table["kept"] & places["street"].notna()).tolist():
        rows_of.setdefault(places.at[row, "pano_id"], []).append(row)
    panoramas = sorted(rows_of)
    firsts = [rows_of[panorama][0] for panorama in panoramas]
    looks = [_look(measured, places.at[row, "street"]) for row in firsts]
    for group in same_pictures(looks):
        members = [firsts[at] for at in group]
        lat, lon = (places.loc[members, name].to_numpy() for name in ("lat", "lon"))
        apart_m = distance_m(lat[0], lon[0], lat, lon)
        light = np.array([measured[places.at[row, "street"]]["light_deg"] for row in members])
        turned_deg = np.abs((light - light[0] + 180) % 360 - 180)
        contradict = (apart_m > config.same_street_m) | (turned_deg > config.same_turn_deg)
        first_other = int(contradict.argmax())
        for number, at in enumerate(group):
            # Whom a row contradicts, if any does; else the first, of which it is a copy.
            other = 0 if contradict[number] else first_other
            if number == other:
                continue
            against = number if contradict[number] else other
            name = table.at[members[other], "place_id"]
            words = f"street: the same picture as of {name}"
            if apart_m[against] > config.same_street_m:
                words += f", {apart_m[against]:.0f} m away: one lies elsewhere"
            elif turned_deg[against] > config.same_turn_deg:
                words += f", turned by {turned_deg[against]:.0f} degrees: one heading is wrong"
            _reject_all(table, rows_of[panoramas[at]], words, name)


def _reject_all(table: pd.DataFrame, rows: Iterable[int], reason: str, duplicate_of: str) -> None:
    for row in rows:
        _reject(table, row, reason, duplicate_of)


def _look(measured: Mapping[str, Mapping[str, Any]], path: str) -> NDArray[np.uint8] | None:
    look = measured[path].get("look")
    return None if look is None else np.frombuffer(bytes.fromhex(look), np.uint8)


# Comparing with the ground


def _judge_grounds(
    workspace: Workspace,
    table: pd.DataFrame,
    places: pd.DataFrame,
    config: GroundConfig | None,
    step: Step,
) -> None:
    """Reject panoramas that do not look like their ground, and tell of whole sets that do not."""
    for gate in GROUND_GATES:
        table[f"ground_{gate}"] = np.nan
    workspace.path(SETS).unlink(missing_ok=True)
    rows = places[table["kept"] & places["street"].notna()]
    if config is None or rows.empty:
        return
    found = compare(workspace, rows, config, step)
    _tell_sets(workspace, judge_sets(found, workspace.read("street")), step)
    asked = np.array([getattr(config, f"least_{gate}") for gate in GROUND_GATES])
    scores = found.scores[list(GROUND_GATES)]
    cut_offs = capped(scores.to_numpy(), asked, config.most_rejected)
    if (cut_offs < asked).any():
        short = (scores < asked).any(axis=1).mean()
        step(
            f"{short:.0%} of the panoramas look little like their ground: the model does not know "
            f"this land well, or many are wrong; the worst {config.most_rejected:.0%} are rejected"
        )
    cut_off_of = dict(zip(GROUND_GATES, cut_offs.tolist(), strict=True))
    for gate in GROUND_GATES:
        table.loc[rows.index, f"ground_{gate}"] = rows["pano_id"].map(scores[gate])
    for row in rows.index:
        score_of = {gate: float(table.at[row, f"ground_{gate}"]) for gate in GROUND_GATES}
        short = [gate for gate in GROUND_GATES if score_of[gate] < cut_off_of[gate]]
        if short:
            # What it falls short of most comes first; one fault shows in several scores.
            short.sort(key=lambda gate: score_of[gate] - cut_off_of[gate])
            told = [
                f"{GROUND_GATES[gate]} ({gate} {_written(score_of[gate])} below "
                f"{_written(cut_off_of[gate])})"
                for gate in short
            ]
            _reject(table, row, f"ground: {', '.join(told)}")


def _tell_sets(workspace: Workspace, sets: pd.DataFrame, step: Step) -> None:
    workspace.write(SETS, sets)
    for told in sets[sets["warning"].notna()].to_dict("records"):
        parts = (told["provider"], told["author"], told["day"])
        name = " ".join(filter(None, parts))
        score = f"z {max(told['turn_z'], told['mirror_z'])}, agreement {told['agreement']}"
        step(f"look at {told['panoramas']} panoramas of {name}: {told['warning']} ({score})")


def _thin_footprints(table: pd.DataFrame, places: pd.DataFrame, config: CleanConfig) -> None:
    """Leave places whose footprints overlap by no more than they may."""
    kept = np.flatnonzero(table["kept"])
    sizes = np.zeros(len(kept)) if config.across_sizes else places["side_m"].to_numpy()[kept]
    for size in np.unique(sizes):
        rows = kept[sizes == size]
        names = table["place_id"].to_numpy()[rows]
        found = overlapping(places["footprint"].to_numpy()[rows], _drawn(names), config.overlap)
        for row, other in zip(rows.tolist(), found.tolist(), strict=True):
            if other != KEPT:
                words = f"overlaps {names[other]} by more than {config.overlap:.0%}"
                _reject(table, row, words, names[other])


def _drawn(names: NDArray[np.object_]) -> NDArray[np.int64]:
    """An order by chance that does not depend on what else there is: by digests of the names."""
    digests = [hashlib.sha256(name.encode()).digest() for name in names]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), np.int64)


# Sheets


def _write_sheets(
    workspace: Workspace,
    table: pd.DataFrame,
    places: pd.DataFrame,
    config: CleanConfig,
    step: Step,
) -> None:
    """A sheet for each gate of each view, and one of panoramas that are the same."""
    report = step("drawing sheets")
    wanted = [(view, gate) for view in JUDGED_VIEWS for gate in GATES]
    for done, (view, gate) in enumerate(wanted, 1):
        shown = pd.DataFrame(
            {
                "place_id": table["place_id"],
                "path": places[view],
                "score": table[f"{view}_{gate}"],
            }
        ).dropna()
        least = getattr(getattr(config, view), gate)
        _write_gate_sheet(workspace.folder, view, gate, least, shown)
        report(done, len(wanted) + 1)
    _write_same_street_sheet(workspace.folder, table, places)
    for ground_gate in GROUND_GATES:
        _write_ground_sheet(workspace.folder, ground_gate, table, places)
    report(len(wanted) + 1, len(wanted) + 1)


def _write_gate_sheet(
    folder: Path, view: JudgedView, gate: Gate, least: float, shown: pd.DataFrame
) -> None:
    """What a gate rejects from the lowest score on, and what passes it by the least."""
    # Places of several ground sizes show one panorama.
    ordered = shown.drop_duplicates("path").sort_values(["score", "place_id"], kind="stable")
    rejected = ordered[ordered["score"] < least]
    passed = ordered[ordered["score"] >= least].head(_SHOWN_PASSED)
    spread = np.linspace(0, len(rejected) - 1, min(_SHOWN_REJECTED, len(rejected)))
    picked = rejected.iloc[np.unique(spread.round().astype(np.int64))]
    cards = [
        Card(folder / row["path"], (row["place_id"], f"{gate} {_written(row['score'])}"), colour)
        for part, colour in ((picked, REJECTED), (passed, PASSED))
        for row in part.to_dict("records")
    ]
    title = (
        f"{view} {gate} below {least:g}, {GATES[gate]}: {len(rejected):,} of {len(ordered):,} "
        f"pictures rejected, {len(picked)} shown; green: the {len(passed)} that barely pass"
    )
    write_sheet(folder / "sheets" / f"clean_{view}_{gate}.png", title, cards)


def _write_ground_sheet(
    folder: Path, gate: GroundGate, table: pd.DataFrame, places: pd.DataFrame
) -> None:
    """What a gate of the ground rejects from the worst on, and what passes, with its ground."""
    path = folder / "sheets" / f"clean_ground_{gate}.png"
    name = f"ground_{gate}"
    shown = table[["place_id", "kept", "reason", name]].join(places[["drone", "street"]])
    shown = shown.dropna(subset=name).sort_values([name, "place_id"], kind="stable")
    shown = shown.drop_duplicates("street")
    is_rejected = shown["reason"].str.contains(f"({gate} ", regex=False, na=False)
    rejected = shown[is_rejected]
    passed = shown[shown["kept"]].head(_SHOWN_PASSED // 2)
    picked = rejected.head(_SHOWN_REJECTED // 2)
    cards = []
    for part, colour in ((picked, REJECTED), (passed, PASSED)):
        for row in part.to_dict("records"):
            words = (row["place_id"], f"{gate} {_written(row[name])}")
            cards.append(Card(folder / row["street"], words, colour))
            cards.append(Card(folder / row["drone"], ("its ground, north up",), colour))
    title = (
        f"{GROUND_GATES[gate]}: {len(rejected):,} of {len(shown):,} panoramas rejected, "
        f"{len(picked)} shown; green: the {len(passed)} that barely pass"
    )
    write_sheet(path, title, cards)


def _write_same_street_sheet(folder: Path, table: pd.DataFrame, places: pd.DataFrame) -> None:
    """Panoramas that are the same picture, each after the one it is the same as."""
    is_same = table["reason"].str.startswith("street: the same picture", na=False)
    street_of = dict(zip(table["place_id"], places["street"], strict=True))
    cards = []
    shown: set[tuple[str, str]] = set()
    for row in table[is_same].to_dict("records"):
        name, other = row["place_id"], row["duplicate_of"]
        if (other, name) in shown or len(shown) == _SHOWN_REJECTED // 2:
            continue
        shown.add((name, other))
        cards.append(Card(folder / street_of[other], ("same as the next:", other), PASSED))
        cards.append(Card(folder / street_of[name], (row["reason"], name), REJECTED))
    title = f"panoramas that are the same picture: {int(is_same.sum()):,} places rejected"
    write_sheet(folder / "sheets" / "clean_same_street.png", title, cards)
