"""The page of retrievals: whole in itself, safe, and a fair choice of what came out."""

import math
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_stage import make_evaluation, make_score, write_folder

from geobridge.evaluation.report.page import examples_of, retrievals_page
from geobridge.evaluation.report.queries import read_queries


class Reader(HTMLParser):
    """Collects tags, the targets of attributes, and the text of the figures."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.targets, self.figures, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href", "style")]
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "figure":
            self.figures.append((dict(attrs)["class"], []))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "figure" in self.open and data.strip():
            self.figures[-1][1].append(data.strip())


@pytest.fixture
def draw(tmp_path):
    def drawn(score=None, **changes):
        evaluation = make_evaluation(score or make_score())
        write_folder(tmp_path, evaluation, **changes)
        tables = {one.task: read_queries(tmp_path, one.task) for one in evaluation.scores}
        return retrievals_page(evaluation, tables)

    return drawn


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (300, 600, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


def ranked(*ranks):
    return pd.DataFrame(
        {
            "query": [f"q{row:02}" for row in range(len(ranks))],
            "rank": np.array(ranks, np.float64),
            "similarity1": np.linspace(0.9, 0.1, len(ranks)),
        }
    )


def test_hits_near_misses_and_failures_are_told_apart_by_rank():
    found = examples_of(ranked(1, 2, 10, 11, 500, math.nan), most=8)

    assert {name: (count, list(rows["query"])) for name, (count, rows) in found.items()} == {
        "Hits": (1, ["q00"]),
        "Near misses": (2, ["q01", "q02"]),
        "Failures": (2, ["q03", "q04"]),
    }


def test_examples_are_spread_from_the_surest_to_the_least_sure():
    found = examples_of(ranked(*[1] * 9, *range(20, 10, -1)), most=3)

    count, hits = found["Hits"]
    assert (count, list(hits["query"])) == (9, ["q00", "q04", "q08"])
    assert list(found["Failures"][1]["rank"]) == [11, 15, 20]


def test_the_page_fetches_nothing_and_is_well_formed(draw, picture):
    page = draw(query_file=[picture] * 6, top1_file=[picture] * 6, positive_file=[picture] * 6)

    reader = Reader(page.html)

    assert not reader.open
    assert "script" not in reader.tags
    assert "link" not in reader.tags
    assert all(t.startswith(("data:image/jpeg;base64,", "#task-")) for t in reader.targets)
    # Five queries have a rank; each shows itself, the truth and one reference.
    assert reader.tags.count("img") == 15
    assert page.unreadable == 0


def test_thumbnails_are_small(draw, picture):
    one = [picture] * 6

    page = draw(query_file=one)

    # 600 x 300 noise becomes 192 x 96.
    assert len(page.html) < 5 * 40_000


def test_a_row_tells_similarity_distance_and_rank(draw):
    page = draw(
        distance1_m=[0.0, 30, 120, 900, 15_000, math.nan], right1=[True, True, *[False] * 4]
    )

    figures = Reader(page.html).figures

    assert figures[:3] == [
        ("asked", ["query", "not kept", "q0"]),
        ("truth", ["truth", "rank 1", "not kept", "r0"]),
        ("right", ["1", "0.900 · 0 m", "not kept", "r0"]),
    ]
    assert figures[-1] == ("found", ["1", "0.500 · 15.0 km", "not kept", "r49"])
    assert "north &middot; first reference 30 m from the truth" in page.html


def test_text_is_shown_as_text_and_escaped(draw):
    text = "<script>alert('&')</script> " + "long " * 200

    page = draw(make_score("T2S"), query_file=[text] * 6, region=["<i>x"] * 6)

    reader = Reader(page.html)
    assert "script" not in reader.tags
    assert "i" not in reader.tags
    (shown,) = {tuple(words) for kind, words in reader.figures if kind == "asked" and "q0" in words}
    assert shown[1].startswith("<script>alert('&')</script> long")
    assert shown[1].endswith("...")
    assert len(shown[1]) < 500


def test_names_cannot_break_out_of_their_attributes(draw):
    page = draw(query=[f'"><img src=x onerror=y> {row}' for row in range(6)])

    assert "img" not in Reader(page.html).tags


def test_missing_pictures_are_said_and_counted_once(draw, tmp_path):
    page = draw(query_file=[str(tmp_path / "gone.jpg")] * 6)

    assert page.unreadable == 1
    assert page.html.count("picture cannot be read") == 5


def test_a_task_without_any_found_shows_only_failures(draw):
    page = draw(rank=[50.0] * 6)

    assert "Hits: 0 of 6" in page.html
    assert "Failures: 6 of 6" in page.html
