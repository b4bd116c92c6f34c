"""A survey of a town of the simulated planet, and the configuration that makes places of it.

    OUT/drone.tif        orthophoto, taken for a drone's
    OUT/satellite.tif    orthophoto of another date and of larger pixels
    OUT/photos/*.jpg     360-degree photos that know where they were taken
    OUT/town.yaml        configuration; its paths begin where the command is run

Everything is drawn here: no network and no data are needed to see all stages run.
"""

import json
from datetime import date, timedelta
from pathlib import Path

from geobridge.errors import WorldError
from geobridge.files import write_atomically
from geobridge.progress import Step, silent
from geobridge.world.planet import Town
from geobridge.world.trips import open_town, write_map, write_walk

CONFIG = "town.yaml"

DRONE_DATE, STREET_DATE, SATELLITE_DATE = 0, 2, 3
DRONE_GSD_M, SATELLITE_GSD_M = 0.6, 1.0
_HEIGHT_PX = 256
_YEAR = 2024

# As text, for its remarks: it is the first configuration that people read.
_TEXT = """\
# {town}, a town of the simulated planet. Run where "{folder}" is:
#
#     geobridge curate "{folder}/{config}" --out town

seeds:
  rasters: ["{folder}/drone.tif"]
  facts:
    "*": {{date: {drone_date}, licence: CC0-1.0, attribution: "{who}"}}

street:
  providers:
    - {{kind: folder, folder: "{folder}/photos", licence: CC0-1.0, attribution: "{who}"}}

crop:
  sides_m: [60, 80]         # of the ground in a drone picture; the paper's are 80 to 180
  gsd_m: {drone_gsd_m}

satellite:
  rasters: ["{folder}/satellite.tif"]
  gsd_m: {satellite_gsd_m}
  facts:
    "*": {{date: {satellite_date}, licence: CC0-1.0, attribution: "{who}", source: orthophoto}}

# Descriptions, by any OpenAI-compatible endpoint with a model that takes pictures:
# describe:
#   endpoint: {{base_url: "http://localhost:11434/v1", model: qwen2.5vl}}

publish:
  splits: {{shares: {{train: 0.6, val: 0.2, test: 0.2}}, apart_m: 120}}
"""


def write_example(town: str, out: str | Path, *, photos: int = 12, step: Step = silent) -> Path:
    """Write a survey of a town and the configuration of its curation.

    Args:
        town: `region/index` or `region/index@seed`.
        out: folder of the survey.
        photos: how many 360-degree photos.
        step: is told what begins.

    Returns:
        The configuration, `OUT/town.yaml`.

    Raises:
        WorldError: there is no such town, it has no room for so many photos, or `out` cannot be
            written or holds something.
    """
    where, out = open_town(town), Path(out)
    if out.is_dir() and any(out.iterdir()):
        raise WorldError(
            f"{out} holds something, and a survey would mix with it: name another folder with "
            f"--out, or delete it."
        )
    write_walk(
        where, out / "photos", count=photos, height=_HEIGHT_PX, date=STREET_DATE,
        progress=step("taking photos"),
    )  # fmt: skip
    for name, gsd_m, day in (
        ("drone", DRONE_GSD_M, DRONE_DATE),
        ("satellite", SATELLITE_GSD_M, SATELLITE_DATE),
    ):
        report = step(f"drawing {name}.tif")
        write_map(where, out / f"{name}.tif", gsd_m=gsd_m, date=day, progress=report)
    config = out / CONFIG
    text = _TEXT.format(
        town=where.name,
        # Within quotation marks, where YAML reads the same signs as JSON.
        folder=json.dumps(out.as_posix(), ensure_ascii=False)[1:-1],
        config=CONFIG,
        who="the simulated planet",
        drone_date=_day(where, DRONE_DATE),
        drone_gsd_m=DRONE_GSD_M,
        satellite_date=_day(where, SATELLITE_DATE),
        satellite_gsd_m=SATELLITE_GSD_M,
    )
    write_atomically(config, text.encode())
    return config


def _day(town: Town, number: int) -> date:
    return date(_YEAR, 1, 1) + timedelta(days=town.day(number).day_of_year - 1)
