import pytest

from geobridge.views import Direction


@pytest.mark.parametrize(
    ("text", "query", "reference"),
    [
        ("D2S", "drone", "satellite"),
        ("p2d", "street", "drone"),
        ("text_to_street", "text", "street"),
    ],
)
def test_a_direction_is_read_in_both_spellings(text, query, reference):
    assert Direction.parse(text) == Direction(query, reference)


def test_a_direction_is_written_as_the_papers_do():
    assert Direction("text", "street").short == "T2P"
    assert str(Direction("drone", "satellite")) == "drone_to_satellite"


@pytest.mark.parametrize("text", ["", "D", "D2", "D2X", "drone_satellite", "balloon_to_drone"])
def test_what_is_no_direction_says_what_would_be(text):
    with pytest.raises(ValueError, match="drone_to_satellite"):
        Direction.parse(text)
