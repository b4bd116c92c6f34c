"""Whether a panorama looks like the ground it is said to stand on, by the eyes of a model.

A panorama that is turned north, with its stated heading, at its stated position, should be more
like its own ground than

- itself turned by other headings (`turn`): else its heading is wrong;
- its mirror image (`mirror`): else it is mirrored. A file that was mirrored was so about its middle
  column, before it was turned north, so its heading is needed to undo that;
- like the grounds of other places (`agreement`): else it stands elsewhere.

The ground is the drone's crop, cut to the same side for all and seen by the model's satellite
encoder, which knows north, where it has one. The panorama is taken for what it has beyond the mean
panorama of the workspace, as in `fit`. Differences are told in standard deviations of the
similarity of panoramas with other places' grounds, so that one number suits several models.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field

from geobridge.curation.fit import LEAST_OTHERS, share_below
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError
from geobridge.files import stamp
from geobridge.geo.distance import distance_m
from geobridge.imagery.decode import read_image
from geobridge.imagery.quality import QUALITY_SIDE
from geobridge.imagery.street import panorama_columns, street_field
from geobridge.model.config import Settings
from geobridge.model.geobridge import GeoBridge
from geobridge.progress import Step
from geobridge.views import View

TURN_DEG = 45.0
"""Other headings that a panorama is compared with are multiples of this."""

_TURNS = round(360 / TURN_DEG)
_FORM = "street, ground, turns, mirror; 1"
# Fewer panoramas of a set prove nothing, nor does a difference of fewer standard errors.
_LEAST_OF_SET = 5
_LEAST_Z = 4.0
# The standard deviation of a share that is drawn evenly from 0 to 1.
_CHANCE_SPREAD = 12**-0.5


class GroundConfig(Settings):
    """Who compares panoramas with their ground, and how strictly.

    Needs panoramas that are turned north (`crop.turn_north`). What the check catches and loses on
    the simulated planet is in docs/curation.md (`benchmarks/curation_ground.py`).

    Attributes:
        model: name or folder of a GeoBridge model with street and satellite, or street and drone.
        side_m: ground that is compared; smaller crops are taken whole.
        least_turn: how much more alike the stated heading must be than any other, in standard
            deviations; below 0 another heading may be a little more alike.
        least_mirror: the same against the mirror image.
        least_agreement: share of other places' grounds that must be less alike, 0..1.
        most_rejected: share of the panoramas that are rejected at most; where more fall short, the
            three cut-offs are lowered. 1 never lowers them.
        others: most places whose grounds one is compared with.
        device: where the model computes.
    """

    model: str = Field(min_length=1)
    side_m: float = Field(default=80.0, gt=0)
    least_turn: float = -0.15
    least_mirror: float = -0.15
    least_agreement: float = Field(default=0.9, ge=0, le=1)
    most_rejected: float = Field(default=0.1, ge=0, le=1)
    others: int = Field(default=200, ge=LEAST_OTHERS)
    device: str = "cpu"


@dataclass(frozen=True)
class Grounded:
    """Panoramas before their grounds; rows that were not judged are NaN.

    Attributes:
        scores: by pano_id; `agreement` 0..1, `turn` and `mirror` in standard deviations.
        alike: float64 (N, 8), similarity when turned clockwise by multiples of `TURN_DEG`, and
            float64 (N,) `mirrored`, both in standard deviations, in the order of `scores`.
    """

    scores: pd.DataFrame
    alike: NDArray[np.float64]
    mirrored: NDArray[np.float64]


def compare(
    workspace: Workspace, places: pd.DataFrame, config: GroundConfig, step: Step
) -> Grounded:
    """Compare each panorama with the ground around it.

    Args:
        workspace: where the pictures and the table `street` are.
        places: rows of `crops`; of several sizes around a panorama the smallest that holds
            `side_m` is taken. Plain photos, which are not of the whole circle, are left out.
        config: who compares.
        step: is told what begins.

    Raises:
        ModelError: there is no such model.
        CurationError: it does not read street pictures and a picture from above.
        ImageError: a picture cannot be read.
    """
    chosen = _chosen(places, workspace.read("street"), config.side_m)
    found = _embedded(workspace, chosen, config, step)
    street = np.array([one["street"] for one in found], np.float32)
    ground = np.array([one["ground"] for one in found], np.float32)
    turns = np.array([one["turns"] for one in found], np.float64).reshape(-1, _TURNS)
    mirror = np.array([one["mirror"] for one in found], np.float64)
    agreement, spread = _against_others(chosen, street, ground, config)
    turns, mirror = turns / spread, mirror / spread
    scores = pd.DataFrame(
        {
            "agreement": agreement,
            "turn": turns[:, 0] - turns[:, 1:].max(axis=1, initial=-np.inf),
            "mirror": turns[:, 0] - mirror,
        },
        index=pd.Index(chosen["pano_id"], name="pano_id"),
    )
    return Grounded(scores.round(4), turns, mirror)


def _chosen(places: pd.DataFrame, street: pd.DataFrame, side_m: float) -> pd.DataFrame:
    """A row a panorama, with its heading."""
    ordered = places.assign(short=(side_m - places["side_m"]).clip(lower=0))
    ordered = ordered.sort_values(["pano_id", "short", "side_m", "place_id"])
    chosen = ordered.drop_duplicates("pano_id")[
        ["place_id", "pano_id", "lat", "lon", "side_m", "drone", "street"]
    ]
    told = street[street["kept"].astype(bool) & street["is_360"].astype(bool)]
    told = told[["pano_id", "heading_deg"]].drop_duplicates("pano_id")
    return chosen.merge(told, on="pano_id").reset_index(drop=True)


def _embedded(
    workspace: Workspace, chosen: pd.DataFrame, config: GroundConfig, step: Step
) -> list[dict[str, Any]]:
    """What the model sees in each panorama and its ground, noted one by one."""
    model = GeoBridge.load(config.model, config.device)
    above: View = "satellite" if "satellite" in model.modalities else "drone"
    if not {"street", above} <= set(model.modalities):
        raise CurationError(
            f"model {model.name!r} does not read both street pictures and pictures from above, so "
            f"it cannot compare them: name another one in `ground.model`."
        )
    report = step("comparing panoramas with the ground")
    found = []
    whose = f"{model.fingerprint} {config.side_m} {_FORM}"
    with workspace.journal("ground", whose) as journal:
        for done, row in enumerate(chosen.to_dict("records"), 1):
            key = "{place_id} {pano_id} {heading_deg}".format_map(row)
            key += "".join(
                f" {stamp(workspace.folder / row[view])}" for view in ("drone", "street")
            )
            if key not in journal:
                journal.add(key, _embed(model, above, workspace, row, config.side_m))
            found.append(_read(journal[key]))
            report(done, len(chosen))
    return found


def _embed(
    model: GeoBridge, above: View, workspace: Workspace, row: Mapping[str, Any], side_m: float
) -> dict[str, Any]:
    crop = read_image(workspace.folder / row["drone"])
    margin = round(len(crop) * max(0.0, 1 - side_m / row["side_m"]) / 2)
    crop = np.ascontiguousarray(crop[margin : len(crop) - margin, margin : crop.shape[1] - margin])
    ground = model.embed_prepared(above, model.prepare(above, crop)[None])[0]
    panorama = read_image(workspace.folder / row["street"], min_side=QUALITY_SIDE)
    street = model.embed_prepared("street", torch.stack(list(_seen(model, panorama, row))))
    alike = street @ ground
    return {
        "street": street[0].astype(np.float16).tobytes().hex(),
        "ground": ground.astype(np.float16).tobytes().hex(),
        "turns": [round(float(one), 5) for one in alike[:-1]],
        "mirror": round(float(alike[-1]), 5),
    }


def _seen(
    model: GeoBridge, panorama: NDArray[np.uint8], row: Mapping[str, Any]
) -> Iterator[torch.Tensor]:
    """The panorama turned by each heading, and as it is if its file was mirrored."""
    field = street_field(panorama.shape[1], panorama.shape[0], panorama=True)
    for turn in range(_TURNS):
        yield model.prepare("street", panorama_columns(panorama, turn * TURN_DEG), field)
    # Mirrored about its middle, which looks along the heading: what is at a lies at 2 h - a.
    mirrored = panorama_columns(panorama[:, ::-1], -2 * float(row["heading_deg"]))
    yield model.prepare("street", mirrored, field)


def _read(value: Mapping[str, Any]) -> dict[str, Any]:
    rows = {
        name: np.frombuffer(bytes.fromhex(value[name]), np.float16).astype(np.float32)
        for name in ("street", "ground")
    }
    return {**value, **rows}


def _against_others(
    chosen: pd.DataFrame,
    street: NDArray[np.float32],
    ground: NDArray[np.float32],
    config: GroundConfig,
) -> tuple[NDArray[np.float64], float]:
    """Agreement of each panorama, and the spread of similarities with others' grounds.

    Places that see some of the same ground are no others. NaN among too few.
    """
    drawn = sorted(
        range(len(chosen)),
        key=lambda row: hashlib.sha256(chosen.at[row, "place_id"].encode()).digest(),
    )[: config.others + 1]
    lat, lon = chosen["lat"].to_numpy(), chosen["lon"].to_numpy()
    agreement = np.full(len(chosen), np.nan)
    if len(drawn) <= LEAST_OTHERS:
        return agreement, np.nan
    others, mean = ground[drawn], street[drawn].mean(axis=0)
    for row in range(len(chosen)):
        is_far = distance_m(lat[row], lon[row], lat[drawn], lon[drawn]) > config.side_m
        if is_far.sum() >= LEAST_OTHERS:
            beyond = street[row] - mean
            gains = others[is_far] @ beyond
            agreement[row] = share_below(gains, ground[row] @ beyond)
    between = street[drawn] @ others.T
    spread = float(between[~np.eye(len(drawn), dtype=bool)].std())
    return agreement, spread


def judge_sets(found: Grounded, street: pd.DataFrame) -> pd.DataFrame:
    """Whether whole sets of panoramas are turned, mirrored or elsewhere.

    A set is what one provider gave, and of it what one author took on one day: a camera that is
    mounted awry, or a converter that mirrors, does so with all of them.

    Args:
        found: of `compare`.
        street: the table.

    Returns:
        A row a set of at least 5 panoramas: provider; author and day (None for a whole
        provider); panoramas; agreement, the mean (0.5 is chance); turn_deg, by how much they
        have to be turned clockwise to look most like their ground, 0 where they are right as
        they are; turn_z and mirror_z, by how many standard errors another heading (the best)
        and the mirror image are more alike than what is stated (negative: less); warning, None
        where nothing is suspicious.
    """
    told = street.drop_duplicates("pano_id").set_index("pano_id").loc[found.scores.index]
    day = told["captured"].astype("string").str[:10].to_numpy(dtype=object, na_value=None)
    author = told["attribution"].to_numpy(dtype=object, na_value=None)
    provider = told["provider"].to_numpy(dtype=object)
    names = pd.DataFrame({"provider": provider, "author": author, "day": day})
    is_judged = found.scores["turn"].notna().to_numpy()
    rows = []
    for keys in (["provider"], ["provider", "author", "day"]):
        for name, part in names[is_judged].groupby(keys, dropna=False, sort=True):
            if len(part) >= _LEAST_OF_SET:
                told_name = {
                    key: word if isinstance(word, str) else None
                    for key, word in zip(keys, name, strict=True)
                }
                rows.append({"author": None, "day": None, **told_name, **_set(found, part.index)})
    columns = [
        *("provider", "author", "day", "panoramas", "agreement"),
        *("turn_deg", "turn_z", "mirror_z", "warning"),
    ]
    numbers = dict.fromkeys(("agreement", "turn_deg", "turn_z", "mirror_z"), "float64")
    table = pd.DataFrame(rows, columns=columns, dtype=object)
    return table.astype({"panoramas": "int64", **numbers})


def _set(found: Grounded, rows: pd.Index) -> dict[str, Any]:
    turns, mirrored = found.alike[rows], found.mirrored[rows]
    best = 1 + int(turns[:, 1:].mean(axis=0).argmax())
    turn_z = _z(turns[:, best] - turns[:, 0])
    mirror_z = _z(mirrored - turns[:, 0])
    agreement = found.scores["agreement"].to_numpy()[rows]
    mean = float(np.nanmean(agreement)) if not np.isnan(agreement).all() else np.nan
    degrees = best * TURN_DEG if turn_z > 0 else 0.0
    warning = None
    if max(turn_z, mirror_z) >= _LEAST_Z:
        warning = "mirrored" if mirror_z > turn_z else f"turned: {degrees:.0f} degrees fit better"
    elif mean < 0.5 + 2 * _CHANCE_SPREAD / len(rows) ** 0.5:
        warning = "no more like their own grounds than like others"
    return {
        "panoramas": len(rows),
        "agreement": round(mean, 4),
        "turn_deg": degrees,
        "turn_z": round(turn_z, 2),
        "mirror_z": round(mirror_z, 2),
        "warning": warning,
    }


def _z(differences: NDArray[np.float64]) -> float:
    """Mean in standard errors."""
    error = differences.std(ddof=1) / len(differences) ** 0.5
    return float(differences.mean() / max(error, 1e-9))
