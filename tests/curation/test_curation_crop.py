import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from ground_stage import (
    LAT,
    LON,
    expected_crop,
    ignore,
    middle,
    north_up,
    offsets,
    paint,
    put_panoramas,
    write_raster,
)
from pydantic import ValidationError
from rasterio import Affine

from geobridge.curation import crop, seeds
from geobridge.curation.crop import CropConfig
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError, RasterError
from geobridge.imagery.decode import read_image

PNG = {"format": "png", "max_upsampling": 20.0}


def prepared(tmp_path, positions, raster=None, **columns):
    """A workspace with the seeds of a painted raster and panoramas at (east, north) metres."""
    workspace = Workspace(tmp_path / "work")
    raster = raster or paint(tmp_path / "town.tif")
    config = seeds.SeedsConfig(rasters=(str(raster),), side_m=100, stride_m=100, max_gsd_m=20)
    found = seeds.run(workspace, config, ignore)
    put_panoramas(workspace, offsets(positions), found["seed_id"][0], **columns)
    return workspace


def difference(one, other):
    """Mean absolute difference of two pictures, in grey levels."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def test_crops_show_the_ground_around_the_panorama_at_every_size(tmp_path):
    workspace = prepared(tmp_path, [(31.3, -12.7)])

    crops = crop.run(workspace, CropConfig(**PNG, gsd_m=1.0), ignore)

    assert crops["kept"].all()
    assert sorted(crops["side_m"]) == [80, 100, 120, 150, 180]
    for row in crops.itertuples():
        picture = read_image(workspace.folder / row.drone)
        assert picture.shape == (int(row.side_m),) * 2 + (3,)
        expected = expected_crop(row.lat, row.lon, row.side_m, len(picture))
        # Waves of 25 m: a picture a pixel beside would differ by 15 levels.
        assert difference(picture, expected) < 3
        assert row.gsd_m == pytest.approx(1.0, rel=1e-3)
        west, south, east, north = row.footprint.bounds
        name = f"{west:.7f}_{south:.7f}_{east:.7f}_{north:.7f}"
        assert row.place_id == name
        assert row.drone == f"pictures/drone/{name}.png"


def test_the_ground_agrees_whatever_the_raster_is_in(tmp_path):
    turned = (
        Affine.translation(*middle("EPSG:32632")) @ Affine.rotation(70) @ Affine.scale(1, -1)
        @ Affine.translation(-300, -300)
    )  # fmt: skip
    degree = 1 / 111_200
    rasters = {
        "web": {
            "crs": "EPSG:3857",
            "transform": north_up("EPSG:3857", 600, 600, 1 / 0.669, 1 / 0.669),
        },
        "degrees": {
            "crs": "EPSG:4326",
            "transform": north_up("EPSG:4326", 600, 600, degree / 0.669, degree),
        },
        "turned": {"transform": turned},
        "far zone": {"crs": "EPSG:32631"},
    }
    for name, options in rasters.items():
        raster = paint(tmp_path / name / "a.tif", **options)
        workspace = prepared(tmp_path / name, [(-20.2, 40.6)], raster)

        crops = crop.run(workspace, CropConfig(**PNG, gsd_m=1.0, sides_m=(150,)), ignore)

        (row,) = crops.itertuples()
        picture = read_image(workspace.folder / row.drone)
        assert difference(picture, expected_crop(row.lat, row.lon, 150, 150)) < 4, name


def test_16_bits_and_transparency_show_the_same_ground(tmp_path):
    plain = paint(tmp_path / "plain.tif")
    with rasterio.open(plain) as dataset:
        colours = np.moveaxis(dataset.read(), 0, 2).astype(np.uint16)
    seen = np.full((600, 600, 1), 65535, np.uint16)
    seen[:, :250] = 0
    raster = write_raster(
        tmp_path / "deep.tif", np.concatenate([colours * 40 + 1000, seen], axis=2), "EPSG:32632",
        north_up("EPSG:32632", 600, 600, 1.0, 1.0), photometric="RGB", ALPHA="YES",
    )  # fmt: skip
    workspace = prepared(tmp_path, [(120.0, 40.6), (-20.2, 40.6)], raster)

    crops = crop.run(workspace, CropConfig(**PNG, gsd_m=1.0, sides_m=(150,)), ignore)

    rows = crops.set_index("pano_id")
    row = rows.loc["folder:0000"]
    picture = read_image(workspace.folder / row["drone"])
    expected = expected_crop(row["lat"], row["lon"], 150, 150)
    # Stretched to the whole range, the same waves.
    for band in range(3):
        assert np.corrcoef(picture[..., band].ravel(), expected[..., band].ravel())[0, 1] > 0.99
    # 105 of its 150 columns lie right of the transparent ones.
    assert rows.loc["folder:0001", "reason"] == "70 % of the picture has data"


def test_a_finer_raster_is_averaged(tmp_path):
    # A chess board of 0.25 m pixels becomes grey, where sampling would leave black and white.
    board = np.indices((800, 800)).sum(axis=0) % 2 * 255
    pixels = np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)
    transform = north_up("EPSG:32632", 800, 800, 0.25, 0.25)
    raster = write_raster(tmp_path / "a.tif", pixels, "EPSG:32632", transform)
    workspace = prepared(tmp_path, [(0, 0)], raster)

    crops = crop.run(workspace, CropConfig(**PNG, gsd_m=2.0, sides_m=(80,)), ignore)

    picture = read_image(workspace.folder / crops["drone"][0])
    assert picture.shape == (40, 40, 3)
    assert np.abs(picture.astype(int) - 127).max() < 8


def test_a_coarser_raster_is_left_at_its_own_resolution_or_refused(tmp_path):
    workspace = prepared(tmp_path, [(0, 0)])
    asked = {"sides_m": (100, 200), "size": 160, "format": "png"}

    crops = crop.run(workspace, CropConfig(**asked), ignore)

    # 1 m a pixel where 0.625 m and 1.25 m are asked for.
    rows = crops.set_index("side_m")
    assert rows.loc[100, "gsd_m"] == pytest.approx(1.0, rel=0.01)
    assert read_image(workspace.folder / rows.loc[100, "drone"]).shape == (100, 100, 3)
    assert rows.loc[200, "gsd_m"] == 1.25
    assert read_image(workspace.folder / rows.loc[200, "drone"]).shape == (160, 160, 3)

    crops = crop.run(workspace, CropConfig(**asked, max_upsampling=1.5), ignore)

    rows = crops.set_index("side_m")
    assert rows["kept"].to_dict() == {100: False, 200: True}
    assert rows.loc[100, "reason"] == "the raster's pixels are 1.00 m, 1.6 times those asked for"


def test_only_footprints_inside_the_valid_pixels_are_kept(tmp_path):
    # Valid to 250 m from the middle: 80 m around 205 m end at 245, 100 m at 255.
    raster = paint(tmp_path / "town.tif", frame=50)
    workspace = prepared(tmp_path, [(205, 0), (500, 0)], raster)

    crops = crop.run(workspace, CropConfig(**PNG, sides_m=(80, 100)), ignore)

    rows = crops.set_index(["pano_id", "side_m"])
    assert rows["kept"].sum() == 1
    assert rows.loc[("folder:0000", 80), "kept"]
    assert rows.loc[("folder:0000", 80), "valid"] == 1.0
    reason = rows.loc[("folder:0000", 100), "reason"]
    assert reason in ("94 % of the picture has data", "95 % of the picture has data")
    assert rows.loc[("folder:0001", 80), "reason"] == "0 % of the picture has data"
    written = list((workspace.folder / "pictures").rglob("*.png"))
    assert len(written) == 2


def test_panoramas_are_turned_north_and_reduced(tmp_path):
    # 128 px wide, looking east at column 64, which is white: north-up it is 3/4 across.
    workspace = prepared(tmp_path, [(0, 0)], width=128)
    config = CropConfig(**PNG, sides_m=(80, 100), street_width=128)

    crops = crop.run(workspace, config, ignore)

    assert crops["street"].nunique() == 1
    picture = read_image(workspace.folder / crops["street"][0])
    assert picture.shape == (64, 128, 3)
    assert (picture[:, 96] == 255).all()
    assert (picture[:, 95] == 40).all()

    crops = crop.run(workspace, config.model_copy(update={"street_width": 64}), ignore)

    picture = read_image(workspace.folder / crops["street"][0])
    assert picture.shape == (32, 64, 3)
    assert picture[0].argmax(axis=0).tolist() == [48] * 3


def test_a_panorama_of_unknown_heading_is_left_out_unless_it_may_stay_as_it_is(tmp_path):
    workspace = prepared(tmp_path, [(0, 0)], heading_deg=float("nan"))

    crops = crop.run(workspace, CropConfig(**PNG, sides_m=(80,)), ignore)
    assert crops["reason"].tolist() == [
        "the panorama's heading is not known, so it cannot be turned north"
    ]

    crops = crop.run(workspace, CropConfig(**PNG, sides_m=(80,), turn_north=False), ignore)
    assert (read_image(workspace.folder / crops["street"][0])[:, 32] == 255).all()


def test_a_plain_photo_stays_as_it_is(tmp_path):
    workspace = prepared(tmp_path, [(0, 0)], is_360=False)

    crops = crop.run(workspace, CropConfig(**PNG, sides_m=(80,)), ignore)

    assert (read_image(workspace.folder / crops["street"][0])[:, 32] == 255).all()


def test_a_panorama_that_cannot_be_read_is_a_row(tmp_path):
    workspace = prepared(tmp_path, [(0, 0), (50, 50)])
    (workspace.cache / "00" / "pano0.png").write_bytes(b"no picture")

    crops = crop.run(workspace, CropConfig(**PNG, sides_m=(80,)), ignore)

    rows = crops.set_index("pano_id")
    assert "is not a picture we know" in rows.loc["folder:0000", "reason"]
    assert rows.loc["folder:0001", "kept"]


def test_two_panoramas_at_one_spot_are_one_place(tmp_path):
    workspace = prepared(tmp_path, [(0, 0), (0, 0)])

    crops = crop.run(workspace, CropConfig(**PNG, sides_m=(80,)), ignore)

    assert crops["place_id"].is_unique
    rows = crops.set_index("pano_id")
    assert rows.loc["folder:0000", "kept"]
    assert not rows.loc["folder:0001", "kept"]
    assert rows.loc["folder:0001", "reason"] == "another panorama was taken at the same spot"


def test_a_panorama_that_is_left_out_takes_no_place(tmp_path):
    workspace = prepared(tmp_path, [(0, 0), (0, 0), (0, 0), (90, 90), (90, 90)])
    street = workspace.read("street")
    street["heading_deg"] = [float("nan"), 90.0, 90.0, float("nan"), float("nan")]
    workspace.write("street", street)

    crops = crop.run(workspace, CropConfig(**PNG, sides_m=(80,)), ignore)

    assert crops["place_id"].is_unique
    rows = crops.set_index("pano_id")
    unknown = "the panorama's heading is not known, so it cannot be turned north"
    assert rows.loc["folder:0001", "kept"]
    assert "~" not in rows.loc["folder:0001", "place_id"]
    assert rows["reason"].to_dict() == {
        "folder:0000": unknown,
        "folder:0001": None,
        "folder:0002": "another panorama was taken at the same spot",
        "folder:0003": unknown,
        "folder:0004": unknown,
    }
    again = crop.run(workspace, CropConfig(**PNG, sides_m=(80,)), ignore)
    assert again.equals(crops)


def test_pictures_that_are_not_as_they_were_written_are_made_again(tmp_path):
    workspace = prepared(tmp_path, [(0, 0)])
    config = CropConfig(**PNG, sides_m=(80,))
    (row,) = crop.run(workspace, config, ignore).itertuples()
    assert workspace.sha256(row.drone) == row.drone_sha256
    assert workspace.sha256(row.street) == row.street_sha256

    (workspace.folder / row.street).write_bytes(b"half a pic")
    crop.run(workspace, config, ignore)

    assert workspace.sha256(row.street) == row.street_sha256


def test_rows_that_were_not_kept_are_not_cropped(tmp_path):
    workspace = prepared(tmp_path, [(0, 0)], kept=False)

    crops = crop.run(workspace, CropConfig(**PNG), ignore)

    assert len(crops) == 0
    assert workspace.read("crops").columns.tolist() == list(crop.COLUMNS)


def test_jpeg_is_the_default_and_the_same_each_time(tmp_path):
    workspace = prepared(tmp_path, [(0, 0)])
    config = CropConfig(sides_m=(100,), gsd_m=1.0)
    first = crop.run(workspace, config, ignore)
    path = workspace.folder / first["drone"][0]
    data, table = path.read_bytes(), workspace.path("crops").read_bytes()

    path.unlink()
    crop.run(workspace, config, ignore)

    assert path.suffix == ".jpg"
    assert path.read_bytes() == data
    assert workspace.path("crops").read_bytes() == table
    assert difference(read_image(path), expected_crop(LAT, LON, 100, 100)) < 6


def test_an_orthomosaic_that_is_gone_is_named(tmp_path):
    workspace = prepared(tmp_path, [(0, 0)])
    (tmp_path / "town.tif").unlink()

    with pytest.raises(RasterError, match=r"town\.tif cannot be opened"):
        crop.run(workspace, CropConfig(), ignore)


def test_the_stages_before_must_have_run(tmp_path):
    with pytest.raises(CurationError, match="run the stage that writes it first"):
        crop.run(Workspace(tmp_path), CropConfig(), ignore)


def test_settings_that_cannot_be():
    with pytest.raises(ValidationError, match="give one of them"):
        CropConfig(size=100, gsd_m=0.1)
    with pytest.raises(ValidationError, match="did you mean 'sides_m'"):
        CropConfig(side_m=(80,))


@pytest.mark.parametrize(
    ("sides_m", "reason"),
    [
        ((0,), "greater than 0"),
        ((80, -80), "greater than 0"),
        ((20_000,), "less than or equal to 10000"),
        ((float("nan"),), "a finite number"),
        ((float("inf"),), "a finite number"),
        ((80, 100, 80.0), "a side is there twice: give each once"),
        ((), "at least 1 item"),
    ],
)
def test_sides_that_cannot_be(sides_m, reason):
    with pytest.raises(ValidationError, match=reason):
        CropConfig(sides_m=sides_m)


RUN = """
import sys
from geobridge.curation import crop
from geobridge.curation.workspace import Workspace

crop.run(Workspace(sys.argv[1]), crop.CropConfig(format="png", gsd_m=1.0), lambda what: print)
"""


def start(workspace):
    command = [sys.executable, "-c", RUN, str(workspace.folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def journal_of(workspace):
    path = workspace.folder / "journal" / "crop.jsonl"
    return path.read_text() if path.exists() else ""


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    spots = [(x, y) for x in range(-100, 101, 20) for y in range(-100, 101, 20)]
    workspace = prepared(tmp_path, spots)
    for lines in (1, 30, 80):
        process = start(workspace)
        while journal_of(workspace).count("\n") <= lines:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not workspace.has("crops")
    before = journal_of(workspace)
    done = [json.loads(line) for line in before.splitlines(keepends=True) if line.endswith("\n")]
    paths = [Path(row["drone"]) for entry in done[1:] for row in entry["value"]]
    written = {path: (workspace.folder / path).stat().st_mtime_ns for path in paths}
    assert len(written) >= 80 * 5

    assert start(workspace).wait() == 0

    for path, when in written.items():
        assert (workspace.folder / path).stat().st_mtime_ns == when
    other = prepared(tmp_path / "whole", spots, tmp_path / "town.tif")
    crop.run(other, CropConfig(format="png", gsd_m=1.0), ignore)
    assert workspace.path("crops").read_bytes() == other.path("crops").read_bytes()
    for row in other.read("crops").itertuples():
        for path in (row.drone, row.street):
            assert (workspace.folder / path).read_bytes() == (other.folder / path).read_bytes()
