"""Adaptation to a map, from the map alone."""

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="needs geobridge[train]")

from typer.testing import CliRunner

from geobridge.cli.app import app
from geobridge.errors import ModelError, RasterError, TrainingError
from geobridge.model.geobridge import GeoBridge
from geobridge.training.adapt import LOOKS, adapt
from geobridge.training.config import SourceSettings
from geobridge.training.looks import LooksConfig
from geobridge.training.maps import MapSource


def found_first(model, town_map):
    """Share of 200 unseen photos of the town that find their own footprint before the others."""
    looks = LooksConfig(**(LOOKS.model_dump() | {"footprint_m": 100.0}))
    source = MapSource(SourceSettings(maps=[town_map], looks=looks), model.config.preprocess, 7)
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
    assert (tmp_path / "adapted.run" / "metrics.csv").exists()


def test_a_run_that_goes_on_ends_as_one_that_was_never_stopped(
    town_map, one_eyed_checkpoint, tmp_path
):
    def run(name, steps):
        return adapt([town_map], one_eyed_checkpoint, tmp_path / name, steps=steps, batch=8)

    whole, first, other = run("whole", 3), run("parts", 3), run("other", 2)

    assert whole.fingerprint == first.fingerprint != other.fingerprint
    # A finished run is not trained again.
    assert run("whole", 3).fingerprint == whole.fingerprint


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


def test_the_command_says_where_the_checkpoint_is(town_map, one_eyed_checkpoint, tmp_path):
    out = tmp_path / "town-mini"
    options = ["--model", str(one_eyed_checkpoint), "--steps", "2", "--batch", "8"]

    told = CliRunner().invoke(app, ["adapt", str(town_map), *options, "--out", str(out)])

    assert told.exit_code == 0, told.output
    assert f"checkpoint: {out}" in told.output.replace("\n", "")
    assert GeoBridge.load(out).dim == 32


def test_a_map_that_is_not_there_ends_the_command_with_2(one_eyed_checkpoint, tmp_path):
    options = ["--model", str(one_eyed_checkpoint), "--out", str(tmp_path / "out")]

    told = CliRunner().invoke(app, ["adapt", str(tmp_path / "no.tif"), *options])

    assert told.exit_code == 2
    assert "no.tif cannot be opened" in told.output
