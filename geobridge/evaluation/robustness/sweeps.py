"""What is swept: each function changes one thing in steps and measures what that touches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from geobridge.evaluation.embeddings import slug
from geobridge.evaluation.robustness.corruptions import (
    CORRUPTIONS,
    STRENGTHS,
    corrupt,
    generator,
)
from geobridge.evaluation.robustness.lab import BENCHMARK, SEED, UNSEEN, Lab, Picture, Variant
from geobridge.evaluation.scores import Score, Value
from geobridge.imagery.decode import read_image
from geobridge.imagery.rotate import rotate
from geobridge.imagery.street import StreetField, panorama_columns, street_field
from geobridge.model.geobridge import GeoBridge
from geobridge.views import LETTERS, NINE_DIRECTIONS, VIEWS, View

GSDS_M = (0.3, 0.5, 0.8, 1.2, 2.0, 5.0, 10.0)
FIELDS_DEG = (70, 90, 120, 180, 360)
ANGLES_DEG = (0, 15, 30, 45, 60, 90, 135, 180)
ZOOMS = (0.5, 0.71, 1.0, 1.41, 2.0)
NOISES = (0.0, 0.3, 0.6)

_NINE = " ".join(direction.short for direction in NINE_DIRECTIONS)
_RESAMPLES = 1000


@dataclass(frozen=True)
class Sweep:
    """What came of one sweep.

    Attributes:
        title: of its section.
        about: what was changed and how, whole sentences.
        x_name: what is swept, with its unit.
        x_values: X settings.
        series: X scores each, by name; None where there is nothing to measure.
        log: the figure's x axis is logarithmic.
        losses: columns of the table that are differences, X each.
    """

    title: str
    about: str
    x_name: str
    x_values: Sequence[float] | Sequence[str]
    series: Mapping[str, Sequence[Score | None]]
    log: bool = False
    losses: Mapping[str, Sequence[Value]] = field(default_factory=dict)


def resolution(lab: Lab) -> Sweep:
    """Satellite pictures of the same ground from 0.3 to 10 m a pixel."""
    ways = lab.able("D2S S2D P2S S2P T2S")
    native = lab.recipe.satellite_gsd_m
    satellites = [
        lab.base["satellite"]
        if gsd_m == native
        else lab.rendered("satellite", f"satellite-{gsd_m:g}m", satellite_gsd_m=gsd_m)
        for gsd_m in (GSDS_M if ways else ())
    ]
    return Sweep(
        "Resolution of the satellite",
        f"The satellite shows the same {lab.recipe.footprint_m:g} m of ground in larger or smaller "
        f"pixels, {native:g} m in {BENCHMARK}; each resolution is rendered, not resampled.",
        "ground sampling distance, m",
        GSDS_M,
        {way.short: [lab.measure(way, satellite=one) for one in satellites] for way in ways},
        log=True,
    )


def missing(lab: Lab) -> Sweep:
    """Every direction that is left when one modality is nowhere to be had."""
    ways = lab.able(_NINE)
    return Sweep(
        "A modality is missing",
        "One modality is neither asked with nor looked up. What is left is as good as before, "
        "because no direction passes through another modality: without any satellite these are "
        "D2P, P2D, T2D and T2P.",
        "direction",
        [way.short for way in ways],
        {
            f"{name or 'nothing'} missing": [
                None if name in (way.query, way.reference) else lab.measure(way) for way in ways
            ]
            for name in (None, *lab.model.modalities)
            if ways
        },
    )


def fusion(lab: Lab) -> Sweep:
    """Queries of several modalities, with one of them removed in turn."""
    modalities = lab.model.modalities
    removed = [None, *modalities]

    def found(view: View, name: str | None) -> Score | None:
        asked = [lab.base[other] for other in modalities if other not in (view, name)]
        return lab.score(asked, lab.base[view]) if asked and name != view else None

    return Sweep(
        "Several modalities in one query",
        "A query is all modalities of a place but the one of the gallery, fused as "
        "`geobridge.model.fusion.fuse` does (the mean of unit rows); then one of them is removed.",
        "removed from the query",
        [name or "nothing" for name in removed],
        {
            f"{'+'.join(_letter(other) for other in modalities if other != view)} to "
            f"{_letter(view)}": [found(view, name) for name in removed]
            for view in VIEWS
            if view in modalities
        },
    )


def street(lab: Lab) -> Sweep:
    """Parts of panoramas, around north and around any heading."""
    ways = lab.able("P2S P2D")
    series: dict[str, list[Score | None]] = {}
    fields = _fields(lab) if ways else {}
    for way in ways:
        for heading, any_heading in (("north in the middle", False), ("any heading", True)):
            series[f"{way.short}, {heading}"] = [
                lab.measure(way, street=_part(lab, fov_deg, fields[fov_deg], any_heading))
                for fov_deg in FIELDS_DEG
            ]
    return Sweep(
        "Heading and field of view of the street",
        "Columns of the panorama around north, or around a heading drawn for each picture "
        "(360 degrees: the panorama is only turned). The model is told the field, not the heading. "
        "As Shi et al., CVPR 2020, cut CVUSA.",
        "field of view, degrees",
        FIELDS_DEG,
        series,
    )


def _fields(lab: Lab) -> dict[float, list[StreetField]]:
    """What `panorama_columns` leaves of the field of each panorama, by the field that is cut."""
    shapes = [read_image(cast(Path, path)).shape for path in lab.base["street"].items.contents]
    return {
        fov_deg: [_field(shape[0], shape[1], fov_deg) for shape in shapes] for fov_deg in FIELDS_DEG
    }


def _field(height: int, width: int, fov_deg: float) -> StreetField:
    whole = street_field(width, height, panorama=True)
    return StreetField(360 * int(width * fov_deg / 360) / width, whole.vertical_fov_deg)


def _part(lab: Lab, fov_deg: float, fields: Sequence[StreetField], any_heading: bool) -> Variant:
    panoramas = lab.base["street"]
    if fov_deg == 360 and not any_heading:
        return panoramas

    def change(picture: Picture, number: int) -> Picture:
        heading = generator("heading", SEED, number).uniform(0, 360) if any_heading else 0.0
        return panorama_columns(picture, heading, fov_deg)

    name = f"{fov_deg:g} {'any' if any_heading else 'north'}"
    return lab.changed(panoramas, name, change, fields)


def rotation(lab: Lab) -> Sweep:
    """Drone pictures turned about their centre."""
    return Sweep(
        "Rotation of the drone",
        "The picture is turned clockwise about its centre; corners are filled by reflection. "
        f"Cameras of {BENCHMARK} look down or obliquely and are turned to any side to begin with; "
        "crops are the paper's reverse crops of an orthomosaic, north up before they are turned.",
        "rotation, degrees",
        ANGLES_DEG,
        _drones(lab, "turned", ANGLES_DEG, 0, rotate),
    )


def scale(lab: Lab) -> Sweep:
    """Drone pictures that show things larger or smaller."""
    return Sweep(
        "Scale of the drone",
        "Things look so many times as large: above 1 the middle is enlarged, below 1 the picture "
        "is shrunk and continued by reflection. Cameras and crops as above.",
        "magnification",
        ZOOMS,
        _drones(lab, "zoomed", ZOOMS, 1, zoom),
        log=True,
    )


def _drones(
    lab: Lab,
    name: str,
    x_values: Sequence[float],
    neutral: float,
    change: Callable[[Picture, float], Picture],
) -> dict[str, list[Score | None]]:
    ways = lab.able("D2S D2P")
    if not ways:
        return {}
    kinds = {"camera": lab.base["drone"], "crop": lab.rendered("drone", "crop", drone="crop")}
    changed = {
        kind: [
            drone if x == neutral else lab.changed(drone, f"{name} {x:g}", partial(_by, change, x))
            for x in x_values
        ]
        for kind, drone in kinds.items()
    }
    return {
        f"{way.short}, {kind}": [lab.measure(way, drone=drone) for drone in drones]
        for way in ways
        for kind, drones in changed.items()
    }


def _by(change: Callable[[Picture, float], Picture], x: float, picture: Picture, _: int) -> Picture:
    return change(picture, x)


def zoom(picture: Picture, magnification: float) -> Picture:
    """A picture in which things look so many times as large, about its centre.

    Args:
        picture: uint8 (H, W, 3).
        magnification: above 1 the middle is enlarged (bicubic); below 1 the picture is shrunk,
            each pixel the mean of what it covers by Pillow's bicubic, and continued by reflection.

    Returns:
        uint8 (H, W, 3).
    """
    height, width = picture.shape[:2]
    edge = [max(0, int(np.ceil(side * (1 / magnification - 1) / 2))) for side in (height, width)]
    wide = np.pad(picture, [(edge[0],) * 2, (edge[1],) * 2, (0, 0)], mode="symmetric")
    half = [side / magnification / 2 for side in (width, height)]
    middle = [wide.shape[1] / 2, wide.shape[0] / 2]
    box = (middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1])
    return np.array(
        Image.fromarray(wide).resize((width, height), Image.Resampling.BICUBIC, box=box)
    )


def weather(view: View, direction: str, lab: Lab) -> Sweep:
    """Weather, light and sensor on the pictures of a query."""

    def made(kind: str, strength: int) -> Variant:
        if strength == 0:
            return lab.base[view]
        return lab.changed(
            lab.base[view],
            f"{kind} {strength}",
            lambda picture, number: corrupt(kind, picture, strength, SEED, number),
        )

    return Sweep(
        f"Weather and light, {direction}",
        f"What is added to the {view} picture of the query; definitions and sources are in "
        f"`geobridge/evaluation/robustness/corruptions.py`.",
        "strength",
        STRENGTHS,
        {
            kind: [lab.measure(way, **{view: made(kind, strength)}) for strength in STRENGTHS]
            for way in lab.able(direction)
            for kind in CORRUPTIONS
        },
    )


def captions(lab: Lab) -> Sweep:
    """Texts that are partly wrong."""
    ways = lab.able("T2D T2S T2P")
    texts = [
        lab.rendered("text", f"noise-{noise:g}", anchor_noise=noise) if noise else lab.base["text"]
        for noise in (NOISES if ways else ())
    ]
    return Sweep(
        "Noise of captions",
        "With this probability each, a roof colour, a wall colour or a direction that a text tells "
        "is wrong, a landmark or area left out, and one landmark of a place made up "
        "(`geobridge.world`, anchor noise); the pictures are the same.",
        "probability",
        NOISES,
        {way.short: [lab.measure(way, text=text) for text in texts] for way in ways},
    )


def regions(lab: Lab) -> Sweep:
    """Regions of the planet that nothing is trained on."""
    ways = lab.able(_NINE)
    far = lab.places(UNSEEN)
    seen = [lab.measure(way) for way in ways]
    unseen = [lab.measure(way, **far) for way in ways]
    return Sweep(
        "Unseen regions",
        f"{BENCHMARK} has new towns of regions that may be trained on, {UNSEEN} towns of regions "
        f"that are held back (geobridge's own models have never seen them). The loss is the "
        f"difference of the two, its interval from resampling both.",
        "direction",
        [way.short for way in ways],
        {BENCHMARK: seen, UNSEEN: unseen},
        losses={"loss": [loss(*pair) for pair in zip(seen, unseen, strict=True)]},
    )


def loss(before: Score, after: Score) -> Value:
    """By how much R@1 falls between two sets of other queries, with a 95 % bootstrap interval."""
    rng = np.random.default_rng(SEED)
    hits = [one.per_query["R@1"] for one in (before, after)]
    means = [hit[rng.integers(0, len(hit), (_RESAMPLES, len(hit)))].mean(axis=1) for hit in hits]
    low, high = np.quantile(means[0] - means[1], (0.025, 0.975))
    return Value(float(hits[0].mean() - hits[1].mean()), float(low), float(high))


def transfer(models: Mapping[str, str | Path], lab: Lab) -> Sweep:
    """Models that were trained without some edge, on all directions between views."""
    labs = [lab]
    for name, path in models.items():
        other = GeoBridge.load(path, device=lab.model.device)
        labs.append(Lab(other, lab.data, lab.out / "transfer" / slug(name), lab.step))
    ways = [way for way in NINE_DIRECTIONS if way.query != "text"]
    return Sweep(
        "Transfer between modalities",
        "Models side by side. One that was trained without an edge, such as drone to street, shows "
        "in its directions what the other edges carry over.",
        "model",
        [lab.model.name, *models],
        {
            way.short: [one.measure(way) if one.able(way.short) else None for one in labs]
            for way in ways
        },
    )


SWEEPS: dict[str, Callable[[Lab], Sweep]] = {
    "resolution": resolution,
    "missing": missing,
    "fusion": fusion,
    "street": street,
    "rotation": rotation,
    "scale": scale,
    "weather-drone": partial(weather, "drone", "D2S"),
    "weather-street": partial(weather, "street", "P2S"),
    "captions": captions,
    "regions": regions,
}
"""All sweeps of one model, by name."""


def _letter(modality: str) -> str:
    return next(letter for letter, name in LETTERS.items() if name == modality)
