import json

import pytest

from geobridge.curation.anchors import (
    RESPONSE_FORMAT,
    Vocabulary,
    complaint,
    parse,
    read_prompt,
    read_vocabulary,
)
from geobridge.errors import CurationError

GOOD = "Two rows of red roofed houses line a street with a church at its north end."


@pytest.fixture(scope="module")
def words():
    return read_vocabulary(None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Cars are parked beside a hall.", ["cars", "parked"]),
        ("In the image, people stand in front of an aerial mast", ["image", "people", "aerial"]),
        ("A church on the left side and a barn to the LEFT", ["left side", "left"]),
        ("Trees under a cloudy sky", ["cloudy", "sky"]),
        ("A car park beside a pedestrian crossing, roads at a right angle", []),
        ("A car park full of cars", ["cars"]),
        ("A carpet shop, a cargo depot, a manor with a copyright library", []),
        ("Vans, vans and a van", ["vans", "van"]),
        ("A passer-by and a by-passer", ["passer-by"]),
        (GOOD, []),
    ],
)
def test_words_of_one_view_or_one_day_are_found(words, text, found):
    assert words.found(text) == found


def test_the_planets_own_texts_pass(words):
    from geobridge.world import World

    town = World(0).town("danube", 0)

    for place in town.places(12, at_most=True):
        assert complaint(town.describe(place), words, 75) is None


def test_a_vocabulary_can_be_ones_own(tmp_path):
    (tmp_path / "words.txt").write_text("# mine\n\nNeon sign\n= neon signpost\n")
    words = read_vocabulary(tmp_path / "words.txt")

    assert words.found("Neon Signs and a neon signpost, cars") == ["neon signs"]
    assert Vocabulary([]).found("cars") == []


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(CurationError, match=r"none\.txt cannot be read"):
        read_prompt(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(CurationError, match="is empty"):
        read_prompt(tmp_path / "empty.txt")


def test_an_answer_is_a_json_object_with_a_description():
    assert parse(json.dumps({"description": "  A church\n by a pond. "})) == "A church by a pond."


@pytest.mark.parametrize(
    "content",
    ["", "A church", '{"description": "A chu', '{"text": "x"}', '{"description": 3}', "[]",
     '{"description": "x", "more": 1}'],
)  # fmt: skip
def test_anything_else_is_refused_with_a_reason(content):
    with pytest.raises(ValueError, match="it is not a JSON object with one text named description"):
        parse(content)


def test_the_schema_is_strict():
    schema = RESPONSE_FORMAT["json_schema"]["schema"]

    assert schema["additionalProperties"] is False
    assert schema["required"] == ["description"]


def test_length_is_judged_in_words(words):
    assert complaint(GOOD, words, 50) is None
    assert complaint("word " * 51, words, 50) == "it has 51 words, more than 50"
    assert complaint("A church.", words, 50).startswith("it has 2 words, which is too few")
    assert "'sky'" in complaint(GOOD + " The sky is wide.", words, 50)
