"""Describe the real pictures that may feed shipped weights as tables for `geobridge train`.

    python scripts/real_tables.py --data ../shared/data --out runs/real

writes naip.csv (the same ground in two years: one as a drone sees it, one as the satellite) and
captions.csv (an aerial picture and its captions). No picture is copied. What evaluation uses has
the split `test` and is never trained on: the city TEST_CITY, and every tenth picture of a scene.
"""

import argparse
import csv
import json
import os
from pathlib import Path

TEST_CITY = "santa_monica"
UCM_TEST_EVERY = 10


def naip_rows(folder: Path, out: Path) -> list[dict[str, object]]:
    """Each place in each of its years as `drone`, with the next year as `satellite`."""
    with (folder / "tiles.csv").open(encoding="utf-8") as file:
        tiles = sorted(csv.DictReader(file), key=lambda row: (row["place"], row["year"]))
    places: dict[str, list[dict[str, str]]] = {}
    for tile in tiles:
        places.setdefault(tile["place"], []).append(tile)
    rows: list[dict[str, object]] = []
    for years in places.values():
        for seen, mapped in zip(years, [*years[1:], years[0]], strict=True):
            rows.append(
                {
                    "drone": relative(folder / seen["file"], out),
                    "satellite": relative(folder / mapped["file"], out),
                    "lat": (float(seen["south"]) + float(seen["north"])) / 2,
                    "lon": (float(seen["west"]) + float(seen["east"])) / 2,
                    "split": "test" if seen["city"] == TEST_CITY else "train",
                }
            )
    return rows


def caption_rows(folder: Path, out: Path) -> list[dict[str, object]]:
    """Each caption of each picture; captions repeat within a scene, which is the text's group."""
    seen: dict[str, int] = {}
    rows: list[dict[str, object]] = []
    for entry in json.loads((folder / "captions.json").read_text(encoding="utf-8")):
        rank = seen.get(entry["scene"], 0)
        seen[entry["scene"]] = rank + 1
        split = "test" if rank % UCM_TEST_EVERY == UCM_TEST_EVERY - 1 else "train"
        picture = relative(folder / entry["image"], out)
        rows += [
            {"satellite": picture, "text": text, "split": split, "text_group": entry["scene"]}
            for text in entry["captions"]
        ]
    return rows


def relative(path: Path, out: Path) -> str:
    """The path as the table in `out` names it."""
    return os.path.relpath(path, out)


def write(path: Path, rows: list[dict[str, object]]) -> None:
    """One CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{path}: {len(rows)} rows")


def main() -> None:
    """Read the options and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/real"))
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        parser.error(f"{arguments.data} is no folder: say where the real pictures are")
    arguments.out.mkdir(parents=True, exist_ok=True)
    out = arguments.out.resolve()
    write(out / "naip.csv", naip_rows((arguments.data / "naip_years").resolve(), out))
    write(out / "captions.csv", caption_rows((arguments.data / "ucm_captions").resolve(), out))


if __name__ == "__main__":
    main()
