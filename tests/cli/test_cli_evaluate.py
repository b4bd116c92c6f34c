import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from geobridge.cli.app import app
from geobridge.evaluation.benchmarks import BENCHMARK_NAMES
from geobridge.geo.footprint import footprint_around
from geobridge.places.table import Place, write_places


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Four places whose two pictures are equal, so that a model that knows no view finds them."""
    folder = tmp_path_factory.mktemp("places")
    rows = []
    for index in range(4):
        noise = np.random.default_rng(index).integers(0, 256, (4, 4, 3)).astype(np.uint8)
        picture = Image.fromarray(noise).resize((32, 32), 0)
        paths = {view: folder / view / f"{index}.png" for view in ("drone", "satellite")}
        for path in paths.values():
            path.parent.mkdir(exist_ok=True)
            picture.save(path)
        lat, lon = 48.0 + 0.01 * index, 11.0
        rows.append(
            Place(
                f"p{index}",
                lat,
                lon,
                footprint_around(lat, lon, 100.0, 100.0),
                split="test",
                **paths,
            )
        )
    write_places(folder, rows)
    return folder


@pytest.fixture
def measure(places, one_eyed_checkpoint):
    """Run `geobridge evaluate` on these places."""

    def ask(*options):
        fixed = ("--benchmark", "places", "--root", places, "--model", one_eyed_checkpoint)
        return run("evaluate", *fixed, *options)

    return ask


def test_a_table_is_printed_and_a_report_is_left(measure, tmp_path):
    done = measure("--out", tmp_path / "report")

    assert done.exit_code == 0, done.stderr
    assert "D2S" in done.stdout
    assert "100.00" in done.stdout
    scores = json.loads((tmp_path / "report" / "evaluation.json").read_text())["scores"]
    assert [score["task"] for score in scores] == ["D2S", "S2D"]
    for name in ("table.md", "table.tex", "scores.csv", "retrievals.html", "recall_at_k.png"):
        assert (tmp_path / "report" / name).stat().st_size


def test_without_a_folder_nothing_is_left(measure, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    done = measure("--directions", "D2S")

    assert done.exit_code == 0, done.stderr
    assert "D2S" in done.stdout
    assert "S2D" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_two_reports_are_compared(measure, tmp_path):
    for name in ("one", "other"):
        assert measure("--out", tmp_path / name).exit_code == 0

    done = run("compare", tmp_path / "one", tmp_path / "other", "--out", tmp_path / "both")

    assert done.exit_code == 0, done.stderr
    assert "R@1" in done.stdout
    assert (tmp_path / "both" / "comparison.csv").stat().st_size


def test_every_benchmark_is_listed_with_its_layout():
    done = run("evaluate", "--list")

    assert done.exit_code == 0, done.stderr
    for name in BENCHMARK_NAMES:
        assert f"{name}:" in done.stdout
    assert "distractors=keep" in done.stdout
    assert "gallery_satellite" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--benchmark", "cvsua", "--root", "."), "did you mean 'cvusa'?"),
        (("--benchmark", "cvusa"), "evaluate needs --benchmark NAME and --root DIR"),
        (("--benchmark", "places", "--root", ".", "--directions", "D3S"), "is not a direction"),
        (("--benchmark", "places", "--root", ".", "--set", "split"), "write name=value"),
        (("--suite", "beauty"), "there is no suite 'beauty'"),
        (("--suite", "robustness"), "name a folder with --out"),
        (("--suite", "robustness", "--out", "o", "--set", "sweep=fog"), "no option 'sweep'"),
        (("--suite", "robustness", "--directions", "D2S"), "has its own data and directions"),
        (
            ("--benchmark", "cvusa", "--root", ".", "--set", "seed=1", "--set", "seed=2"),
            "--set names an option twice",
        ),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    done = run("evaluate", *arguments)

    assert done.exit_code == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_sweep_that_is_not_there_is_named(one_eyed_checkpoint, tmp_path):
    fixed = ("--suite", "robustness", "--model", one_eyed_checkpoint, "--out", tmp_path / "out")

    done = run("evaluate", *fixed, "--set", "sweeps=fog")

    assert done.exit_code == 2
    assert "there is no sweep 'fog' in the suite: choose of resolution" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_wrong_root_says_what_was_looked_for(one_eyed_checkpoint, tmp_path):
    (tmp_path / "holiday").mkdir()
    fixed = ("--root", tmp_path, "--model", one_eyed_checkpoint)

    done = run("evaluate", "--benchmark", "university-1652", *fixed)

    assert done.exit_code == 2
    assert "query_drone" in done.stderr
    assert "holiday" in done.stderr


def test_text_is_refused_where_the_data_has_none(measure):
    done = measure("--directions", "T2S")

    assert done.exit_code == 2
    assert "T2S" in done.stderr
