import json

import numpy as np
import pytest
from shapely.geometry import Point, shape

from geobridge.geo.distance import distance_m
from geobridge.geo.footprint import footprint_around
from geobridge.localization.calibration import Calibration
from geobridge.localization.estimate import (
    Candidate,
    Estimate,
    answers_geojson,
    estimate_position,
)

ESTIMATE_KEYS = {
    *("lat", "lon", "radius_m", "probability", "confidence", "within_m", "calibrated"),
    *("yaw_deg", "modalities", "candidates"),
}
CANDIDATE_KEYS = {
    *("rank", "ref_id", "similarity", "lat", "lon", "distance_m", "size_m", "modality"),
    *("source", "path", "window", "place_id", "text", "date", "yaw_deg", "agrees", "footprint"),
}


def candidate(lat=48.0, lon=11.0, rank=1, **changes):
    values = {
        "rank": rank,
        "ref_id": f"ref{rank}",
        "similarity": 0.5,
        "lat": lat,
        "lon": lon,
        "distance_m": 0.0,
        "size_m": 100.0,
        "modality": "satellite",
        "source": "/maps/town.tif",
        "path": "town.tif",
        "window": (0.0, 0.0, 100.0, 100.0),
        "place_id": None,
        "text": None,
        "date": None,
        "yaw_deg": None,
        "agrees": True,
        "footprint": footprint_around(lat, lon, 100, 100),
    }
    return Candidate(**(values | changes))


def estimate(lat=48.0, lon=11.0, radius_m=80.0, candidates=None):
    return Estimate(
        lat=lat,
        lon=lon,
        radius_m=radius_m,
        probability=0.9,
        confidence=0.7,
        within_m=100.0,
        calibrated=True,
        yaw_deg=None,
        modalities=("drone", "text"),
        candidates=tuple(candidates or [candidate(lat, lon)]),
    )


def test_position_radius_and_confidence_come_from_the_calibration():
    calibration = Calibration(temperature=0.1, probability=0.9, radius_scale=3.0, bias=2.0,
                              mass_slope=0.0, queries=10)  # fmt: skip
    found = estimate_position([0.4], [48.0], [11.0], [100.0], calibration)
    assert (found.lat, found.lon) == pytest.approx((48.0, 11.0))
    # Three times the circle that covers nine tenths of the footprint.
    assert found.radius_m == pytest.approx(3 * 53.52, abs=0.05)
    assert found.confidence == pytest.approx(1 / (1 + np.exp(-2)))
    assert (found.probability, found.within_m) == (0.9, 100.0)


def test_who_agrees_is_told_in_the_order_given():
    found = estimate_position(
        [0.1, 0.9, 0.9], [49.0, 48.0, 48.0002], [11.0, 11.0, 11.0], [100.0] * 3, Calibration()
    )
    assert found.agrees.tolist() == [False, True, True]


def test_more_agreement_is_more_confident_and_less_spread():
    agreeing = estimate_position([0.5] * 3, [48, 48, 48], [11, 11, 11], [100] * 3, Calibration())
    apart = estimate_position([0.5] * 3, [48, 49, 50], [11, 11, 11], [100] * 3, Calibration())
    assert agreeing.confidence > apart.confidence
    assert agreeing.radius_m < 100 < 50_000 < apart.radius_m


def test_no_hypothesis_is_an_error():
    with pytest.raises(ValueError, match="K >= 1"):
        estimate_position([], [], [], [], Calibration())


def test_json_holds_the_documented_schema():
    content = json.loads(estimate().to_json())
    assert set(content) == ESTIMATE_KEYS
    assert set(content["candidates"][0]) == CANDIDATE_KEYS
    assert content["modalities"] == ["drone", "text"]
    assert content["candidates"][0]["footprint"]["type"] == "Polygon"
    assert content["candidates"][0]["window"] == [0.0, 0.0, 100.0, 100.0]


def test_geojson_is_a_position_a_radius_and_the_footprints():
    collection = estimate(candidates=[candidate(), candidate(48.001, 11.001, rank=2)]).to_geojson()
    assert collection["type"] == "FeatureCollection"
    features = collection["features"]
    roles = [feature["properties"]["role"] for feature in features]
    assert roles == ["estimate", "radius", "candidate", "candidate"]
    assert features[0]["geometry"] == {"type": "Point", "coordinates": [11.0, 48.0]}
    assert features[0]["properties"]["confidence"] == 0.7
    assert features[3]["properties"]["rank"] == 2
    assert shape(features[3]["geometry"]).contains(Point(11.001, 48.001))
    json.dumps(collection, allow_nan=False)


def test_the_radius_is_a_ring_of_that_radius_counter_clockwise():
    ring = shape(estimate(radius_m=80.0).to_geojson()["features"][1]["geometry"]).exterior
    lon, lat = np.array(ring.coords).T
    assert distance_m(48.0, 11.0, lat, lon) == pytest.approx(np.full(65, 80.0), abs=0.01)
    assert ring.is_ccw


def test_shapes_across_the_antimeridian_are_cut_there():
    at = {"lat": -17.0, "lon": 179.9999}
    features = estimate(**at).to_geojson()["features"]
    for feature in features[1:]:
        assert feature["geometry"]["type"] == "MultiPolygon"
        west, _, east, _ = shape(feature["geometry"]).bounds
        assert (west, east) == (-180, 180)


@pytest.mark.parametrize(("lat", "radius_m"), [(48.0, 600_000.0), (89.9, 20_000.0)])
def test_a_radius_too_large_to_draw_is_stated_and_not_drawn(lat, radius_m):
    features = estimate(lat=lat, radius_m=radius_m).to_geojson()["features"]
    assert [feature["properties"]["role"] for feature in features] == ["estimate", "candidate"]
    assert features[0]["properties"]["radius_m"] == radius_m


def test_many_answers_share_one_collection_and_keep_their_names():
    collection = answers_geojson([("a", estimate()), ("b", estimate(lat=49.0))])
    assert [feature["properties"]["id"] for feature in collection["features"]] == list("aaabbb")
