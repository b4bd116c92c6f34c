"""The default model on real pictures, each number beside chance and the classical baseline.

    python benchmarks/real.py                       # every set in ../shared/data
    python benchmarks/real.py --model runs/mini/checkpoint --only fongyuan

Sets and what they can tell are described in the data's own README; nothing here was trained on
them, except nine in ten pictures of `ucm_captions` and the other cities of `naip_years`: only
the part left out is measured.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from geobridge import Gallery, GeoBridge, Query
from geobridge.evaluation.retrieval import ranks_of_positives
from geobridge.geo.distance import distance_m
from geobridge.localization.calibration import calibration_for, radius_of, reliability
from geobridge.localization.position import find_mode

# What no training reads is said where the tables of training are made.
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from real_tables import TEST_CITY, UCM_TEST_EVERY

RADII_M = (25, 50, 100)
# Groups of equal size, from the least to the largest stated value.
GROUPS = 3
# RootSIFT with 60,000 map features and a MAGSAC homography: share of the photos within 25 and
# 50 m, from the README of the data.
CLASSICAL_FONGYUAN = {25: 0.02, 50: 0.12}


@dataclass(frozen=True)
class Row:
    """One line of the printed table."""

    dataset: str
    measure: str
    measured: str
    chance: str = ""
    classical: str = ""


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header."""
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def share(hits: np.ndarray) -> str:
    """A share of queries in per cent."""
    return f"{100 * float(np.mean(hits)):.1f} %"


def located(
    name: str,
    gallery: Gallery,
    queries: Sequence[Query],
    truth: np.ndarray,
    classical: dict[int, float] | None = None,
) -> list[Row]:
    """Errors, top 5, time and honesty of the estimates of queries with known positions (Q, 2)."""
    started = time.perf_counter()
    estimates = gallery.locate_many(queries, top=5)
    seconds = (time.perf_counter() - started) / len(queries)
    error = distance_m(
        np.array([e.lat for e in estimates]),
        np.array([e.lon for e in estimates]),
        truth[:, 0],
        truth[:, 1],
    )
    top = np.array([[[c.lat, c.lon] for c in e.candidates[:5]] for e in estimates])
    top_error = distance_m(top[..., 0], top[..., 1], truth[:, None, 0], truth[:, None, 1])
    centers = gallery.metadata.select(["lat", "lon"]).to_pandas().to_numpy()
    every = distance_m(
        centers[None, :, 0], centers[None, :, 1], truth[:, None, 0], truth[:, None, 1]
    )
    near = (every <= 50).mean(axis=1)
    rows = [
        Row(name, "gallery, references", str(len(gallery))),
        Row(name, "queries", str(len(queries))),
    ]
    rows += [
        Row(
            name,
            f"estimate within {radius} m",
            share(error <= radius),
            share(every <= radius),
            share(np.array(classical[radius])) if classical and radius in classical else "",
        )
        for radius in RADII_M
    ]
    rows += [
        Row(name, "first candidate within 50 m", share(top_error[:, 0] <= 50), share(every <= 50)),
        Row(
            name,
            "top 5 within 50 m",
            share((top_error <= 50).any(axis=1)),
            share(1 - (1 - near) ** 5),
        ),
        Row(name, "median error", f"{np.median(error):.0f} m", f"{np.median(every):.0f} m"),
        Row(name, "time a query", f"{seconds * 1000:.0f} ms"),
    ]
    return rows + honesty(name, gallery, queries, truth)


def honesty(name: str, gallery: Gallery, queries: Sequence[Query], truth: np.ndarray) -> list[Row]:
    """How often the stated radius holds the truth, and what the stated confidence came to.

    In groups of equal size, from the least to the largest stated value, and over all queries.
    """
    kind = "drone" if queries[0].drone is not None else "satellite"
    calibration = calibration_for(
        gallery.model.config.calibration,
        [kind],
        float(np.exp(-gallery.model.logit_scale.item())),
        heading_known=queries[0].yaw_deg is not None,
    )
    found = gallery.search(queries)
    groups = [f"group {number + 1}" for number in range(GROUPS)]
    lines = [
        *zip(groups * 2, reliability(found, truth, calibration, groups=GROUPS), strict=True),
        *zip(["all"] * 2, reliability(found, truth, calibration, groups=1), strict=True),
    ]
    modes = [find_mode(one, calibration.temperature, calibration.probability) for one in found]
    median_m = np.median([radius_of(mode, calibration) for mode in modes])
    rows = [
        Row(
            name,
            f"{line.what}, {group}",
            f"stated {line.stated:.2f}, came true {line.observed:.2f}",
        )
        for group, line in lines
    ]
    return [*rows, Row(name, "median radius", f"{median_m:.0f} m")]


def fongyuan(data: Path, model: GeoBridge, scratch: Path) -> list[Row]:
    """Nadir drone photos in one satellite map, heading unknown and known."""
    folder = data / "fongyuan"
    gallery = Gallery.build(
        folder / "satellite_map.tif",
        model,
        view="satellite",
        out=scratch / "fongyuan",
        footprint_m=100,
        stride_m=25,
    )
    photos = read_rows(folder / "drone.csv")
    truth = np.array([[float(photo["lat"]), float(photo["lon"])] for photo in photos])
    unknown = [Query(drone=folder / photo["file"]) for photo in photos]
    known = [
        Query(drone=folder / photo["file"], yaw_deg=float(photo["flight_yaw_deg"]))
        for photo in photos
    ]
    return [
        *located("fongyuan, heading unknown", gallery, unknown, truth, CLASSICAL_FONGYUAN),
        *located("fongyuan, heading known", gallery, known, truth, CLASSICAL_FONGYUAN),
    ]


def ariel(data: Path, model: GeoBridge, scratch: Path) -> list[Row]:
    """Oblique drone frames in a folder of XYZ tiles; the truth is the estimated ground point."""
    folder = data / "ariel"
    gallery = Gallery.build(folder / "satellite", model, view="satellite", out=scratch / "ariel")
    photos = read_rows(folder / "drone.csv")
    truth = np.array(
        [[float(photo["ground_lat_est"]), float(photo["ground_lon_est"])] for photo in photos]
    )
    unknown = [Query(drone=folder / photo["file"]) for photo in photos]
    known = [
        Query(drone=folder / photo["file"], yaw_deg=float(photo["heading_deg_from_track"]))
        for photo in photos
    ]
    return [
        *located("ariel, heading unknown", gallery, unknown, truth),
        *located("ariel, heading known", gallery, known, truth),
    ]


def ranks(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """1-based rank of the reference of the same row, ties counted against it."""
    return ranks_of_positives(queries, references, np.arange(len(queries)))


def retrieved(name: str, rank: np.ndarray, count: int) -> list[Row]:
    """R@1, R@5 and the mean rank among `count`, with what guessing gives."""
    return [
        Row(name, "gallery, references", str(count)),
        Row(name, "R@1", share(rank <= 1), share(np.array(1 / count))),
        Row(name, "R@5", share(rank <= 5), share(np.array(5 / count))),
        Row(name, "mean rank", f"{rank.mean():.1f}", f"{(count + 1) / 2:.1f}"),
    ]


def street_sat(data: Path, model: GeoBridge, scratch: Path) -> list[Row]:  # noqa: ARG001
    """Street pictures against the aerial pictures of the same places."""
    folder = data / "street_sat"
    pairs = read_rows(folder / "pairs.csv")
    street = model.embed("street", [folder / pair["street"] for pair in pairs])
    satellite = model.embed("satellite", [folder / pair["satellite"] for pair in pairs])
    rank = ranks(street, satellite)
    panorama = np.array([pair["kind"].startswith("panorama") for pair in pairs])
    rows = retrieved("street_sat", rank, len(pairs))
    for kind, chosen in (("panoramas", panorama), ("limited field", ~panorama)):
        rows.append(
            Row(
                "street_sat",
                f"mean rank of the {chosen.sum()} {kind}",
                f"{rank[chosen].mean():.1f}",
                f"{(len(pairs) + 1) / 2:.1f}",
            )
        )
    return rows


def ucm_captions(data: Path, model: GeoBridge, scratch: Path) -> list[Row]:  # noqa: ARG001
    """Captions to pictures, right if the scene is right, over the pictures left out of training."""
    folder = data / "ucm_captions"
    seen: dict[str, int] = {}
    entries = []
    for entry in json.loads((folder / "captions.json").read_text(encoding="utf-8")):
        seen[entry["scene"]] = seen.get(entry["scene"], 0) + 1
        if seen[entry["scene"]] % UCM_TEST_EVERY == 0:
            entries.append(entry)
    pictures = model.embed("satellite", [folder / entry["image"] for entry in entries])
    captions = [
        (caption, entry["scene"]) for entry in entries for caption in sorted(set(entry["captions"]))
    ]
    texts = model.embed("text", [caption for caption, _ in captions])
    scenes = np.array([entry["scene"] for entry in entries])
    order = np.argsort(-(texts @ pictures.T), axis=1, kind="stable")
    right = scenes[order] == np.array([scene for _, scene in captions])[:, None]
    name, by_chance = "ucm_captions, left out", 1 / len(seen)
    first, five = share(right[:, 0]), share(right[:, :5].any(axis=1))
    return [
        Row(name, "pictures, captions", f"{len(entries)}, {len(captions)}"),
        Row(name, "text to picture, scene R@1", first, share(np.array(by_chance))),
        Row(name, "text to picture, scene R@5", five, share(np.array(1 - (1 - by_chance) ** 5))),
    ]


def naip_years(data: Path, model: GeoBridge, scratch: Path) -> list[Row]:  # noqa: ARG001
    """One year as the drone's view, another as the map, in the city left out of training."""
    folder = data / "naip_years"
    tiles = [row for row in read_rows(folder / "tiles.csv") if row["city"] == TEST_CITY]
    years = sorted({row["year"] for row in tiles})
    places = sorted({row["place"] for row in tiles})
    files = {(row["place"], row["year"]): folder / row["file"] for row in tiles}
    old = model.embed("drone", [files[place, years[0]] for place in places])
    new = model.embed("satellite", [files[place, years[-1]] for place in places])
    name = f"naip_years, {TEST_CITY} {years[0]} in {years[-1]}"
    return retrieved(name, ranks(old, new), len(places))


SETS: dict[str, Callable[[Path, GeoBridge, Path], list[Row]]] = {
    "fongyuan": fongyuan,
    "ariel": ariel,
    "street_sat": street_sat,
    "ucm_captions": ucm_captions,
    "naip_years": naip_years,
}


def show(rows: Sequence[Row], markdown: bool, adapted: Sequence[Row] = ()) -> None:
    """Print the table for the terminal, or as Markdown for the docs.

    Args:
        rows: the lines.
        markdown: how.
        adapted: what models measure that were adapted to their maps, for a column beside.
    """
    later = {(row.dataset, row.measure): row.measured for row in adapted}
    header = ["set", "measure", "measured", "chance", "classical"]
    lines = [[row.dataset, row.measure, row.measured, row.chance, row.classical] for row in rows]
    if adapted:
        for line in (header, *lines):
            line.insert(3, later.get((line[0], line[1]), ""))
        header[3] = "adapted"
    if markdown:
        for line in (header, ["---"] * len(header), *lines):
            print("| " + " | ".join(line) + " |")
        return
    table = Table(*header)
    for line in lines:
        table.add_row(*line)
    Console(width=110).print(table)


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="mini", help="a name or a checkpoint's folder")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    if not arguments.data.exists():
        parser.error(f"no pictures in {arguments.data}: name their folder with --data.")
    model = GeoBridge.load(arguments.model)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.only:
            rows += SETS[name](arguments.data, model, Path(scratch))
    show(rows, arguments.markdown)


if __name__ == "__main__":
    main()
