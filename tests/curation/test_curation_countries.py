import sys

import numpy as np
import pytest

from geobridge.curation import countries
from geobridge.curation.countries import countries_at
from geobridge.errors import MissingExtraError


def names(*positions):
    lat, lon = zip(*positions, strict=True)
    return countries_at(lat, lon)[0].tolist()


def test_cities_lie_in_their_countries():
    assert names(
        (52.5200, 13.4050),  # Berlin
        (48.8566, 2.3522),  # Paris
        (-33.8688, 151.2093),  # Sydney
        (59.9139, 10.7522),  # Oslo
        (-17.7134, 178.065),  # Viti Levu, near the antimeridian
        (12.1696, -68.9900),  # Willemstad: the name has a letter beyond ASCII
    ) == ["Germany", "France", "Australia", "Norway", "Fiji", "Curaçao"]


def test_a_position_off_the_coast_belongs_to_it_and_one_at_sea_to_nobody():
    # The pier of Scheveningen, some 300 m off the beach, and the middle of the North Sea.
    assert names((52.1180, 4.2790), (55.5, 3.5)) == ["Netherlands", None]


def test_a_position_near_another_country_is_told():
    # Strasbourg's cathedral is 4 km from the Rhine, the Jardin des Deux Rives lies on it.
    found, is_near = countries_at([48.5734, 48.8566, 55.5], [7.8003, 2.3522, 3.5])

    assert found.tolist() == ["France", "France", None]
    assert is_near.tolist() == [True, False, False]


def test_many_positions_are_the_single_ones():
    rng = np.random.default_rng(0)
    lat, lon = rng.uniform(45, 50, 60), rng.uniform(5, 12, 60)

    together, near = countries_at(lat, lon)

    alone = [countries_at([a], [b]) for a, b in zip(lat, lon, strict=True)]
    assert together.tolist() == [name[0] for name, _ in alone]
    assert near.tolist() == [is_near[0] for _, is_near in alone]


def test_the_edges_of_the_world_have_countries_too():
    assert names((90.0, 0.0), (-90.0, 0.0), (0.0, 180.0), (0.0, -180.0)) == [
        None,
        "Antarctica",
        None,
        None,
    ]


def test_a_missing_package_is_told_with_the_extra(monkeypatch):
    monkeypatch.setattr(countries, "_PACKAGE", "no_such_package_of_outlines")
    countries._outlines.cache_clear()
    try:
        with pytest.raises(MissingExtraError, match=r"geobridge\[curate\]"):
            countries_at([52.0], [13.0])
    finally:
        countries._outlines.cache_clear()
    assert "no_such_package_of_outlines" not in sys.modules
