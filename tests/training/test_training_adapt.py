"""Adaptation to a map, from the map alone."""

import functools

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="needs geobridge[train]")

from typer.testing import CliRunner

from geobridge.api import calibrate_on_maps
from geobridge.cli.app import app
from geobridge.errors import ModelError, RasterError, TrainingError
from geobridge.model.geobridge import GeoBridge
from geobridge.training.adapt import LOOKS, adapt
from geobridge.training.config import SourceSettings
from geobridge.training.maps import MapSource


def found_first(model, town_map):
    """Share of 200 unseen photos of the town that find their own footprint before the others."""
    source = MapSource(SourceSettings(maps=[town_map], looks=LOOKS), model.config.preprocess, 7)
    source.cache(town_map.parent)
    batch = source.draw(range(200), torch.Generator().manual_seed(99))
    drone = model.embed_prepared("drone", batch.pictures["drone"])
    satellite = model.embed_prepared(
        "satellite", source.draw(range(200), None).pictures["satellite"]
    )
    return float(np.mean((drone @ satellite.T).argmax(axis=1) == np.arange(200)))


def test_an_adapted_model_finds_photos_of_its_map_that_it_did_not_find(
    town_map, one_eyed_checkpoint, one_eyed, tmp_path
):
    out = tmp_path / "adapted"

    adapted = adapt([town_map], one_eyed_checkpoint, out, steps=60, batch=32, learning_rate=3e-3)

    before, after = found_first(one_eyed, town_map), found_first(adapted, town_map)
    assert after > max(2 * before, 0.05)
    assert GeoBridge.load(out).fingerprint == adapted.fingerprint
    assert adapted.config.calibration is None
    learned = adapted.state_dict()
    moved = {name for name, old in one_eyed.state_dict().items() if not old.equal(learned[name])}
    # Text has a tower of its own, which pictures do not teach.
    assert any(name.startswith("trunks") for name in moved), moved
    assert not [name for name in moved if "text" in name]
    assert (tmp_path / "adapted.run" / "metrics.csv").exists()
    assert 'GeoBridge.load("adapted")' in (out / "README.md").read_text()


def test_a_run_that_goes_on_ends_as_one_that_was_never_stopped(
    town_map, one_eyed_checkpoint, tmp_path
):
    def run(name, steps):
        return adapt([town_map], one_eyed_checkpoint, tmp_path / name, steps=steps, batch=8)

    whole, first, other = run("whole", 3), run("parts", 3), run("other", 2)

    assert whole.fingerprint == first.fingerprint != other.fingerprint
    # A finished run is not trained again.
    assert run("whole", 3).fingerprint == whole.fingerprint


def test_the_folder_one_stands_in_is_not_replaced(town_map, one_eyed_checkpoint, monkeypatch):
    monkeypatch.chdir(one_eyed_checkpoint.parent)

    for out in (".", "..", "/", one_eyed_checkpoint.parent):
        with pytest.raises(TrainingError, match="the folder you are in"):
            adapt([town_map], one_eyed_checkpoint, out, steps=1)


def test_what_cannot_be_adapted_to_is_refused_in_a_sentence(
    town_map, one_eyed_checkpoint, tmp_path
):
    out = tmp_path / "out"

    with pytest.raises(TrainingError, match="no map to adapt to"):
        adapt([], one_eyed_checkpoint, out, steps=1)
    with pytest.raises(TrainingError, match="`steps` or `minutes`"):
        adapt([town_map], one_eyed_checkpoint, out)
    with pytest.raises(TrainingError, match=r"footprint_m.*greater than 0"):
        adapt([town_map], one_eyed_checkpoint, out, steps=1, footprint_m=-5)
    with pytest.raises(TrainingError, match="no whole footprint of 900 m"):
        adapt([town_map], one_eyed_checkpoint, out, steps=1, footprint_m=900)
    with pytest.raises(RasterError, match="cannot be opened"):
        adapt([tmp_path / "no.tif"], one_eyed_checkpoint, out, steps=1)
    with pytest.raises(ModelError):
        adapt([town_map], tmp_path / "no-model", out, steps=1)
    assert not out.exists()


def test_the_command_calibrates_and_says_where_the_checkpoint_is(
    town_map, one_eyed_checkpoint, tmp_path, monkeypatch
):
    few = functools.partial(calibrate_on_maps, photos=12)
    monkeypatch.setattr("geobridge.api.calibrate_on_maps", few)
    out = tmp_path / "town-mini"
    options = ["--model", str(one_eyed_checkpoint), "--steps", "2", "--batch", "8"]

    told = CliRunner().invoke(app, ["adapt", str(town_map), *options, "--out", str(out)])

    assert told.exit_code == 0, told.output
    lines = " ".join(told.output.split())
    assert f"checkpoint: {out}" in told.output.replace("\n", "")
    assert "of 12 photos made from the map" in lines
    assert "without their heading" in lines
    assert "with their heading" in lines
    assert "try some of known position" in lines
    model = GeoBridge.load(out)
    # What was fitted for the model it began with is gone.
    assert set(model.config.calibration) == {"drone", "drone+heading"}
    assert model.config.calibration["drone"]["queries"] == 12
    assert 'GeoBridge.load("town-mini")' in (out / "README.md").read_text()


def test_the_command_leaves_calibration_away_if_asked(town_map, one_eyed_checkpoint, tmp_path):
    out = tmp_path / "town-mini"
    options = ["--model", str(one_eyed_checkpoint), "--steps", "1", "--batch", "8"]

    told = CliRunner().invoke(
        app, ["adapt", str(town_map), *options, "--no-calibrate", "--out", str(out)]
    )

    assert told.exit_code == 0, told.output
    assert "calibration:" not in told.output
    assert "not calibrated" in told.output
    assert GeoBridge.load(out).config.calibration is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", "5", "--minutes", "2"], "`steps` or `minutes`: name one"),
        (["--steps", "0"], "steps: Input should be greater than or equal to 1"),
        (["--minutes", "0"], "minutes: Input should be greater than 0"),
    ],
)
def test_a_length_that_cannot_be_ends_the_command_with_2(
    options, said, town_map, one_eyed_checkpoint, tmp_path
):
    given = [str(town_map), "--model", str(one_eyed_checkpoint), "--out", str(tmp_path / "out")]

    told = CliRunner().invoke(app, ["adapt", *given, *options])

    assert told.exit_code == 2
    assert said in told.output


def test_the_command_adapts_for_ten_minutes_if_nothing_is_said(monkeypatch, one_eyed, tmp_path):
    asked = []
    monkeypatch.setattr(
        "geobridge.training.adapt.adapt",
        lambda *_, minutes, steps, **__: asked.append((minutes, steps)) or one_eyed,
    )

    for options in ([], ["--steps", "3"], ["--minutes", "2"]):
        told = CliRunner().invoke(
            app, ["adapt", "a.tif", "--no-calibrate", *options, "--out", str(tmp_path)]
        )
        assert told.exit_code == 0, told.output

    assert asked == [(10.0, None), (None, 3), (2.0, None)]


def test_a_map_that_is_not_there_ends_the_command_with_2(one_eyed_checkpoint, tmp_path):
    options = ["--model", str(one_eyed_checkpoint), "--out", str(tmp_path / "out")]

    told = CliRunner().invoke(app, ["adapt", str(tmp_path / "no.tif"), *options])

    assert told.exit_code == 2
    assert "no.tif cannot be opened" in told.output
