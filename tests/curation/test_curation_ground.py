"""With a model that sees a panorama's first columns, and of a ground what was written there."""

import geopandas
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from geobridge.curation.clean import CleanConfig, run
from geobridge.curation.ground import TURN_DEG, GroundConfig, compare, judge_sets
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError
from geobridge.geo.footprint import footprint_around
from geobridge.imagery.street import panorama_columns
from geobridge.progress import silent

COUNT = 30
WIDTH = 64
HEADING_DEG = 67.5


class StubModel:
    """A row is the 64 greys of the middle row, less their mean."""

    name = "stub"
    fingerprint = "stub"
    modalities = ("drone", "street", "satellite")

    @staticmethod
    def prepare(view, image, _=None):
        assert view in ("street", "satellite")
        reduced = np.asarray(Image.fromarray(image).resize((WIDTH, 8), Image.Resampling.BOX))
        return torch.from_numpy(reduced.copy()).permute(2, 0, 1)

    @staticmethod
    def embed_prepared(_, batch):
        rows = batch.float().mean(dim=(1, 2)).numpy()
        rows = rows - rows.mean(axis=1, keepdims=True)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def stub(monkeypatch):
    monkeypatch.setattr(
        "geobridge.curation.ground.GeoBridge.load", staticmethod(lambda *_: StubModel)
    )


def pattern(number):
    """What is around a place, by direction: uint8 (64, 256, 3), 64 greys of four columns."""
    greys = np.random.default_rng(number).integers(0, 256, WIDTH).astype(np.uint8)
    texture = np.random.default_rng(900).integers(0, 20, (64, 256, 1))
    return (np.repeat(greys, 4)[None, :, None] * 0.9 + texture).astype(np.uint8).repeat(3, 2)


def mirrored(number):
    """A mirrored file of that heading, turned north."""
    file = panorama_columns(pattern(number), HEADING_DEG)[:, ::-1]
    return panorama_columns(np.ascontiguousarray(file), -HEADING_DEG)


def turned(number, degrees=90.0):
    return panorama_columns(pattern(number), degrees)


@pytest.fixture
def write(tmp_path):
    def written(street_of=pattern, some=None, is_360=True, apart_m=1000.0):
        """A workspace; `some` are panoramas by the number of their place, instead."""
        workspace = Workspace(tmp_path / "work")
        rows = []
        for number in range(COUNT):
            paths = {}
            picture = (some or {}).get(number, street_of(number))
            for view, image in (("drone", pattern(number)), ("street", picture)):
                path = workspace.folder / f"pictures/{view}-{number}.png"
                Image.fromarray(image).save(path)
                paths[view] = path.relative_to(workspace.folder).as_posix()
            lon = 11 + number * apart_m / 74_600
            rows.append(
                {
                    "place_id": f"g{number:02d}", "pano_id": f"p{number:02d}", "lat": 48.0,
                    "lon": lon, "side_m": 80.0, "footprint": footprint_around(48, lon, 80, 80),
                    "kept": True, **paths,
                }
            )  # fmt: skip
        crops = geopandas.GeoDataFrame(pd.DataFrame(rows), geometry="footprint", crs="EPSG:4326")
        workspace.write("crops", crops)
        street = pd.DataFrame(
            {
                "pano_id": crops["pano_id"], "heading_deg": HEADING_DEG, "is_360": is_360,
                "kept": True, "provider": "folder", "attribution": "A",
                "captured": [f"2024-05-0{1 + (row >= 20)}T10:00:00Z" for row in range(COUNT)],
            }
        )  # fmt: skip
        workspace.write("street", street)
        return workspace

    return written


def compared(workspace, **settings):
    config = GroundConfig(model="stub", **settings)
    return compare(workspace, workspace.read("crops"), config, silent)


def test_a_panorama_is_most_like_its_own_ground_as_it_is(write):
    found = compared(write())

    assert (found.scores["turn"] > 2).all()
    assert (found.scores["mirror"] > 2).all()
    assert (found.scores["agreement"] == 1).all()


def test_each_fault_shows_in_its_score(write):
    some = {3: mirrored(3), 7: turned(7), 11: pattern(111)}

    scores = compared(write(some=some)).scores

    assert scores["mirror"].idxmin() == "p03"
    assert scores["mirror"]["p03"] < -2
    assert scores["turn"]["p07"] < -2
    assert scores["agreement"]["p11"] < 0.9
    assert (scores.drop(["p03", "p07", "p11"]) > 0.9).all(axis=None)


def test_the_best_turn_is_counted_clockwise(write):
    # Turned by 90: the middle looks east. To look north it has to be turned back by 90.
    found = compared(write(turned))

    assert (found.alike.argmax(axis=1) * TURN_DEG == 270).all()


def test_whole_sets_are_told_of(write):
    some = {number: turned(number) for number in range(20)}
    some |= {number: mirrored(number) for number in range(20, COUNT)}
    workspace = write(some=some)

    sets = judge_sets(compared(workspace), workspace.read("street"))

    assert sets["panoramas"].tolist() == [30, 20, 10]
    assert sets["day"].tolist() == [None, "2024-05-01", "2024-05-02"]
    assert sets["warning"].tolist()[1:] == ["turned: 270 degrees fit better", "mirrored"]
    assert sets["turn_deg"].tolist()[1:] == [270, 0]

    workspace = write()
    good = judge_sets(compared(workspace), workspace.read("street"))
    assert good["warning"].isna().all()
    assert (good[["turn_z", "mirror_z"]] < 0).all(axis=None)


def test_the_stage_rejects_writes_sheets_and_tells(write):
    some = {3: mirrored(3), 7: turned(7), 11: pattern(111)}
    workspace = write(some=some)
    told = []

    def step(words):
        told.append(words)
        return lambda *_: None

    config = CleanConfig(ground={"model": "stub"}, street={"bh": 0}, drone={"bh": 0})
    found = run(workspace, config, step).set_index("place_id")

    reasons = found["reason"].dropna()
    assert sorted(reasons.index) == ["g03", "g07", "g11"]
    assert reasons["g03"].startswith("ground: its mirror image fits the ground better (mirror -")
    assert "other places' grounds look more like it (agreement" in reasons["g11"]
    assert reasons["g07"].startswith("ground: another heading fits the ground better (turn -")
    assert found["ground_turn"].notna().all()
    sheets = {path.name for path in (workspace.folder / "sheets").iterdir()}
    assert {f"clean_ground_{gate}.png" for gate in ("turn", "mirror", "agreement")} <= sheets
    assert workspace.read("clean_sets")["warning"].isna().all()

    run(workspace, CleanConfig(street={"bh": 0}, drone={"bh": 0}), step)
    assert not workspace.has("clean_sets")
    assert not (workspace.folder / "sheets" / "clean_ground_turn.png").exists()


def test_where_many_are_wrong_only_the_worst_go_and_it_is_told(write):
    workspace = write(turned)
    told = []
    config = CleanConfig(ground={"model": "stub"}, street={"bh": 0}, drone={"bh": 0})

    found = run(workspace, config, lambda words: told.append(words) or (lambda *_: None))

    assert 0 < (~found["kept"]).sum() <= 3
    assert any("100% of the panoramas look little like their ground" in words for words in told)
    assert any(words.startswith("look at 30 panoramas of folder: turned") for words in told)


def test_plain_photos_and_few_panoramas_are_not_judged(write):
    assert compared(write(is_360=False)).scores.empty
    # All within a few metres: there are no other grounds.
    assert compared(write(apart_m=1.0)).scores["agreement"].isna().all()


def test_panoramas_are_seen_once(write, monkeypatch):
    workspace = write()
    first = compared(workspace)
    monkeypatch.setattr(StubModel, "embed_prepared", None)

    again = compared(workspace)

    pd.testing.assert_frame_equal(first.scores, again.scores)


def test_a_model_that_sees_nothing_from_above_is_refused(write, monkeypatch):
    monkeypatch.setattr(StubModel, "modalities", ("street", "text"))

    with pytest.raises(CurationError, match="does not read both"):
        compared(write())
