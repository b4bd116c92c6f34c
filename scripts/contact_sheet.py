"""Draw places of the simulated planet as a person would look at them.

python scripts/contact_sheet.py --out docs/images/planet.jpg
python scripts/contact_sheet.py --regions albion,formosa --places 3 --out sheet.png
python scripts/contact_sheet.py --one albion/0 --out docs/images/place.jpg

The first two draw one place a row: satellite, drone, panorama and text. The last draws one place in
many ways: dates, resolutions, drones and street pictures.
"""

import argparse
import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geobridge.world import DATES, REGIONS, Town, World, WorldPlace
from geobridge.world.trips import open_town

GAP, TEXT_WIDTH = 4, 330
FONT = ImageFont.load_default(11)
Labelled = tuple[str, np.ndarray]


def main() -> None:
    """Read the options, draw the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--regions", default=",".join(REGIONS), help="comma-separated names")
    parser.add_argument("--places", type=int, default=1, help="places of each region")
    parser.add_argument("--town", type=int, default=0, help="number of the town")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", metavar="TOWN", help="draw one place of this town in many ways")
    parser.add_argument("--size", type=int, default=144, help="height of a picture, px")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    if options.one:
        town = open_town(options.one)
        sheet = many_ways(town, town.places(1, options.seed)[0], options.size)
    else:
        names = options.regions.split(",")
        towns = [World(options.seed).town(name, options.town) for name in names]
        sheet = places_by_row(towns, options.places, options.seed, options.size)
    sheet.save(options.out, quality=85)


def places_by_row(towns: list[Town], count: int, seed: int, size: int) -> Image.Image:
    """One row a place: satellite, drone, panorama, and what it is called and described as."""
    rows = [(town, place) for town in towns for place in town.places(count, seed)]
    sheet = Image.new("RGB", (size * 6 + 2 * GAP + TEXT_WIDTH, len(rows) * (size + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (town, place) in enumerate(rows):
        views = town.render_all(place, np.random.default_rng(seed + place.index), size=size)
        top, left = i * (size + GAP), 0
        for view in ("satellite", "drone", "street"):
            picture = Image.fromarray(views[view])
            sheet.paste(picture, (left, top))
            left += picture.width + GAP
        words = "\n".join(textwrap.wrap(town.describe(place), 56))
        title = f"{town.name}  {place.lat:.4f} {place.lon:.4f}"
        draw.multiline_text((left + 4, top + 2), f"{title}\n{words}", fill="black", font=FONT)
    return sheet


def many_ways(town: Town, place: WorldPlace, size: int) -> Image.Image:
    """Rows of labelled pictures of one place."""
    along = place.heading_deg
    dates = [
        (f"date {date}", town.render("satellite", place, size=size, date=date))
        for date in range(DATES)
    ]
    ground_m = size * 0.8
    coarse = []
    for gsd_m in (0.3, 0.6, 1.0, 2.0, 5.0, 10.0):
        pixels = max(8, round(ground_m / gsd_m))
        picture = town.render("satellite", place, size=pixels, gsd_m=ground_m / pixels, date=1)
        resized = Image.fromarray(picture).resize((size, size), Image.Resampling.NEAREST)
        coarse.append((f"{gsd_m:g} m a pixel", np.asarray(resized)))
    drones = [
        (
            f"drone, pitch {pitch}, yaw {yaw}",
            town.render("drone", place, size=size, date=2, pitch_deg=pitch, yaw_deg=yaw),
        )
        for pitch, yaw in ((-90, 0), (-90, 120), (-70, 40), (-50, 200), (-30, 300))
    ]
    crops = [
        (
            f"crop of {side} m",
            town.render("drone", place, size=size, date=3, crop_m=side),
        )
        for side in (80, 120, 180)
    ]
    streets = [
        ("panorama", town.render("street", place, size=size, date=4, yaw_deg=along)),
        ("90 degrees", town.render("street", place, size=size, date=4, yaw_deg=along, fov_deg=90)),
        ("50 degrees", town.render("street", place, size=size, date=4, yaw_deg=along, fov_deg=50)),
    ]
    rows = [dates, coarse, drones + crops, streets]
    return stacked(rows, size)


def stacked(rows: list[list[Labelled]], size: int) -> Image.Image:
    """Rows of pictures of one height, each with a line of words below."""
    line = 16
    width = max(sum(picture.shape[1] + GAP for _, picture in row) for row in rows)
    sheet = Image.new("RGB", (width, len(rows) * (size + line)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, row in enumerate(rows):
        left, top = 0, i * (size + line)
        for words, picture in row:
            sheet.paste(Image.fromarray(picture), (left, top))
            draw.text((left + 2, top + size + 1), words, fill="black", font=FONT)
            left += picture.shape[1] + GAP
    return sheet


if __name__ == "__main__":
    main()
