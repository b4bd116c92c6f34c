import geopandas
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from geobridge.curation.clean import CleanConfig, run
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError
from geobridge.geo.footprint import footprint_around

SIDES_M = (80.0, 120.0)


def quiet(_):
    return lambda *_: None


def textured(seed, size=(96, 96)):
    """A picture that passes every gate: coarse blocks with fine texture, uint8 RGB."""
    rng = np.random.default_rng(seed)
    width, height = size
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    blocks = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.NEAREST))
    return (blocks * 0.8 + rng.integers(0, 50, (height, width, 1))).astype(np.uint8)


class Crops:
    """A workspace with crops that lie 1 km from each other unless told otherwise."""

    def __init__(self, folder):
        self.workspace = Workspace(folder)
        self.rows = []

    def add(self, name, drone=None, street=None, east=None, side_m=80.0, pano=None, kept=True):
        number = len(self.rows)
        drone = textured(number) if drone is None else drone
        street = textured(1000 + number, (256, 64)) if street is None else street
        paths = {}
        for view, image in (("drone", drone), ("street", street)):
            paths[view] = f"pictures/{view}/{name}.png"
            target = self.workspace.folder / paths[view]
            target.parent.mkdir(exist_ok=True)
            Image.fromarray(image).save(target)
        lon = 11 + (number * 0.02 if east is None else east)
        self.rows.append(
            {
                "place_id": name,
                "pano_id": pano or f"local:{name}",
                "lat": 48.0,
                "lon": lon,
                "footprint": footprint_around(48.0, lon, side_m, side_m),
                "side_m": side_m,
                **paths,
                "kept": kept,
                "reason": None if kept else "no heading",
            }
        )

    def clean(self, **settings):
        table = geopandas.GeoDataFrame(
            pd.DataFrame(self.rows), geometry="footprint", crs="EPSG:4326"
        )
        self.workspace.write("crops", table)
        found = run(self.workspace, CleanConfig(**settings), quiet)
        return found.set_index("place_id")


@pytest.fixture
def crops(tmp_path):
    return Crops(tmp_path / "work")


def test_good_places_stay_with_their_scores(crops):
    crops.add("b")
    crops.add("a")
    crops.add("left out before", kept=False)

    found = crops.clean()

    assert found.index.tolist() == ["a", "b"]
    assert found["kept"].all()
    assert found["reason"].isna().all()
    assert (found["drone_entropy"] > 5.2).all()
    assert (found["street_bh"] > 60).all()


def test_each_gate_rejects_what_is_planted_for_it(crops):
    blurred = np.asarray(
        Image.fromarray(textured(1, (256, 256))).filter(ImageFilter.GaussianBlur(4))
    )
    grain = np.random.default_rng(0).integers(0, 25, (96, 96, 1)) + np.full((96, 96, 3), 90)
    stripes = np.where(np.arange(96) % 2, 0, 255)[None, :, None].repeat(96, 0).repeat(3, 2)
    crops.add("good")
    crops.add("blurred", drone=blurred)
    crops.add("faint", drone=grain.astype(np.uint8))
    crops.add("uniform", drone=stripes.astype(np.uint8))
    crops.add("grey street", street=np.full((64, 256, 3), 128, np.uint8))

    reasons = crops.clean()["reason"]

    assert reasons["good"] is None
    assert reasons["blurred"].startswith("drone: blur or haze (bh ")
    assert reasons["faint"].startswith("drone: too little contrast (contrast 0.0")
    assert reasons["uniform"] == ("drone: sky, water or uniform texture (entropy 1 below 5.2)")
    assert reasons["grey street"] == "street: blur or haze (bh 0 below 60)"


def test_gates_can_be_set_for_each_view(crops):
    crops.add("a")

    assert not crops.clean(drone={"entropy": 8})["kept"]["a"]
    assert crops.clean(drone={"entropy": 0})["kept"]["a"]


def test_a_picture_that_cannot_be_read_is_a_row_with_its_reason(crops):
    crops.add("torn")
    crops.add("gone")
    folder = crops.workspace.folder
    path = folder / "pictures/drone/torn.png"
    path.write_bytes(path.read_bytes()[:500])
    (folder / "pictures/street/gone.png").unlink()

    found = crops.clean()

    assert found["reason"]["torn"].startswith("drone: pictures/drone/torn.png is damaged")
    assert found["reason"]["gone"].startswith("street: pictures/street/gone.png does not exist")
    assert np.isnan(found["drone_bh"]["torn"])
    assert not found["kept"].any()


def test_of_overlapping_footprints_one_stays(crops):
    for number in range(6):
        # 20 m apart: 80 m footprints that are three apart share a quarter, two apart half.
        crops.add(f"p{number}", east=number * 20 / 74_600)

    found = crops.clean()

    kept = found.index[found["kept"]].tolist()
    assert 1 < len(kept) < 6
    gone = found[~found["kept"]]
    assert set(gone["duplicate_of"]) <= set(kept)
    assert (gone["reason"] == "overlaps " + gone["duplicate_of"] + " by more than 50%").all()


def test_a_rejected_picture_takes_no_ground(crops):
    crops.add("blind", drone=np.full((96, 96, 3), 99, np.uint8), east=0)
    for number in range(8):
        crops.add(f"p{number}", east=0)

    found = crops.clean()

    assert not found["kept"]["blind"]
    assert found["kept"].sum() == 1


def test_one_ground_size_stays_or_each_for_itself(crops):
    same = textured(7, (256, 64))
    for side in SIDES_M:
        crops.add(f"of {side:g} m", street=same, east=0, side_m=side, pano="local:x")

    assert crops.clean()["kept"].sum() == 1
    assert crops.clean(across_sizes=False)["kept"].sum() == 2


def test_the_same_panorama_nearby_is_a_duplicate_and_far_away_a_contradiction(crops):
    same, other = textured(7, (256, 64)), textured(8, (256, 64))
    brighter = (same * 0.9 + 10).astype(np.uint8)
    crops.add("near a", street=same, side_m=10, east=0)
    crops.add("near b", street=brighter, side_m=10, east=30 / 74_600)
    crops.add("far a", street=other, side_m=10, east=1)
    crops.add("far b", street=other, side_m=10, east=1 + 200 / 74_600)

    found = crops.clean()

    assert found["kept"].tolist() == [False, False, True, False]
    assert found.index.tolist() == ["far a", "far b", "near a", "near b"]
    assert found["reason"]["near b"] == "street: the same picture as of near a"
    assert found["duplicate_of"]["near b"] == "near a"
    assert found["reason"]["far a"] == (
        "street: the same picture as of far b, 200 m away: one lies elsewhere"
    )
    assert found["duplicate_of"]["far b"] == "far a"


def test_the_same_pictures_give_the_same_bytes_and_are_looked_at_once(crops, monkeypatch):
    for number in range(4):
        crops.add(f"p{number}")
    crops.clean()
    first = crops.workspace.path("clean").read_bytes()
    sheet = crops.workspace.folder / "sheets" / "clean_drone_bh.png"
    drawn = sheet.read_bytes()
    crops.workspace.path("clean").unlink()
    monkeypatch.setattr("geobridge.curation.clean.quality_of", None)

    crops.clean()

    assert crops.workspace.path("clean").read_bytes() == first
    assert sheet.read_bytes() == drawn


def test_a_killed_run_goes_on_where_it_stopped(crops, monkeypatch):
    from geobridge.curation import clean

    for number in range(6):
        crops.add(f"p{number}")
    looked = []
    true_quality = clean.quality_of

    def dies(image, view):
        if len(looked) == 7:
            raise KeyboardInterrupt
        looked.append(view)
        return true_quality(image, view)

    monkeypatch.setattr(clean, "quality_of", dies)
    with pytest.raises(KeyboardInterrupt):
        crops.clean(workers=1)
    assert not crops.workspace.has("clean")
    looked.clear()
    monkeypatch.setattr(clean, "quality_of", lambda i, v: looked.append(v) or true_quality(i, v))

    crops.clean()

    assert len(looked) == 12 - 7


def test_sheets_show_what_is_rejected_and_what_barely_passes(crops):
    crops.add("good")
    crops.add("flat", drone=np.full((96, 96, 3), 99, np.uint8))

    crops.clean()

    names = sorted(path.name for path in (crops.workspace.folder / "sheets").iterdir())
    assert names == [
        *(f"clean_drone_{gate}.png" for gate in ("bh", "contrast", "entropy")),
        *(f"clean_street_{gate}.png" for gate in ("bh", "contrast", "entropy")),
    ]
    sheet = np.asarray(Image.open(crops.workspace.folder / "sheets" / "clean_drone_bh.png"))
    colours = {tuple(colour) for colour in sheet.reshape(-1, 3)}
    assert {(0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)} <= colours


def test_no_place_at_all_is_an_error(crops):
    crops.add("a", kept=False)

    with pytest.raises(CurationError, match=r"crops\.parquet keeps no place"):
        crops.clean()


def test_settings_are_explained(crops):
    crops.add("a")

    with pytest.raises(ValueError, match="did you mean 'entropy'"):
        crops.clean(drone={"entropie": 3})


def test_the_same_panorama_turned_is_found_and_its_headings_contradict(crops):
    same = textured(7, (256, 64))
    crops.add("a", street=same, side_m=10, east=0)
    crops.add("b", street=np.roll(same, 64, axis=1), side_m=10, east=30 / 74_600)

    found = crops.clean()

    assert found["reason"].tolist() == [
        "street: the same picture as of b, turned by 90 degrees: one heading is wrong",
        "street: the same picture as of a, turned by 90 degrees: one heading is wrong",
    ]
    assert crops.clean(same_turn_deg=180)["kept"].tolist() == [True, False]
