"""Published numbers: possible, with a source, and compared only with what was measured alike."""

import pytest

from geobridge.evaluation.benchmarks import benchmark_named
from geobridge.evaluation.published import TIES, all_published, published, verdict

KEEP = {"distractors": "keep", "extra_distractors": None}
DROP = {"distractors": "drop", "extra_distractors": None}


def methods(benchmark, task, options):
    return [entry.method for entry in published(benchmark, task, options)]


def only(benchmark, task, options, method):
    (entry,) = (e for e in published(benchmark, task, options) if e.method == method)
    return entry


def test_numbers_are_as_published():
    assert dict(only("university-1652", "S2D", KEEP, "Sample4Geo").values) == {
        "R@1": 95.14,
        "AP (trapezoid)": 91.39,
    }
    cross = only("gta-uav", "D2S", {"area": "cross", "positives": "pos"}, "PAUL")
    assert cross.values["Dis@1"] == 421.12


def test_numbers_of_another_part_of_the_data_set_are_not_given():
    assert methods("vigor", "P2S", {"area": "same"}) == ["Sample4Geo", "AuxGeo, BIM+PCM"]
    assert methods("vigor", "P2S", {"area": "cross"}) == ["Sample4Geo", "GeoBridge"]
    assert methods("vigor", "S2P", {"area": "cross"}) == []
    assert methods("fongyuan", "D2S", {}) == []


def test_dropped_distractors_match_only_where_ours_are_dropped():
    entry = only("university-1652", "D2S", KEEP, "Sample4Geo")

    kept, dropped = verdict(entry, KEEP), verdict(entry, DROP)

    assert kept.state == "differs"
    assert "701 satellite pictures instead of 951" in kept.reason
    assert kept.reason.endswith("Ours is measured so with distractors=drop.")
    assert dropped.state == "matches"


def test_further_distractors_match_nothing():
    entry = only("university-1652", "D2S", DROP, "Sample4Geo")

    found = verdict(entry, {"distractors": "drop", "extra_distractors": "folder"})

    assert found.state == "differs"
    assert found.reason.endswith("Ours is measured so with extra_distractors=none.")


def test_what_nobody_has_checked_is_said_so():
    found = verdict(only("university-1652", "D2S", KEEP, "QDFL"), KEEP)

    assert found.state == "not checked"
    assert found.reason


def test_geobridge_has_the_only_ap_that_its_recall_allows():
    # One right reference: a rank of r >= 2 gives 1 / 2r at most .25 by trapezoid, .5 by reciprocal.
    entry = only("university-1652", "D2S", KEEP, "GeoBridge")

    assert set(entry.values) == {"R@1", "AP (reciprocal)"}
    assert entry.values["AP (reciprocal)"] <= 95.82 + (100 - 95.82) / 2
    for other in published("university-1652", "D2S", KEEP):
        if "AP (trapezoid)" in other.values:
            recall = other.values["R@1"]
            assert recall <= other.values["AP (trapezoid)"] <= recall + (100 - recall) / 4


@pytest.mark.parametrize(("benchmark", "task"), [("sues-200", "D2S 150 m"), ("denseuav", "D2S")])
def test_mirror_images_of_the_baselines_are_told(benchmark, task):
    settings = benchmark_named(benchmark).configure({}).model_dump(mode="json")

    baseline = published(benchmark, task, settings)[0]

    assert "baseline" in baseline.method
    assert "mirror image" in verdict(baseline, settings).reason


def test_columns_of_unknown_direction_are_never_matched():
    for task in ("T2D", "D2T"):
        for entry in published("geotext-1652", task, {"test": "951"}):
            assert verdict(entry, {"test": "951"}).state == "differs"


def test_ties_are_named_once():
    assert TIES.startswith("Ties count against the model")
    assert not any("tie" in entry.note.lower() for entry in all_published())


@pytest.mark.parametrize(
    "entry", all_published(), ids=lambda e: f"{e.benchmark} {e.task} {e.method}"
)
def test_every_entry_is_sound(entry):
    assert entry.source
    assert entry.note or entry.protocol == "same"
    assert entry.protocol in ("same", "unknown", "other")
    assert entry.certainty in ("paper", "leaderboard", "code", "3rd", "mem")
    shares = [v for k, v in entry.values.items() if not k.startswith("Dis@")]
    assert shares
    assert all(0 < share <= 100 for share in shares)
    recalls = [entry.values[k] for k in ("R@1", "R@5", "R@10") if k in entry.values]
    assert recalls == sorted(recalls)


@pytest.mark.parametrize(
    "entry", all_published(), ids=lambda e: f"{e.benchmark} {e.task} {e.method}"
)
def test_every_entry_names_options_that_its_benchmark_has(entry):
    wanted = {**entry.part, **entry.options}

    settings = benchmark_named(entry.benchmark).configure(wanted).model_dump(mode="json")

    assert {name: settings[name] for name in wanted} == wanted


def test_the_default_of_a_data_set_matches_its_own_baseline():
    settings = benchmark_named("sues-200").configure({}).model_dump(mode="json")

    states = {
        e.method: verdict(e, settings).state for e in published("sues-200", "D2S 150 m", settings)
    }

    assert states["SUES-200 baseline"] == "matches"
    assert states["DAC"] == "differs"
    assert states["BGG"] == "not checked"
