import math

import numpy as np
import pytest

from geobridge.errors import ModelError, QueryError
from geobridge.geo.distance import LocalFrame
from geobridge.localization.calibration import (
    Calibration,
    calibrate,
    calibration_for,
    conformal_quantile,
    fit_logistic,
    fit_rising_logistic,
    fit_temperature,
    keep_calibrations,
    query_kind,
    reliability,
)
from geobridge.localization.position import Hypotheses, weigh
from geobridge.model.geobridge import GeoBridge

SPACING_M = 1000.0
SIZE_M = 100.0
TEMPERATURE = 0.07


def simulated(queries, seed, offset_m=30.0):
    """Searches whose truth is drawn from the softmax of their similarities at `TEMPERATURE`."""
    rng = np.random.default_rng(seed)
    frame = LocalFrame(45.0, 7.0)
    results, truths = [], []
    for _ in range(queries):
        similarity = np.sort(rng.normal(0.3, 0.12, 12))[::-1]
        east = np.arange(12) * SPACING_M
        lon, lat = frame.to_lonlat(east, np.zeros(12))
        truth = rng.choice(12, p=weigh(similarity, TEMPERATURE))
        dx, dy = rng.normal(0, offset_m, 2)
        true_lon, true_lat = frame.to_lonlat(east[truth] + dx, dy)
        results.append(Hypotheses.of(similarity, lat, lon, np.full(12, SIZE_M)))
        truths.append((float(true_lat), float(true_lon)))
    return results, np.array(truths)


def test_the_temperature_behind_the_truths_is_found_again():
    results, truths = simulated(400, seed=1)
    assert fit_temperature(results, truths) == pytest.approx(TEMPERATURE, rel=0.25)


def test_the_logistic_behind_the_outcomes_is_found_again():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(20_000, 2)) * [1.0, 3.0] + [0.0, 5.0]
    log_odds = -1.0 + 0.8 * features[:, 0] + 0.3 * features[:, 1]
    outcome = rng.random(20_000) < 1 / (1 + np.exp(-log_odds))
    bias, first, second = fit_logistic(features, outcome)
    assert (bias, first, second) == pytest.approx((-1.0, 0.8, 0.3), abs=0.1)


@pytest.mark.parametrize("outcome", [True, False])
def test_a_logistic_of_one_outcome_only_stays_short_of_certainty(outcome):
    bias, slope = fit_logistic(np.linspace(0, 1, 50)[:, None], np.full(50, outcome))
    stated = 1 / (1 + math.exp(-(bias + slope * 0.5)))
    assert abs(stated - outcome) == pytest.approx(1 / 52, abs=0.005)


def test_a_separable_logistic_and_a_constant_feature_stay_finite():
    features = np.column_stack([np.arange(20.0), np.full(20, 3.0)])
    weights = fit_logistic(features, np.arange(20) >= 10)
    assert all(math.isfinite(weight) for weight in weights)
    assert weights[1] > 0


def test_the_conformal_quantile_counts_one_more_than_there_are():
    values = np.arange(1.0, 20.0)  # 19 values: ceil(20 * 0.9) = the 18th
    assert conformal_quantile(values, 0.9) == 18.0
    assert conformal_quantile(np.array([1.0, 2.0]), 0.9) == 2.0


def test_stated_numbers_hold_on_queries_it_was_not_fitted_on():
    calibration = calibrate(*simulated(500, seed=3))
    rows = reliability(*simulated(2000, seed=4), calibration, groups=4)
    confidence = [row for row in rows if row.what == "confidence"]
    radius = [row for row in rows if row.what == "radius"]
    assert [row.queries for row in confidence] == [500] * 4
    for row in confidence:
        assert row.observed == pytest.approx(row.stated, abs=0.08)
    assert np.mean([row.observed for row in radius]) == pytest.approx(0.9, abs=0.03)
    assert confidence[0].observed < confidence[-1].observed
    assert calibration.queries == 500


def test_a_radius_is_widened_where_errors_exceed_the_footprint():
    # Every truth lies about 200 m off its 100 m footprint.
    calibration = calibrate(*simulated(300, seed=5, offset_m=200.0))
    assert calibration.radius_scale > 1
    rows = reliability(*simulated(1000, seed=6, offset_m=200.0), calibration, groups=1)
    assert rows[1].observed == pytest.approx(0.9, abs=0.04)


def test_another_probability_may_be_asked_for():
    calibration = calibrate(*simulated(300, seed=7), probability=0.5)
    rows = reliability(*simulated(1000, seed=8), calibration, groups=1)
    assert rows[1].stated == 0.5
    assert rows[1].observed == pytest.approx(0.5, abs=0.07)


def test_too_few_queries_or_truths_are_refused():
    results, truths = simulated(9, seed=9)
    with pytest.raises(QueryError, match=r"at least 10 queries.*got 9"):
        calibrate(results, truths)
    results, truths = simulated(12, seed=9)
    with pytest.raises(QueryError, match="12 queries and 11 positions"):
        calibrate(results, truths[:11])


def test_a_calibration_survives_the_checkpoint():
    calibration = Calibration(temperature=0.03, radius_scale=2.5, bias=0.1, queries=40)
    stored = {"drone": calibration.to_dict()}
    assert calibration_for(stored, ["drone"]) == calibration


def test_each_kind_of_query_has_its_own():
    stored = {"drone": {"temperature": 0.02}, "drone+text": {"temperature": 0.04}}
    assert calibration_for(stored, ["text", "drone"]).temperature == 0.04
    assert calibration_for(stored, ["drone"]).temperature == 0.02


def test_a_known_heading_has_its_own_and_else_that_of_an_unknown_one():
    stored = {"drone": {"temperature": 0.02}, "drone+heading": {"temperature": 0.03}}
    assert calibration_for(stored, ["drone"], heading_known=True).temperature == 0.03
    assert calibration_for(stored, ["drone"]).temperature == 0.02
    del stored["drone+heading"]
    assert calibration_for(stored, ["drone"], heading_known=True).temperature == 0.02


def test_what_is_fitted_is_kept_beside_other_kinds(one_eyed_checkpoint):
    model = GeoBridge.load(one_eyed_checkpoint)
    name, before = model.fingerprint, dict(model.config.calibration)
    keep_calibrations(model, {"drone": Calibration(temperature=0.02, queries=40)})
    assert set(model.config.calibration) == {"satellite", "drone"}
    assert model.config.calibration["satellite"] == before["satellite"]
    assert calibration_for(model.config.calibration, ["drone"]).queries == 40
    assert model.fingerprint == name


def test_without_a_fit_the_models_own_temperature_is_taken():
    assert calibration_for(None, ["text"], 0.01) == Calibration(temperature=0.01)
    assert calibration_for({"drone": {"temperature": 0.02}}, ["text"], 0.01).queries == 0


def test_the_kind_of_a_query_does_not_depend_on_order():
    assert query_kind(["text", "street", "drone"]) == "drone+street+text"
    assert query_kind(["text", "drone"], heading_known=True) == "drone+text+heading"


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        ({"warmth": 1.0}, "does not have warmth"),
        ({"temperature": "hot"}, "numbers only"),
        ({"temperature": 0.0}, "temperature > 0"),
        ({"radius_scale": float("nan")}, "must be finite"),
        ({"probability": 1.0}, "between 0 and 1"),
    ],
)
def test_a_damaged_calibration_is_refused(numbers, sentence):
    with pytest.raises(ModelError, match=sentence):
        Calibration.from_dict(numbers)


def test_confidence_is_a_logistic_of_mass_and_similarity():
    calibration = Calibration(bias=0.5, mass_slope=1.0, similarity_slope=2.0)
    # Log-odds of a mass of one half are zero: 0.5 + 2 * 0.25 = 1.
    assert calibration.confidence(0.5, 0.25) == pytest.approx(1 / (1 + math.exp(-1)))
    assert 0 < calibration.confidence(1.0, 1.0) < 1


def test_what_speaks_against_reason_is_left_out_of_the_confidence():
    # The first feature decides rightly; the second falls with success by chance.
    rng = np.random.default_rng(0)
    first = np.linspace(-2, 2, 200)
    outcome = rng.random(200) < 1 / (1 + np.exp(-2 * first))
    features = np.column_stack([first, np.where(outcome, -1.0, 1.0)])

    bias, rising, falling = fit_rising_logistic(features, outcome)

    assert falling == 0.0
    assert (bias, rising) == pytest.approx(fit_logistic(first[:, None], outcome), abs=1e-6)


def test_no_confidence_is_stated_that_no_held_out_query_bore_out():
    calibration = Calibration(bias=0.0, mass_slope=1.0, ceiling=0.6)

    assert calibration.confidence(0.5, 0.0) == pytest.approx(0.5)
    assert calibration.confidence(0.99, 0.0) == 0.6
