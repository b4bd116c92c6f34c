"""Places in words."""

import math
import re

import numpy as np
import pytest

from geobridge.errors import WorldError
from geobridge.world import World
from geobridge.world.words import COMPASS, facts

_NOUNS = {
    "church": "church", "mosque": "mosque", "temple": "temple", "school": "school",
    "supermarket": "supermarket", "warehouse": "warehouse", "water tower": "water tower",
    "silo": "silo", "windmill": "windmill", "petrol station": "fuel station",
    "fuel station": "fuel station", "bell tower": "bell tower",
}  # fmt: skip
_AREAS = {
    "football pitch": "pitch", "sports pitch": "pitch", "car park": "car park",
    "parking area": "car park", "swimming pool": "pool", "pond": "pond", "small lake": "pond",
    "tennis court": "tennis court", "orchard": "orchard", "running track": "running track",
    "bowling green": "bowling green", "woodland": "wood", "farm field": "field",
    "playing field": "playing field", "churchyard": "churchyard",
}  # fmt: skip
_BANDS = {"river": "river", "canal": "canal", "rail": "railway"}


def _inside(box, place, radius=50):
    return max(abs(box.x - place.x_m), abs(box.y - place.y_m)) <= radius


@pytest.mark.parametrize("region", ["albion", "formosa", "danube", "levant"])
def test_text_names_only_what_is_there(region):
    town = World(0).town(region, 0)
    for place in town.places(60):
        text = town.describe(place, variant=place.index % 3).lower()
        lasting = [b for b in town.scene.buildings if b.dates is None and _inside(b.box, place)]
        kinds = {building.kind for building in lasting}
        for word, kind in _NOUNS.items():
            if re.search(rf"\b{word}\b", text):
                assert kind in kinds, text
        areas = {area.kind for area in town.scene.areas if _inside(area.box, place)}
        for word, kind in _AREAS.items():
            if re.search(rf"\b{word}s?\b", text):
                assert kind in areas, text
        for word, kind in _BANDS.items():
            if re.search(rf"\b{word}\b", text):
                near = [
                    np.hypot(*(band.points - (place.x_m, place.y_m)).T).min() - band.half_width_m
                    for band in town.scene.bands
                    if band.kind == kind
                ]
                assert near, text
                assert min(near) < 52, text
        words = {building.roof_colour[0] for building in lasting}
        for phrase in re.findall(r"with (?:an? )?((?:(?!with )[a-z -])+?) roofs?\b", text):
            assert set(phrase.split(" and ")) <= words, text


def test_directions_of_landmarks_are_the_compass_from_the_place():
    seen = 0
    for index in range(3):
        town = World(0).town("albion", index)
        for place in town.places(80):
            for fact in facts(town, place):
                if fact.kind != "landmark":
                    continue
                angles = [
                    math.degrees(math.atan2(b.box.x - place.x_m, b.box.y - place.y_m)) % 360
                    for b in town.scene.buildings
                    if b.kind == fact.name and b.landmark and _inside(b.box, place)
                ]
                wanted = COMPASS.index(fact.direction) * 45
                assert min(abs((angle - wanted + 180) % 360 - 180) for angle in angles) <= 22.5
                seen += 1
    assert seen > 5


def test_texts_are_short_plain_and_nearly_unique():
    texts = []
    for region in ("prairie", "riviera"):
        town = World(0).town(region, 0)
        texts += [town.describe(place) for place in town.places(80)]
    assert len(set(texts)) >= 0.97 * len(texts)
    for text in texts:
        assert 2 <= text.count(". ") + 1 <= 4
        assert len(text.split()) <= 70
        assert not re.search(
            r"\b(aerial|satellite|drone|photo|picture|image|car(?! park)|cars|shadow)\b", text
        )
        assert "  " not in text
        assert text.endswith(".")


def test_variants_word_the_same_facts_differently(town):
    place = town.places(1)[0]
    variants = {town.describe(place, variant) for variant in range(6)}
    assert len(variants) >= 4
    assert town.describe(place, 3) == town.describe(place, 3)


def test_noise_spoils_texts_and_none_leaves_them(town):
    places = town.places(40)
    clean = [town.describe(place) for place in places]
    assert [town.describe(place, noise=0.0) for place in places] == clean
    spoilt = [town.describe(place, noise=0.8) for place in places]
    assert sum(a != b for a, b in zip(clean, spoilt, strict=True)) > 30
    invented = [
        b for a, b in zip(clean, spoilt, strict=True) if "church" in b and "church" not in a
    ]
    assert invented


def test_noise_is_a_share(town):
    with pytest.raises(WorldError, match="no share"):
        town.describe(town.places(1)[0], noise=1.5)
