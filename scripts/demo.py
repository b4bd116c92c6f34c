"""The main job on a simulated town: a map becomes a gallery, and photos are located in it.

    python scripts/demo.py OUT

Runs the same commands a person would, one after the other, and prints them. What is done stays
in OUT; a second run builds nothing again that is already there.
"""

import shlex
import subprocess
import sys
from pathlib import Path

from geobridge.geo.photos import read_photo_metadata

TOWN = "albion/3"


def geobridge(*words: str) -> None:
    """Show a command and run it."""
    print(f"\n$ geobridge {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "geobridge.cli.app", *words], check=True)


def write_truth(photos: list[Path], table: Path) -> None:
    """A table of queries with the positions their cameras noted, to measure the answers by."""
    rows = ["drone,lat,lon"]
    for photo in photos:
        noted = read_photo_metadata(photo)
        rows.append(f"{photo.relative_to(table.parent)},{noted.lat},{noted.lon}")
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")


def main(folder: Path) -> None:
    """Draw the town, fly over it, walk through it, index its map, locate what was seen."""
    folder.mkdir(parents=True, exist_ok=True)
    town, flight, walk = folder / "town.tif", folder / "flight", folder / "walk"
    gallery = folder / "town.gallery"
    if not town.exists():
        geobridge("world", "map", TOWN, "--gsd", "0.5", "--date", "0", "--out", str(town))
    if not flight.exists():
        geobridge("world", "fly", TOWN, "--count", "6", "--out", str(flight))
    if not walk.exists():
        geobridge("world", "walk", TOWN, "--count", "3", "--out", str(walk))
    geobridge("index", str(town), "--view", "satellite", "--out", str(gallery))
    geobridge("info", str(gallery))
    photo, panorama = (sorted(place.glob("*.jpg"))[0] for place in (flight, walk))
    page = folder / "answer.html"
    geobridge("locate", "--gallery", str(gallery), "--drone", str(photo), "--map", str(page))
    table = folder / "flight.csv"
    write_truth(sorted(flight.glob("*.jpg")), table)
    geobridge(
        "locate", "--gallery", str(gallery), "--queries", str(table),
        "--out", str(folder / "answers.csv"),
    )  # fmt: skip
    geobridge("locate", "--gallery", str(gallery), "--street", str(panorama))
    geobridge("locate", "--gallery", str(gallery), "--text", "a church beside a park", "--top", "3")
    print(f"\nOpen {page} in a browser: the photo, the candidates and the estimate on the map.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/demo.py OUT")
    main(Path(sys.argv[1]))
