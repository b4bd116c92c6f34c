"""`geobridge data doctor` as a person runs it."""

import csv
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shapely import box
from typer.testing import CliRunner

from geobridge.cli.app import app
from geobridge.cli.data import doctor
from geobridge.evaluation.doctor import LEAK_M
from geobridge.places.table import Place, write_places


@pytest.fixture
def planet(tmp_path):
    """Four places of two splits with drone, satellite and text."""
    rows = []
    for number, split in enumerate(("train", "train", "test", "test")):
        pictures = {}
        for view in ("drone", "satellite"):
            path = tmp_path / view / f"p{number}.jpg"
            path.parent.mkdir(exist_ok=True)
            rng = np.random.default_rng([number, view == "drone"])
            cells = rng.integers(0, 256, (17, 17, 3)).astype(np.uint8)
            Image.fromarray(cells).resize((68, 68), Image.Resampling.NEAREST).save(path)
            pictures[view] = Path(view) / path.name
        rows.append(
            Place(
                place_id=f"p{number}", lat=45.0 + number, lon=9.0, text=f"place {number}",
                footprint=box(9, 45, 9.001, 45.001), split=split, **pictures,
            )
        )  # fmt: skip
    write_places(tmp_path, rows)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["data", "doctor", *map(str, arguments)])


def test_a_good_data_set(planet):
    result = run("places", planet)

    assert result.exit_code == 0
    assert "train/drone" in result.output
    assert "0 warning, 0 problem; 0 findings." in result.output


def test_problems_are_exit_code_one_and_all_are_in_the_file(planet):
    (planet / "drone" / "p3.jpg").write_bytes((planet / "drone" / "p0.jpg").read_bytes())
    (planet / "satellite" / "p1.jpg").unlink()
    out = planet / "findings.csv"

    result = run("places", planet, "--out", out, "--quick")

    assert result.exit_code == 1
    assert f"4 findings, all in {out}" in result.output
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["check"], row["name"]) for row in rows] == [
        ("layout", ""), ("missing files", "p1"), ("copied pictures", "p3"),
        ("pictures in two splits", ""),
    ]  # fmt: skip


def test_only_a_few_findings_are_shown(planet):
    for path in planet.glob("*/*.jpg"):
        path.write_bytes(b"")

    result = run("places", planet)

    assert result.exit_code == 1
    assert "and 5 more" in result.output


def test_warnings_are_exit_code_zero(planet):
    result = run("places", planet, "--leak-m", 400_000)

    assert result.exit_code == 0
    assert "1 warning" in result.output


def test_bad_input_is_exit_code_two(planet):
    for arguments, words in {
        ("palces", planet): "did you mean 'places'",
        ("places", planet / "drone"): "looked for places.parquet",
        ("university-1652", planet): "found was",
        ("places", planet, "--leak-m", "-1"): "give a leak_m of 0 or more",
        ("places", planet, "--out", planet): "cannot be written",
    }.items():
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        assert words in result.output


def test_the_distance_of_leaks_is_the_doctors():
    # Written twice, so that --help needs no numpy.
    assert signature(doctor).parameters["leak_m"].default == LEAK_M
