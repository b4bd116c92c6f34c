import pytest

from geobridge.curation.config import parse_curate_config, read_curate_config
from geobridge.errors import CurationError

LEAST = "seeds: {rasters: [town.tif]}\n"


def read(tmp_path, text):
    path = tmp_path / "town.yaml"
    path.write_text(text)
    return read_curate_config(path)


def test_little_is_enough(tmp_path):
    config = read(tmp_path, LEAST)

    assert config.seeds.rasters == ("town.tif",)
    assert [provider.kind for provider in config.street.providers] == ["panoramax", "mapillary"]
    assert config.satellite is None
    assert config.describe is None
    assert config.publish.whole


def test_a_stage_has_its_own_settings(tmp_path):
    config = read(
        tmp_path,
        LEAST
        + """
street:
  providers:
    - kind: folder
      folder: walk
  per_seed: 2
crop: {sides_m: [80, 100]}
satellite: {rasters: [map.tif], gsd_m: 0.6}
publish:
  splits: {shares: {train: 0.9, test: 0.1}, block_m: 500}
""",
    )

    assert config.street.per_seed == 2
    assert config.street.providers[0].folder.name == "walk"
    assert config.crop.sides_m == (80.0, 100.0)
    assert config.satellite.gsd_m == 0.6
    assert config.publish.splits.block_m == 500


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("streets: {}\n" + LEAST, "no key 'streets': did you mean 'street'"),
        ("seeds: {raster: [a.tif]}", "at 'seeds': .*no key 'raster': did you mean 'rasters'"),
        (LEAST + "clean: {drone: {bhh: 3}}", "at 'clean.drone': .*did you mean 'bh'"),
        (LEAST + "publish: {splits: {shares: {train: 0.5}}}", "at 'publish.splits': .*sum to 1"),
        (LEAST + "satellite: {}", "at 'satellite': .*one of `rasters`, `tiles` and `stac`"),
        (LEAST + "street: {providers: [{kind: bing}]}", "at 'street.providers.0'"),
        (LEAST + "describe: {}", "at 'describe.endpoint': Field required"),
        ("street: {}", "at 'seeds': Field required"),
        ("- 1", "is no curation: write `key: value` lines"),
        (LEAST + LEAST, "line 2.*cannot be read|comes twice"),
        ("seeds: [", "cannot be read as YAML"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(tmp_path, text, problem):
    with pytest.raises(CurationError, match=problem) as told:
        read(tmp_path, text)
    assert "town.yaml" in str(told.value)
    assert "\n" not in str(told.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CurationError, match=r"there is no file .*nowhere\.yaml"):
        read_curate_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "street: {providers: [{kind: panormax}]}",
            r"street\.providers\.0': there is no kind 'panormax': did you mean 'panoramax'; corr",
        ),
        (
            "street: {providers: [{kind: film}]}",
            "no kind 'film': use one of panoramax, mapillary, google, folder; correct it",
        ),
        ("crop: {gsd_m: 60cm}", r"crop\.gsd_m': '60cm' is not a number alone: write it without a"),
    ],
)
def test_words_that_do_not_fit_are_told_plainly(tmp_path, text, told):
    with pytest.raises(CurationError, match=told):
        read(tmp_path, LEAST + text)


def test_settings_read_back_as_they_are_written(tmp_path):
    config = read(tmp_path, LEAST + "satellite: {rasters: [map.tif]}")

    assert parse_curate_config(config.model_dump(mode="json"), "the notes") == config


@pytest.mark.parametrize(("turn_north", "is_refused"), [("false", True), ("true", False)])
def test_panoramas_that_are_not_turned_are_not_compared_with_the_ground(
    tmp_path, turn_north, is_refused
):
    text = LEAST + f"clean: {{ground: {{model: mini}}}}\ncrop: {{turn_north: {turn_north}}}"
    if not is_refused:
        assert read(tmp_path, text).clean.ground.model == "mini"
        return
    with pytest.raises(CurationError, match=r"compares panoramas that are turned north"):
        read(tmp_path, text)
