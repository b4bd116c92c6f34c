"""Tiny trees in the layouts of the street data sets.

python tests/evaluation/trees_street.py cvusa DIR
"""

import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from trees_uav import plant_picture

CVUSA_TRAIN, CVUSA_VAL = (2, 7), (15, 16, 19)

# Panorama ids of CVACT with UTM metres: b is 5 m from a (3, 4), c is 5 m from b and 6 from a.
CVACT_UTM = {
    "t0": (0.0, 0.0),
    "v0": (1000.0, 0.0),
    "v1": (2000.0, 0.0),
    "a": (3000.0, 500.0),
    "b": (3003.0, 504.0),
    "c": (3006.0, 500.0),
}
# MATLAB's counting; those of val are also of test.
CVACT_TRAIN, CVACT_VAL, CVACT_TEST = (1,), (3, 2), (2, 3, 4, 5, 6)

# A line of SliceMatch's corrected labels, same-area test of Chicago: its positions and offsets.
GOLDEN_PANORAMA = "golden,41.877949,-87.689396,.jpg"
GOLDEN_TILE = "satellite_41.877971796211014_-87.68943505304125.png"
_EAST = "satellite_41.877971796211014_-87.68899446364951.png"
_SOUTH = "satellite_41.877643723758375_-87.68943505304125.png"
_SOUTH_EAST = "satellite_41.877643723758375_-87.68899446364951.png"
_LONE = "satellite_41.9_-87.7.png"
VIGOR_TILES = {
    "Chicago": (GOLDEN_TILE, _EAST, _SOUTH, _SOUTH_EAST, _LONE),
    "NewYork": ("satellite_40.7_-74.0.png", "satellite_40.8_-74.0.png"),
    "SanFrancisco": ("satellite_37.7_-122.4.png", "satellite_37.8_-122.4.png"),
    "Seattle": ("satellite_47.6_-122.3.png", "satellite_47.7_-122.3.png"),
}
GOLDEN_LINE = (
    f"{GOLDEN_PANORAMA} {GOLDEN_TILE} 23.0 -29.0 {_EAST} 20.0 300.0 "
    f"{_SOUTH} -304.0 -32.0 {_SOUTH_EAST} -307.0 297.0"
)


def plant_cvusa(root):
    """Two pairs of training and three of validation; panoramas are 44 x 8, as 1232 x 224."""
    for split, ids in (("train", CVUSA_TRAIN), ("val", CVUSA_VAL)):
        lines = []
        for number in ids:
            satellite = f"bingmap/19/{number:07d}.jpg"
            street = f"streetview/panos/{number:07d}.jpg"
            lines.append(f"{satellite},{street},streetview/annotations/{number:07d}.png\n")
            plant_picture(root / satellite)
            plant_columns(root / street, 44, 8)
        _write(root / f"splits/{split}-19zl.csv", "".join(lines))


def plant_cvact(root):
    """One pair of training, two of validation, five of the test, two of them those of val."""
    from scipy.io import savemat

    ids = list(CVACT_UTM)
    root.mkdir(parents=True, exist_ok=True)
    savemat(
        root / "ACT_data.mat",
        {
            "panoIds": np.array(ids),
            "utm": np.array(list(CVACT_UTM.values())),
            "trainSet": {"numTrain": 1, "trainInd": np.array([CVACT_TRAIN]).T},
            "valSet": {"numVal": 2, "valInd": np.array([CVACT_VAL]).T},
            "valSetAll": {"numVal": 5, "valInd": np.array([CVACT_TEST]).T},
        },
    )
    folders = {"ANU_data_small": (*CVACT_TRAIN, *CVACT_VAL), "ANU_data_test": CVACT_TEST}
    for folder, rows in folders.items():
        for row in rows:
            name = ids[row - 1]
            plant_columns(root / folder / f"streetview/{name}_grdView.jpg", 32, 16)
            plant_picture(root / folder / f"satview_polish/{name}_satView_polish.jpg")


def plant_vigor(root, *, snapshot=False):
    """Two panoramas of training and of test in each city; the golden line is Chicago's first.

    Args:
        root: where.
        snapshot: in the layout of Sample4Geo's copy instead of the official one.
    """
    for city, tiles in VIGOR_TILES.items():
        tested, trained = _lines(city, tiles)
        for tile in tiles:
            path = f"satellite/{city}/{tile}" if snapshot else f"{city}/satellite/{tile}"
            plant_picture(root / path)
        for line in (*tested, *trained):
            name = line.split()[0]
            path = f"ground/{city}/{name}" if snapshot else f"{city}/panorama/{name}"
            plant_columns(root / path, 32, 16)
        for folder, ending in (("splits", ""), ("splits__corrected", "__corrected")):
            lists = root / folder / city
            _write(lists / "satellite_list.txt", "\n".join(tiles) + "\n")
            _write(lists / f"same_area_balanced_test{ending}.txt", "\n".join(tested) + "\n")
            _write(lists / f"same_area_balanced_train{ending}.txt", "\n".join(trained) + "\n")
            _write(lists / f"pano_label_balanced{ending}.txt", "\n".join(trained + tested) + "\n")


def _lines(city, tiles):
    """Lines of test and of training."""
    first, second = tiles[:2]
    # Small cities name a tile twice and one that no list has, which happens at the edge of a city.
    rest = f"{second} 10.0 300.0 {second} -300.0 5.0 satellite_0.5_0.5.png -310.0 300.0"
    inside = f"{city}-in,1.5,2.5,.jpg {first} 10.0 -20.0 {rest}"
    outside = f"{city}-out,1.5,2.5,.jpg {first} 10.0 321.0 {rest}"
    trained = [f"{city}-t{number},1.0,2.0,.jpg {second} 0.0 0.0 {rest}" for number in (1, 2)]
    return [GOLDEN_LINE if city == "Chicago" else inside, outside], trained


def plant_columns(path, width, height):
    """A panorama whose first row is grey, each column 4 brighter than the one to its left.

    The other rows are noise that belongs to the file's name, so that no two panoramas are equal.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    pixels[0] = (np.arange(width) * 4).astype(np.uint8)[:, None]
    # The content tells the format, not the name: as PNG, columns keep their exact brightness.
    Image.fromarray(pixels).save(path, "PNG")


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


TREES = {"cvusa": plant_cvusa, "cvact": plant_cvact, "vigor": plant_vigor}

if __name__ == "__main__":
    TREES[sys.argv[1]](Path(sys.argv[2]))
