"""Tiny trees in the layouts of the data sets with descriptions.

python tests/evaluation/trees_text.py geotext-1652 DIR
"""

import json
import sys
from pathlib import Path

from trees_uav import plant_picture

# Six drone pictures of three buildings, in the order of the file.
GEOTEXT_BUILDINGS = ("0001", "0001", "0002", "0002", "0003", "0003")

# Names on a line to the north, 0.001 degrees (111 m) apart.
CVG_NAMES = [f"{40 + row / 1000:.3f},-74.0_2020-01_pano{row}_d090_z3.jpg" for row in range(3)]
CVG_PHOTOS = ["40.010,-74.0_photo.jpg", CVG_NAMES[0]]
"""Of single photos; the second has the name of a panorama."""

RSICD_TEST = {
    "port_2.jpg": ["many SHIPS are in a port .", "a port .", "two piers .", "water .", "boats ."],
    "port_1.jpg": ["a port .", "a pier .", "grey water .", "one ship .", "cranes ."],
}


def plant_geotext1652(root):
    """Three buildings of test, one of which is asked for in the gallery alone; one of training."""
    entries = []
    for row, building in enumerate(GEOTEXT_BUILDINGS):
        folder = "gallery_no_train(250)" if building == "0003" else "query(701)"
        name = f"{building}/image-{row:02d}.jpeg"
        said = [f"Building {building}, seen {times} time(s)!" for times in ("1", "2", "3")]
        entries.append(_geotext(root, f"test/{folder}/{name}", name, said))
    _write(root / "test_951_version.json", entries)
    _write(root / "test_24G_version.json", entries[:2])
    train = [_geotext(root, "train/0839/image-43.jpeg", "0839/image-43.jpeg", "An office.")]
    _write(root / "train.json", train)


def _geotext(root, image, image_id, caption):
    plant_picture(root / "images" / image)
    entry = {"image_id": image_id, "image": image, "caption": caption}
    return entry | {"sentences": ["an object"], "bboxes": [[0.5, 0.5, 0.1, 0.1]]}


def plant_cvgtext(root):
    """Three panoramas and two photos of NewYork; one pair of training."""
    for version, names in (("NewYork", CVG_NAMES), ("NewYork-photos", CVG_PHOTOS)):
        said = {name: f"{version} street {row}" for row, name in enumerate(names)}
        _write(root / f"CVG-text/{version}/test.json", said)
        street = "NewYork-photo" if version == "NewYork-photos" else "NewYork-ground"
        for folder in (f"{version}-satellite", f"{version}-OSM", street):
            for name in names:
                plant_picture(root / folder / name)
    train = "41.0,-74.0_2020-01_pano9_d090_z3.jpg"
    _write(root / "CVG-text/NewYork/train.json", {train: "a street of training"})
    plant_picture(root / "NewYork-satellite" / train)


def plant_rsicd(root, *, listed="dataset_rsicd.json", folder="RSICD_images"):
    """Two pictures of test with five sentences each, one of val and of train."""
    images = [("test", name, said) for name, said in RSICD_TEST.items()]
    images += [("val", "bridge_1.jpg", ["a bridge ."]), ("train", "beach_1.jpg", ["a beach ."])]
    for _, name, _ in images:
        plant_picture(root / folder / name)
    found = [
        {"split": split, "filename": name, "sentences": [{"raw": text} for text in said]}
        for split, name, said in images
    ]
    _write(root / listed, {"images": found})


def plant_ucm(root):
    """The same in the layout of UCM-Captions."""
    plant_rsicd(root, listed="dataset_ucm.json", folder="UCM_images")


def plant_rsieval(root):
    """Two pictures with a sentence each."""
    said = {"b.png": "A harbour.", "a.png": "A stadium."}
    for name in said:
        plant_picture(root / "RSIEval/images" / name)
    annotations = [
        {"filename": name, "caption": caption, "qa_pairs": []} for name, caption in said.items()
    ]
    _write(root / "RSIEval/annotations.json", {"annotations": annotations})


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


TREES = {
    "geotext-1652": plant_geotext1652,
    "cvg-text": plant_cvgtext,
    "rsicd": plant_rsicd,
    "ucm-captions": plant_ucm,
    "rsieval": plant_rsieval,
}

if __name__ == "__main__":
    TREES[sys.argv[1]](Path(sys.argv[2]))
