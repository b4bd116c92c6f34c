import json

import pytest

from geobridge.errors import ModelError
from geobridge.model.config import parse_config, preset_names, read_config, read_preset


@pytest.mark.parametrize("name", ["mini", "base", "paper"])
def test_presets_are_valid_and_survive_json(name):
    config = read_preset(name)

    again = parse_config(json.loads(json.dumps(config.model_dump(mode="json"))), name)

    assert config.name == name
    assert again == config
    assert config.modalities == ("drone", "street", "satellite", "text")


def test_the_paper_has_four_towers_of_clip_large():
    config = read_preset("paper")

    assert (config.weights, config.dim, config.image.kind) == ("separate", 768, "clip")
    assert config.image.config["num_hidden_layers"] == 24


def test_an_unknown_preset_lists_those_there_are():
    assert preset_names() == ["base", "mini", "paper"]
    with pytest.raises(ModelError, match="no preset 'mimi': choose one of base, mini, paper"):
        read_preset("mimi")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dims": 8}, "has no key 'dims': did you mean 'dim'"),
        ({"qqqq": 8}, "has no key 'qqqq': known keys"),
        ({"weights": "frozen"}, "at 'weights'"),
        ({"dim": 0}, "at 'dim'"),
        ({"preprocess": {}}, "preprocess names no view"),
        ({"preprocess": {"dron": {"height": 8, "width": 8}}}, "at 'preprocess.dron"),
        ({"preprocess": {"drone": {"hight": 8, "width": 8}}}, "did you mean 'height'"),
        ({"image": {"kind": "resnet", "pooling": "cls"}}, "has no pooling 'cls', use gem, mean"),
        ({"image": {"kind": "resnet", "poling": "gem"}}, "did you mean 'pooling'"),
        ({"image": {"kind": "dinov2", "pooling": "cls", "norm": "layer"}}, "for resnet towers"),
        ({"text": {"kind": "clip", "max_tokens": 1}}, "at 'text.max_tokens'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(changes, sentence, tiny_config):
    with pytest.raises(ModelError, match=sentence) as caught:
        parse_config(tiny_config(**changes), "somewhere/config.json")

    assert str(caught.value).startswith("somewhere/config.json")


def test_an_impossible_canvas_is_refused(tiny_config):
    with pytest.raises(ModelError, match="-1"):
        parse_config(tiny_config(preprocess={"drone": {"height": -1, "width": 8}}), "config.json")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_settings_are_finite(value, tiny_config):
    square = {"height": 8, "width": 8, "mean": [value, 0.0, 0.0]}

    with pytest.raises(ModelError, match=r"at 'preprocess\.drone\.mean"):
        parse_config(tiny_config(preprocess={"drone": square}), "config.json")


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        read_preset("mini").dim = 3


def test_views_come_in_one_order(tiny_config):
    square = {"height": 8, "width": 8}
    config = parse_config(
        tiny_config(preprocess={"satellite": square, "drone": square}, text=None), "test"
    )

    assert config.modalities == ("drone", "satellite")


def test_the_digest_sees_what_changes_an_embedding_and_nothing_else(tiny_config):
    plain = parse_config(tiny_config(), "test")

    same = {
        "name": "other",
        "calibration": {"radius_m": 3},
        "provenance": {"by": "test"},
        "stored_dtype": "float16",
    }
    for key, value in same.items():
        assert plain.model_copy(update={key: value}).digest() == plain.digest(), key
    sourced = plain.model_copy(
        update={"image": plain.image.model_copy(update={"source": "elsewhere"})}
    )
    assert sourced.digest() == plain.digest()
    square = {"height": 16, "width": 16, "fit": "squash"}
    other = parse_config(tiny_config(preprocess={"drone": square}), "test")
    assert other.digest() != plain.digest()


def test_a_missing_or_broken_file_is_named(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(ModelError, match="cannot be read"):
        read_config(path)
    path.write_text("{")
    with pytest.raises(ModelError, match="is not JSON"):
        read_config(path)
    path.write_text("[1]")
    with pytest.raises(ModelError, match="not the configuration"):
        read_config(path)


def test_a_plain_transformers_model_is_recognised(zoo):
    with pytest.raises(ModelError, match=r"plain `transformers` model \(dinov2\).*from_towers"):
        read_config(zoo["dinov2"] / "config.json")
