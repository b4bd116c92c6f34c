"""What adapting to one's own map gives: before, after, and chance.

    python benchmarks/adapt.py --minutes 15                    # every set in ../shared/data
    python benchmarks/adapt.py --minutes 15 --only fongyuan
    python benchmarks/adapt.py --minutes 15 --only fongyuan --strength 2 2   # calibrated otherwise

- `fongyuan`: adapted to its one map; nadir photos of another sensor are located in it.
- `ariel`: adapted to its folder of XYZ tiles; oblique video frames are located in them.
- `naip_years`: adapted to one year of the city left out of training; another year's pictures ask.
- kept: what the model adapted to `fongyuan` still does on other sets, to see what it forgot.

Each adapted model is calibrated on its map as `geobridge adapt` does it; what radius and confidence
state then is compared with what comes true.

No query is seen by an adaptation. Checkpoints and logs stay in --out, and a run that is there is
continued, or measured again if it is finished.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import real

from geobridge import GeoBridge
from geobridge.api import calibrate_on_maps
from geobridge.cli.console import remarks
from geobridge.localization.simulated import STRENGTH
from geobridge.training.adapt import adapt

Measure = Callable[[Path, GeoBridge, Path], list[real.Row]]

NAIP_YEAR = "2020"
# A tile is 154 m wide; smaller footprints let the places within it differ.
NAIP_FOOTPRINT_M = 130.0
MEASURES = (
    *(f"estimate within {radius} m" for radius in real.RADII_M),
    "first candidate within 50 m",
    "top 5 within 50 m",
    "median error",
    "R@1",
    "R@5",
    "text to picture, scene R@1",
    "mean rank",
    *(
        f"{what}, {which}"
        for what in ("confidence", "radius")
        for which in (*(f"group {number + 1}" for number in range(real.GROUPS)), "all")
    ),
    "median radius",
)
SETS = {"fongyuan": real.fongyuan, "ariel": real.ariel, "naip_years": real.naip_years}
KEPT = {"naip_years": real.naip_years, "ucm_captions": real.ucm_captions,
        "street_sat": real.street_sat}  # fmt: skip


def maps_of(name: str, data: Path) -> tuple[list[Path], float]:
    """The maps that a set is adapted to, and their footprint in metres."""
    if name == "fongyuan":
        return [data / name / "satellite_map.tif"], 100.0
    if name == "ariel":
        return [data / name / "satellite"], 100.0
    tiles = sorted((data / name).glob(f"{real.TEST_CITY}_{NAIP_YEAR}_*.tif"))
    return tiles, NAIP_FOOTPRINT_M


def adapted_to(
    name: str,
    data: Path,
    model: str,
    minutes: float,
    out: Path,
    strength: tuple[float, float] = STRENGTH,
) -> GeoBridge:
    """A model adapted to the maps of a set and calibrated on them; only measured if finished.

    Args:
        name: of the set.
        data: the folder with all sets.
        model: what is adapted, a name or a checkpoint's folder.
        minutes: of training.
        out: the checkpoint becomes a folder in it.
        strength: of season and sensor in the photos that are calibrated on.
    """
    maps, footprint_m = maps_of(name, data)
    adapted = adapt(
        maps, model, out / name, minutes=minutes, footprint_m=footprint_m, console=remarks()
    )
    began_with = (adapted.config.provenance or {}).get("began_with")
    if began_with != GeoBridge.load(model).fingerprint:
        raise SystemExit(
            f"{out / name} was adapted from other weights ({began_with}): name another --out."
        )
    calibrate_on_maps(adapted, maps, footprint_m=footprint_m, strength=strength)
    adapted.save(out / name)
    return adapted


def compared(before: Sequence[real.Row], after: Sequence[real.Row], note: str = "") -> list[str]:
    """Lines of the table: what both measured, side by side."""
    later = {(row.dataset, row.measure): row for row in after}
    return [
        f"| {row.dataset}{note} | {row.measure} | {row.measured} "
        f"| {later[row.dataset, row.measure].measured} | {row.chance} |"
        for row in before
        if row.measure in MEASURES
    ]


def main() -> None:
    """Adapt, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="mini", help="a name or a checkpoint's folder")
    parser.add_argument("--minutes", type=float, default=15.0, help="of each adaptation")
    parser.add_argument("--out", type=Path, default=Path("runs/adapt"))
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument(
        "--strength",
        type=float,
        nargs=2,
        default=STRENGTH,
        metavar=("LEAST", "MOST"),
        help="of season and sensor in the photos that are calibrated on",
    )
    arguments = parser.parse_args()
    if not arguments.data.exists():
        parser.error(f"no pictures in {arguments.data}: name their folder with --data.")
    model = GeoBridge.load(arguments.model)
    lines = [f"| set | measure | before | after {arguments.minutes:g} minutes | chance |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for name in arguments.only:
        adapted = adapted_to(
            name,
            arguments.data,
            arguments.model,
            arguments.minutes,
            arguments.out,
            tuple(arguments.strength),
        )
        lines += measured(SETS[name], arguments.data, model, adapted)
        if name == "fongyuan":
            for other in KEPT.values():
                lines += measured(other, arguments.data, model, adapted, ", kept")
    print("\n".join(lines))


def measured(
    measure: Measure, data: Path, before: GeoBridge, after: GeoBridge, note: str = ""
) -> list[str]:
    """Lines of one set."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        return compared(
            measure(data, before, Path(first)), measure(data, after, Path(second)), note
        )


if __name__ == "__main__":
    main()
