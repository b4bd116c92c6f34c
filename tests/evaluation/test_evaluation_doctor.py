"""Each check of the doctor on sets with one fault planted, and what is not a fault."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark, NoOptions
from geobridge.evaluation.doctor import (
    LEAK_M,
    check_counts,
    check_leaks,
    check_pairs,
    check_positions,
    examine,
)
from geobridge.evaluation.tasks import Items


def picture(path, seed):
    """A small picture that looks like no other seed's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = np.random.default_rng(seed).integers(0, 256, (17, 17, 3)).astype(np.uint8)
    Image.fromarray(cells).resize((68, 68), Image.Resampling.NEAREST).save(path)
    return path


def items(modality, places, contents=None, lat=None, lon=None, regions=None):
    return Items(
        modality,
        [f"{place}-{number}" for number, place in enumerate(places)],
        contents if contents is not None else [Path("x.jpg")] * len(places),
        places=places,
        lat=None if lat is None else np.array(lat, float),
        lon=None if lon is None else np.array(lon, float),
        regions=regions,
    )


@pytest.fixture
def tree(tmp_path):
    """Two places to train on and two to test, of two views, with texts: nothing is wrong."""
    sets = {}
    seed = 0
    for split, places in {"train": ["a", "b"], "test": ["c", "d"]}.items():
        lat = [45.0 + "abcd".index(place) for place in places]
        for view in ("drone", "satellite"):
            paths = []
            for place in places:
                seed += 1
                paths.append(picture(tmp_path / split / view / f"{place}.png", seed))
            sets[f"{split}/{view}"] = items(view, places, paths, lat, [9.0, 9.0])
        texts = [f"place {place}" for place in places]
        sets[f"{split}/text"] = items("text", places, texts, lat, [9.0, 9.0])
    return tmp_path, sets


def benchmark(sets, **others):
    return Benchmark(
        name="tiny", title="Tiny", layout="", source="", read=None, splits=lambda _: sets,
        options=NoOptions, **others,
    )  # fmt: skip


def diagnose(root, sets, *, quick=False, leak_m=LEAK_M, **others):
    found = examine(benchmark(sets, **others), root, quick=quick, leak_m=leak_m)
    return found, {check.what: check for check in found.checks}


def offended(checks):
    return {what: check.verdict for what, check in checks.items() if check.verdict != "ok"}


@pytest.mark.parametrize("quick", [False, True])
def test_a_good_data_set_is_ok(tree, quick):
    found, checks = diagnose(*tree, quick=quick)

    assert found.verdict == "ok"
    assert list(checks) == [
        "train/drone", "train/satellite", "train/text", "test/drone", "test/satellite",
        "test/text", "layout", "train: places", "test: places", "missing files", "empty files",
        "unreadable pictures", "blank texts", "copied pictures", "pictures that look alike", "ids",
        "positions off the earth", "swapped lat and lon", "ids in two splits",
        "pictures in two splits", "places nearer than 50 m to another split",
    ]  # fmt: skip


# counts, layout, pairs


def test_counts_beside_the_published_ones():
    sets = {"train/drone": items("drone", ["a", "a", "b"]), "test/drone": items("drone", [])}
    published = {"train/drone": 3, "train/drone places": 3, "val/drone": 5}

    checks = [
        (check.what, check.found, check.expected, check.verdict)
        for check in check_counts(sets, published)
    ]

    assert checks == [
        ("train/drone", "3", "3", "ok"),
        ("test/drone", "0", "not published", "problem"),
        ("train/drone places", "2", "3", "problem"),
        ("val/drone", "not there", "5", "warning"),
    ]


def test_faults_of_the_layout_are_problems(tree):
    found, checks = diagnose(*tree, faults=lambda _: ["a row is wrong: mend it."])

    assert offended(checks) == {"layout": "problem"}
    assert checks["layout"].findings[0].detail == "a row is wrong: mend it."
    assert found.verdict == "problem"


def test_places_that_lack_a_view():
    sets = {
        "test/query": items("drone", ["a", "b", "b"]),
        "test/gallery": items("satellite", ["a", "b", "c"]),
    }
    (check,) = check_pairs(sets)

    assert (check.found, check.expected) == ("2 with drone, 3 with satellite", "3 with each")
    assert check.verdict == "warning"
    assert [(each.name, each.detail) for each in check.findings] == [("c", "has no drone")]


def test_views_without_a_common_place_are_a_problem():
    sets = {"test/drone": items("drone", ["1"]), "test/satellite": items("satellite", ["01"])}
    (check,) = check_pairs(sets)

    assert check.verdict == "problem"


def test_sets_without_ids_have_no_pairs():
    sets = {"test/drone": Items("drone", ["a"], [Path("a")])}

    assert not list(check_pairs(sets))


# files and texts


def test_files_that_are_missing_empty_or_damaged(tree):
    root, sets = tree
    (root / "train/drone/a.png").unlink()
    (root / "train/drone/b.png").write_bytes(b"")
    whole = (root / "test/drone/c.png").read_bytes()
    (root / "test/drone/c.png").write_bytes(whole[: len(whole) // 2])

    _, checks = diagnose(root, sets)

    assert offended(checks) == {
        "missing files": "problem", "empty files": "problem", "unreadable pictures": "problem",
    }  # fmt: skip
    assert checks["missing files"].found == "1 of 8"
    assert checks["missing files"].findings[0].file == root / "train/drone/a.png"
    assert checks["empty files"].findings[0].name == "b-1"
    (finding,) = checks["unreadable pictures"].findings
    assert (finding.where, finding.name) == ("test/drone", "c-0")
    assert "damaged" in finding.detail
    # The head of a PNG that is cut off is whole.
    _, checks = diagnose(root, sets, quick=True)
    assert checks["unreadable pictures"].verdict == "ok"
    assert checks["pictures that look alike"].found == "not looked at"


def test_blank_texts(tree):
    root, sets = tree
    sets["train/text"] = replace(sets["train/text"], contents=["place a", " \n"])

    _, checks = diagnose(root, sets)

    assert offended(checks) == {"blank texts": "problem"}
    assert checks["blank texts"].findings[0].name == "b-1"


# copies


@pytest.mark.parametrize("quick", [False, True])
def test_one_picture_of_two_places(tree, quick):
    root, sets = tree
    (root / "train/drone/b.png").write_bytes((root / "train/drone/a.png").read_bytes())

    _, checks = diagnose(root, sets, quick=quick)

    assert offended(checks) == {"copied pictures": "problem"}
    (finding,) = checks["copied pictures"].findings
    assert finding.detail == "is also the picture of b-1 in train/drone, another place"


def test_one_picture_of_two_views_of_a_place(tree):
    root, sets = tree
    (root / "train/satellite/a.png").write_bytes((root / "train/drone/a.png").read_bytes())

    _, checks = diagnose(root, sets)

    assert offended(checks) == {"copied pictures": "problem"}
    assert "satellite picture" in checks["copied pictures"].findings[0].detail


def test_copies_that_contradict_nothing(tree):
    root, sets = tree
    copy = root / "test/gallery/c.png"
    copy.parent.mkdir()
    copy.write_bytes((root / "test/drone/c.png").read_bytes())
    # A query that is also in the gallery of its own view: data sets are made so.
    sets["test/gallery"] = items("drone", ["c"], [copy])
    assert offended(diagnose(root, sets)[1]) == {}

    # Twice in one set is at least odd.
    sets["test/gallery"] = items("drone", ["c", "c"], [copy, root / "test/drone/c.png"])
    assert offended(diagnose(root, sets)[1]) == {"copied pictures": "warning"}


def test_a_picture_saved_again_for_another_place(tree):
    root, sets = tree
    with Image.open(root / "train/drone/a.png") as image:
        image.resize((102, 102), Image.Resampling.NEAREST).save(root / "train/drone/b.png")

    _, checks = diagnose(root, sets)

    assert offended(checks) == {"pictures that look alike": "warning"}
    (finding,) = checks["pictures that look alike"].findings
    assert finding.name == "a-0"
    assert "b-1 in train/drone, another place" in finding.detail


# ids


def test_ids_that_are_empty_or_hardly_different(tree):
    root, sets = tree
    sets["train/more"] = items("text", ["", "A", "b ", "07", "7", "x"], ["words"] * 6)
    sets["train/drone2"] = items("drone", ["", "A", "b ", "07", "7", "x"], [root / "n"] * 6)

    _, checks = diagnose(root, sets)

    check = checks["ids"]
    assert check.verdict == "problem"
    assert check.found == "1 empty and 3 hardly different of 10"
    assert {(each.name, each.detail.split()[2]) for each in check.findings[1:]} == {
        ("a", "'A'"), ("b", "'b"), ("07", "'7'"),
    }  # fmt: skip


# positions


def positions(lat, lon, regions=None):
    sets = {
        "test/drone": items("drone", [f"p{n}" for n in range(len(lat))], None, lat, lon, regions)
    }
    return {check.what: check for check in check_positions(sets)}


def test_positions_off_the_earth():
    lat = [45.0, 95.0, 45.0, 0.0, np.nan, np.inf, 9.0]
    lon = [9.0, 45.0, 181.0, 0.0, np.nan, 9.0, 45.0]

    check = positions(lat, lon)["positions off the earth"]

    assert check.verdict == "problem"
    assert check.found == "4; 6 of 7 items have one"
    assert [each.name for each in check.findings] == ["p1-1", "p2-2", "p3-3", "p5-5"]
    assert "swapped" in check.findings[0].detail


def test_a_swapped_position_in_a_town():
    lat = [45.0, 45.01, 45.02, 45.03, 45.04, 9.0]
    lon = [9.0, 9.01, 9.0, 9.01, 9.0, 45.0]

    check = positions(lat, lon)["swapped lat and lon"]

    assert check.verdict == "problem"
    (finding,) = check.findings
    assert finding.name == "p5-5"
    assert "2 km with both swapped" in finding.detail


def test_several_swapped_positions_do_not_vouch_for_each_other():
    lat, lon = [45.0] * 10 + [9.0] * 4, [9.0] * 10 + [45.0] * 4

    assert len(positions(lat, lon)["swapped lat and lon"].findings) == 4


def test_far_is_no_fault_and_a_whole_world_has_none_that_are_far():
    # The last is far away, and no nearer the other way round.
    assert positions([45.0] * 5 + [60.0], [9.0] * 5 + [30.0])["swapped lat and lon"].verdict == "ok"
    # Milan, Ankara (swapped: Cyprus), Sydney, Lima, Tokyo, Cairo.
    lat = [45.5, 39.9, -33.9, -12.0, 35.7, 30.0]
    lon = [9.2, 32.9, 151.2, -77.0, 139.7, 31.2]
    assert positions(lat, lon)["swapped lat and lon"].verdict == "ok"


def test_regions_find_what_is_swapped_in_a_whole_world():
    lat = [45.0, 45.1, 45.2, 45.0, 9.0, 45.1, -33.0, -33.1, -33.2, -33.0, -33.1]
    lon = [9.0, 9.1, 9.0, 9.1, 45.0, 9.0, 151.0, 151.1, 151.0, 151.1, 151.0]

    assert positions(lat, lon)["swapped lat and lon"].verdict == "ok"
    found = positions(lat, lon, ["IT"] * 6 + ["AU"] * 5)["swapped lat and lon"]
    assert [each.name for each in found.findings] == ["p4-4"]


def test_towns_across_the_antimeridian_are_towns():
    lon = [179.99, -179.99, 179.98, -179.98, 180.0, -180.0]

    assert positions([-17.0] * 6, lon)["swapped lat and lon"].verdict == "ok"


# leaks


def test_ids_pictures_and_ground_in_two_splits(tree):
    root, sets = tree
    places = ["c", "b"]
    sets["test/drone"] = replace(sets["test/drone"], places=places)
    (root / "test/drone/c.png").write_bytes((root / "train/satellite/a.png").read_bytes())

    _, checks = diagnose(root, sets)

    assert offended(checks) == {
        "test: places": "warning", "copied pictures": "problem", "ids in two splits": "problem",
        "pictures in two splits": "problem",
    }  # fmt: skip
    (finding,) = checks["ids in two splits"].findings
    assert (finding.where, finding.name) == ("train and test", "b")
    (finding,) = checks["pictures in two splits"].findings
    assert finding.detail == "a-0 in train/satellite is also c-0 in test/drone"


def test_a_split_may_overlap_by_design_and_all_holds_the_others(tree):
    root, sets = tree
    sets["gallery/drone"] = sets["train/drone"]
    found, checks = diagnose(root, sets, overlap="Training places stay in the gallery.")
    assert found.verdict == "warning"
    assert checks["ids in two splits"].expected == "Training places stay in the gallery."
    assert len(checks["pictures in two splits"].findings) == 2

    sets["all/drone"] = sets.pop("gallery/drone")
    assert diagnose(root, sets)[0].verdict == "ok"


def leaks(train, test, leak_m=50.0):
    sets = {}
    for split, letter, points in (("train", "a", train), ("test", "b", test)):
        lat, lon = zip(*points, strict=True)
        names = [f"{letter}{number}" for number in range(len(points))]
        sets[f"{split}/drone"] = items("drone", names, None, lat, lon)
    return list(check_leaks(sets, [], leak_m, None))[-1]


def test_ground_that_two_splits_share():
    # A minute of latitude is 1,852 m, 0.0004 degrees are 44 m, 0.0005 are 56 m.
    check = leaks([(45.0, 9.0), (46.0, 9.0)], [(45.0004, 9.0), (45.0003, 9.0), (46.0005, 9.0)])

    assert check.verdict == "warning"
    assert check.what == "places nearer than 50 m to another split"
    (finding,) = check.findings
    assert finding.name == "a0"
    assert finding.detail == "is 33.3 m from b1"
    assert len(leaks([(46.0, 9.0)], [(46.0005, 9.0)], leak_m=60).findings) == 1
    assert leaks([(46.0, 9.0)], [(46.0, 9.0)], leak_m=0).verdict == "ok"


def test_neighbours_across_the_antimeridian_and_far_north():
    assert len(leaks([(0.5, 179.9999)], [(0.5, -179.9999)]).findings) == 1
    # At 80 degrees north 0.002 degrees of longitude are 39 m.
    assert len(leaks([(80.0, 9.0)], [(80.0, 9.002)]).findings) == 1


def test_only_one_split_has_positions():
    sets = {
        "train/drone": items("drone", ["a"], None, [45.0], [9.0]),
        "test/drone": items("drone", ["b"]),
    }
    assert [check.verdict for check in check_leaks(sets, [], 50.0, None)] == ["ok"] * 3


# the whole


def test_findings_as_a_table(tree):
    root, sets = tree
    (root / "train/drone/a.png").unlink()
    found, _ = diagnose(root, sets)

    found.write_csv(root / "out.csv")

    with (root / "out.csv").open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {"check": "missing files", "verdict": "problem", "where": "train/drone",
             "name": "a-0", "detail": "is not there", "file": str(root / "train/drone/a.png")}
        ]  # fmt: skip
    with pytest.raises(EvaluationError, match="cannot be written"):
        found.write_csv(root / "no" / "out.csv")


def test_options_that_cannot_be(tree):
    root, sets = tree
    with pytest.raises(EvaluationError, match="leak_m of 0 or more"):
        diagnose(root, sets, leak_m=float("nan"))
    with pytest.raises(EvaluationError, match="give 1 or more"):
        examine(benchmark(sets), root, workers=0)
