"""A tiny set of places and a model that steps in milliseconds, for everything in training."""

import csv

import numpy as np
from PIL import Image
from shapely import box

from geobridge.places.table import Place, write_places
from geobridge.training.config import merge_settings, parse_train_config

SQUARE_PX, PANORAMA_PX = (24, 24), (16, 64)
"""Height and width of the pictures on the stage."""

TRAIN, VAL = 12, 4
"""Places with pictures in the two splits."""

SENTENCES = (
    "a stadium by a river",
    "red roofs along a straight road",
    "a harbour with cranes",
    "a field and a pond",
)
ROAD_STEP_DEG = 0.001  # 111 m of longitude on the equator

# What is missing, by the number of the place.
NO_STREET, NO_SATELLITE, NO_DRONE, NO_TEXT = {1, 6, 13}, {2}, {3}, {4, 5}
# Has a text and nothing else; it comes after the others.
ONLY_TEXT = TRAIN + VAL


def picture(seed, height=24, width=24):
    """A picture that no other seed gives: coarse blocks of colour, uint8 (height, width, 3)."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    image = Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(image)


def write_picture(path, seed, size=SQUARE_PX):
    """A picture as JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, *size)).save(path, quality=95)
    return path


def tell(number):
    """The sentence of a place; places of one number modulo four tell the same."""
    return SENTENCES[number % len(SENTENCES)]


def write_tiny_places(folder):
    """Places `p00` to `p15` 111 m apart on a road along the equator, and `p16`, a text alone.

    The first twelve are the split `train`, the next four `val`. What lacks what is said by
    `NO_STREET` and the others; everything else is there. `p11` lies 11 m from `p10`.
    """
    missing = {"drone": NO_DRONE, "street": NO_STREET, "satellite": NO_SATELLITE}
    sizes = {"drone": SQUARE_PX, "street": PANORAMA_PX, "satellite": SQUARE_PX}
    rows = []
    for number in range(ONLY_TEXT + 1):
        lon = 10 + (number if number != 11 else 10.1) * ROAD_STEP_DEG
        pictures = {
            view: write_picture(folder / view / f"p{number:02}.jpg", 100 * number + len(view), size)
            for view, size in sizes.items()
            if number not in missing[view] and number != ONLY_TEXT
        }
        rows.append(
            Place(
                f"p{number:02}",
                0.0,
                lon,
                box(lon - 4e-4, -4e-4, lon + 4e-4, 4e-4),
                **pictures,
                text=None if number in NO_TEXT else tell(number),
                split="val" if TRAIN <= number < ONLY_TEXT else "train",
            )
        )
    write_places(folder, rows)
    return folder


def write_table(path, rows):
    """A CSV of rows (dicts), with the columns that any of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_tiny_table(folder):
    """Six squares of ground: the first three on two dates, the others once with two sentences.

    Rows 2 to 4 have `drone`, `satellite` and a position; rows 5 to 10 `satellite`, `text` and
    `text_group`, two rows for each picture.
    """
    rows = []
    for number in range(3):
        names = {}
        for year, view in enumerate(("drone", "satellite")):
            names[view] = f"pictures/ground{number}_{year}.jpg"
            write_picture(folder / names[view], 500 + 10 * number + year)
        rows.append(names | {"lat": 0.5, "lon": 10 + number * ROAD_STEP_DEG, "split": "train"})
    for number in range(3):
        name = f"pictures/captioned{number}.jpg"
        write_picture(folder / name, 600 + number)
        rows += [
            {
                "satellite": name,
                "text": f"{word} {tell(number)}",
                "split": "train",
                "text_group": f"group{number}",
            }
            for word in ("there is", "one sees")
        ]
    return write_table(folder / "table.csv", rows)


def tiny_settings(places):
    """A run on the tiny places, as data: four steps of batches of four."""
    square = {"height": 16, "width": 16}
    return {
        "seed": 3,
        "model": {
            "preset": "mini",
            "name": "tiny",
            "vocabulary": 300,
            "settings": {
                "dim": 8,
                "adapter_dim": 4,
                "stored_dtype": "float32",
                "image": {
                    "pooling": "gem",
                    "config": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
                },
                "text": {
                    "max_tokens": 24,
                    "config": {
                        "vocab_size": 300,
                        "hidden_size": 16,
                        "intermediate_size": 32,
                        "num_hidden_layers": 1,
                        "num_attention_heads": 1,
                        "projection_dim": 8,
                        "max_position_embeddings": 24,
                    },
                },
                "preprocess": {
                    "drone": square,
                    "street": {"height": 16, "width": 64},
                    "satellite": square,
                },
            },
        },
        "data": {
            "train": [{"places": str(places), "split": "train", "per_batch": 4}],
            "validation": [{"places": str(places), "split": "val"}],
        },
        "optimizer": {"warmup_steps": 1},
        "fit": {"steps": 4, "accelerator": "cpu", "save_minutes": 0, "validate_steps": 2},
    }


def tiny_run(places, **changes):
    """`tiny_settings` with changes (`fit={"steps": 2}`), tables merged, as a `TrainConfig`."""
    return parse_train_config(merge_settings(tiny_settings(places), changes), "the stage")
