"""Draw places of the simulated planet, one a row: satellite, drone, panorama and their text.

python scripts/contact_sheet.py --out sheet.png
python scripts/contact_sheet.py --regions albion,formosa --places 3 --out sheet.png
"""

import argparse
import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geobridge.world import REGIONS, World


def main() -> None:
    """Read the options, draw the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--regions", default=",".join(REGIONS), help="comma-separated names")
    parser.add_argument("--places", type=int, default=1, help="places of each region")
    parser.add_argument("--town", type=int, default=0, help="number of the town")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=160, help="height of a picture, px")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()

    size, gap = options.size, 4
    rows = []
    for name in options.regions.split(","):
        town = World(options.seed).town(name, options.town)
        for place in town.places(options.places, options.seed):
            rng = np.random.default_rng(options.seed + place.index)
            views = town.render_all(place, rng, size=size)
            rows.append(
                (f"{town.name}  {place.lat:.4f} {place.lon:.4f}", views, town.describe(place))
            )
    width = size * 6 + 2 * gap + 330
    sheet = Image.new("RGB", (width, len(rows) * (size + gap)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for i, (title, views, text) in enumerate(rows):
        top, left = i * (size + gap), 0
        for view in ("satellite", "drone", "street"):
            picture = Image.fromarray(views[view])
            sheet.paste(picture, (left, top))
            left += picture.width + gap
        words = title + "\n" + "\n".join(textwrap.wrap(text, 56))
        draw.multiline_text((left + 4, top + 2), words, fill="black", font=font)
    sheet.save(options.out)


if __name__ == "__main__":
    main()
