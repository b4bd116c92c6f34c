"""Tiny trees in the layouts of the drone data sets, with pictures of 8 x 8 pixels.

python tests/evaluation/trees_uav.py university-1652 DIR
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHTS = (150, 200, 250, 300)
# Of the official lists of SUES-200: two places of training and two of testing.
SUES_TRAINING, SUES_TEST = ("0001", "0013"), ("0008", "0012")

# Metres east and south, and tiles: README of GTA-UAV has the first entry.
GTA_TILES = ("4_0_6_13.png", "5_0_12_27.png", "5_0_13_27.png", "6_128_3_4.png", "7_0_0_0.png")
GTA_PAIRS = {
    "500_0001_0000025682.png": (
        (4472.2, 9460.9),
        ["4_0_6_13.png"],
        ["4_0_6_13.png", "5_0_12_27.png", "5_0_13_27.png"],
    ),
    "200_0001_0000000007.png": (
        (4400.0, 9500.0),
        ["5_0_13_27.png", "5_0_12_27.png"],
        ["5_0_13_27.png", "5_0_12_27.png"],
    ),
    "300_0001_0000000003.png": ((100.0, 50.0), [], ["7_0_0_0.png"]),
}


def plant_picture(path, seed=None):
    """A picture of its own, but the same one wherever the seed is the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32((seed or path.as_posix()).encode()))
    kind = {".png": "PNG", ".tif": "TIFF"}.get(path.suffix.lower(), "JPEG")
    Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(path, kind)


def plant_university1652(root):
    """Two places of training; three that are asked and two more in the gallery.

    Of 0003 there are two street pictures, of 0005 and 0006 one each, of 0004 and 0007 none; 0006
    and 0007 are distractors.
    """
    for place in ("0001", "0002"):
        for name in ("image-01.jpeg", "image-02.jpeg"):
            plant_picture(root / "train/drone" / place / name)
        plant_picture(root / "train/satellite" / place / f"{place}.jpg")
        plant_picture(root / "train/street" / place / "1.jpg")
        plant_picture(root / "train/google" / place / "2.jpg")
    asked, streets = ("0003", "0004", "0005"), {"0003": 2, "0005": 1, "0006": 1}
    for role, places in (("query", asked), ("gallery", (*asked, "0006", "0007"))):
        for place in places:
            for name in ("image-01.jpeg", "image-02.jpeg"):
                plant_picture(root / f"test/{role}_drone" / place / name, f"{place}/{name}")
            plant_picture(root / f"test/{role}_satellite" / place / f"{place}.jpg", place)
            for number in range(streets.get(place, 0)):
                name = f"{number}.jpg"
                plant_picture(root / f"test/{role}_street" / place / name, f"{place}/{name}")


def plant_sues200(root):
    """The layout that split_datasets.py leaves; two pictures of a place from each height."""
    for height in HEIGHTS:
        for place in SUES_TRAINING:
            _plant_sues200_place(root / f"Training/{height}", "", height, place)
        for place in SUES_TEST:
            _plant_sues200_place(root / f"Testing/{height}", "query_", height, place)
        for place in (*SUES_TRAINING, *SUES_TEST):
            _plant_sues200_place(root / f"Testing/{height}", "gallery_", height, place)


def plant_sues200_archive(root):
    """The layout of the archive, in its folder."""
    home = root / "SUES-200-512x512"
    for place in (*SUES_TRAINING, *SUES_TEST):
        plant_picture(home / "satellite-view" / place / "0.png", place)
        for height in HEIGHTS:
            for number in range(2):
                path = home / "drone_view_512" / place / str(height) / f"{number}.jpg"
                plant_picture(path, f"{place}/{height}/{number}")


def _plant_sues200_place(folder, role, height, place):
    plant_picture(folder / f"{role}satellite" / place / "0.png", place)
    for number in range(2):
        path = folder / f"{role}drone" / place / f"{number}.jpg"
        plant_picture(path, f"{place}/{height}/{number}")


def plant_denseuav(root):
    """Two places of training and two of testing, on one parallel; galleries hold all four."""
    training, test = ("000000", "000001"), ("002256", "002257")
    lines = {"train": [], "test": []}
    for number, place in enumerate((*training, *test)):
        split = "train" if place in training else "test"
        if split == "train":
            _plant_denseuav_place(root / "train", "", place)
        else:
            _plant_denseuav_place(root / "test", "query_", place)
        _plant_denseuav_place(root / "test", "gallery_", place)
        lines[split] += [
            f"{split}/satellite/{place}/{name} E120.38{number}00 N30.32413 94.606\n"
            for name in ("H80.tif", "H80_old.tif")
        ]
    (root / "Dense_GPS_train.txt").write_text("".join(lines["train"]))
    (root / "Dense_GPS_test.txt").write_text("".join(lines["test"]))
    (root / "Dense_GPS_ALL.txt").write_text("".join(lines["train"] + lines["test"]))


def _plant_denseuav_place(folder, role, place):
    for height in ("H80", "H90", "H100"):
        plant_picture(folder / f"{role}drone" / place / f"{height}.JPG", f"{place}/{height}")
        for date in ("", "_old"):
            name = f"{height}{date}.tif"
            plant_picture(folder / f"{role}satellite" / place / name, f"{place}/{name}")


def plant_gtauav(root):
    """Five tiles; three drone pictures, the last of which only half matches a tile."""
    for tile in GTA_TILES:
        plant_picture(root / "satellite" / tile)
    for drone in GTA_PAIRS:
        plant_picture(root / "drone/images" / drone)
    entries = [gtauav_entry(drone, *pair) for drone, pair in GTA_PAIRS.items()]
    for area in ("same", "cross"):
        for split, part in (("train", entries[2:]), ("test", entries)):
            path = root / f"{area}-area-drone2sate-{split}.json"
            path.write_text(json.dumps(part, indent=4))


def gtauav_entry(drone, position, tiles, half):
    """An entry of a list of pairs, as far as it is read."""
    return {
        "drone_img_dir": "drone/images",
        "drone_img_name": drone,
        "drone_loc_x_y": list(position),
        "sate_img_dir": "satellite",
        "pair_pos_sate_img_list": tiles,
        "pair_pos_semipos_sate_img_list": half,
        "drone_metadata": {"height": 494.7, "cam_yaw": 85.0},
    }


PLANTS = {
    "university-1652": plant_university1652,
    "sues-200": plant_sues200,
    "sues-200-archive": plant_sues200_archive,
    "denseuav": plant_denseuav,
    "gta-uav": plant_gtauav,
}

if __name__ == "__main__":
    PLANTS[sys.argv[1]](Path(sys.argv[2]))
