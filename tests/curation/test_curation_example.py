from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from geobridge.cli.app import app
from geobridge.curation.config import read_curate_config
from geobridge.curation.example import write_example
from geobridge.errors import WorldError
from geobridge.places.table import read_places


def test_the_example_runs_through_all_stages_without_a_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    made = CliRunner().invoke(app, ["world", "survey", "albion/0", "--out", "example"])
    planned = CliRunner().invoke(app, ["curate", "example/town.yaml", "--plan", "--out", "town"])
    curated = CliRunner().invoke(app, ["curate", "example/town.yaml", "--out", "town"])

    assert made.exit_code == planned.exit_code == curated.exit_code == 0, curated.output
    assert "geobridge curate example/town.yaml --out town" in made.output
    assert planned.output.startswith("seeds: not found yet")
    places = read_places("town/places")
    assert len(places) >= 6
    assert places[["drone", "street", "satellite"]].notna().all(axis=None)
    assert places["text"].isna().all()
    assert set(places["split"]) == {"train", "val", "test"}
    assert "may overlap" not in Path("town/places/README.md").read_text()
    pictures = pd.read_parquet("town/places/pictures.parquet")
    assert set(pictures["licence"]) == {"CC0-1.0"}
    assert pictures["captured"].str.startswith("2024-").all()
    for stage in ("seeds", "street", "crop", "clean", "satellite", "publish"):
        assert f" {stage} " in curated.output
    assert "describe" not in curated.output


@pytest.mark.parametrize("name", ["a survey", 'a"b', "a\\b", "a\nb", "a#: {é}"])
def test_the_configuration_names_the_folder_as_it_was_given(tmp_path, monkeypatch, name):
    monkeypatch.setattr("geobridge.curation.example.write_map", lambda *_, **__: None)
    folder = tmp_path / name
    folder.mkdir()
    config = read_curate_config(write_example("albion/0", folder, photos=1))

    assert config.seeds.rasters == (f"{folder}/drone.tif",)
    assert config.street.providers[0].folder == folder / "photos"
    assert config.describe is None


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path):
    (tmp_path / "town.yaml").write_text("# mine\n")

    with pytest.raises(WorldError, match="holds something, and a survey would mix with it"):
        write_example("albion/0", tmp_path, photos=1)

    assert [path.name for path in tmp_path.iterdir()] == ["town.yaml"]
    assert (tmp_path / "town.yaml").read_text() == "# mine\n"


def test_a_town_that_is_none_is_told(tmp_path):
    with pytest.raises(WorldError, match="atlantis"):
        write_example("atlantis/0", tmp_path)
