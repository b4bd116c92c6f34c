import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from geobridge.errors import ModelError
from geobridge.model import checkpoint as checkpoint_module
from geobridge.model.geobridge import GeoBridge

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)


def rows_of(model):
    pictures = [model.embed(view, [PICTURE]) for view in ("drone", "street", "satellite")]
    return np.vstack([*pictures, model.embed("text", ["a river"])])


@pytest.mark.parametrize("weights", ["separate", "shared", "adapter", "aerial"])
def test_a_loaded_model_embeds_as_the_saved_one(weights, make_tiny, tmp_path):
    model = make_tiny(weights=weights)
    model.save(tmp_path / "model")

    again = GeoBridge.load(tmp_path / "model")

    assert not again.training
    assert again.config == model.config
    assert again.fingerprint == model.fingerprint
    assert np.array_equal(rows_of(again), rows_of(model))
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_half_precision_on_disk_is_float32_in_memory(dtype, tolerance, make_tiny, tmp_path):
    model = make_tiny(stored_dtype=dtype)
    model.save(tmp_path / "model")
    stored = load_file(tmp_path / "model" / "model.safetensors")

    again = GeoBridge.load(tmp_path / "model")

    assert {str(tensor.dtype) for tensor in stored.values()} == {f"torch.{dtype}"}
    assert {weight.dtype for weight in again.parameters()} == {torch.float32}
    assert again.fingerprint == model.fingerprint
    np.testing.assert_allclose(rows_of(again), rows_of(model), atol=tolerance)


def test_the_fingerprint_follows_weights_settings_and_tokenizer(make_tiny, tiny_config):
    model = make_tiny()
    before = model.fingerprint
    assert len(before) == 16
    assert model.fingerprint == before

    model.config = model.config.model_copy(update={"name": "x", "calibration": {"a": 1}})
    assert model.fingerprint == before

    with torch.no_grad():
        model.heads["drone"].projection.weight[0, 0] += 1
    assert model.fingerprint != before

    square = {"height": 16, "width": 16, "fit": "squash"}
    squashed = make_tiny(preprocess=tiny_config()["preprocess"] | {"drone": square})
    assert squashed.fingerprint != before
    assert make_tiny(tokenizer=None).fingerprint != before


def test_the_calibration_travels_with_the_checkpoint(tiny, tmp_path):
    tiny.config = tiny.config.model_copy(update={"calibration": {"radius_m": 30.5}})
    tiny.save(tmp_path / "model")

    assert GeoBridge.load(tmp_path / "model").config.calibration == {"radius_m": 30.5}


def test_saving_again_replaces_the_checkpoint_and_keeps_other_files(make_tiny, tmp_path):
    make_tiny(seed=1).save(tmp_path / "model")
    (tmp_path / "model" / "card.md").write_text("what it is")
    (tmp_path / "model" / "figures").mkdir()
    (tmp_path / "model" / "figures" / "curve.png").write_bytes(b"x")
    second = make_tiny(seed=2, text=None)

    second.save(tmp_path / "model")

    assert GeoBridge.load(tmp_path / "model").fingerprint == second.fingerprint
    assert (tmp_path / "model" / "card.md").read_text() == "what it is"
    assert (tmp_path / "model" / "figures" / "curve.png").exists()
    assert not (tmp_path / "model" / "tokenizer.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_save_that_fails_leaves_the_former_checkpoint(make_tiny, tmp_path, monkeypatch):
    first = make_tiny(seed=1)
    first.save(tmp_path / "model")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "save_file", full)
    with pytest.raises(ModelError, match=r"cannot be written \(No space left on device\)"):
        make_tiny(seed=2).save(tmp_path / "model")

    assert GeoBridge.load(tmp_path / "model").fingerprint == first.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_save_killed_between_its_two_renames_can_be_undone(tiny, tmp_path):
    tiny.save(tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / ".model.replaced")  # where a kill would leave it

    with pytest.raises(ModelError, match=r"save was interrupted: .*\.model\.replaced"):
        GeoBridge.load(tmp_path / "model")

    tiny.save(tmp_path / "model")
    assert GeoBridge.load(tmp_path / "model").fingerprint == tiny.fingerprint


def test_a_folder_of_something_else_is_not_replaced(tiny, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(ModelError, match="holds files but no checkpoint"):
        tiny.save(tmp_path / "photos")
    with pytest.raises(ModelError, match="is a file"):
        tiny.save(tmp_path / "photos" / "a.jpg")

    assert (tmp_path / "photos" / "a.jpg").read_bytes() == b"x"


def test_weights_that_are_not_finite_are_not_saved(make_tiny, tmp_path):
    model = make_tiny(stored_dtype="float16")
    with torch.no_grad():
        model.heads["drone"].projection.weight[0, 0] = 1e6  # float16 ends at 65504

    with pytest.raises(
        ModelError, match=r"heads\.drone\.projection\.weight .* not finite in float16"
    ):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def edit_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_weights_that_do_not_fit_are_told_apart(tiny, tmp_path):
    tiny.save(tmp_path / "model")

    def change(tensors):
        del tensors["logit_scale"]
        tensors["extra.weight"] = torch.zeros(1)
        tensors["heads.drone.projection.weight"] = torch.zeros(2, 2)

    edit_weights(tmp_path / "model", change)

    with pytest.raises(ModelError) as caught:
        GeoBridge.load(tmp_path / "model")
    message = str(caught.value)
    assert "1 missing (logit_scale)" in message
    assert "1 unexpected (extra.weight)" in message
    assert "heads.drone.projection.weight is [2, 2] instead of [8, 16]" in message
    assert str(tmp_path / "model") in message


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("model.safetensors", None, "lacks model.safetensors"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}", "are damaged"),
        ("config.json", None, "cannot be read"),
        ("config.json", b"{", "is not JSON"),
        ("tokenizer.json", b"{}", "tokenizer .* is damaged"),
    ],
)
def test_a_damaged_checkpoint_names_the_file(name, content, sentence, tiny, tmp_path):
    tiny.save(tmp_path / "model")
    path = tmp_path / "model" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ModelError, match=sentence):
        GeoBridge.load(tmp_path / "model")


def test_a_truncated_download_is_damage(tiny, tmp_path):
    tiny.save(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(ModelError, match="are damaged"):
        GeoBridge.load(tmp_path / "model")


def test_a_checkpoint_without_tokenizer_still_embeds_pictures(tiny, tmp_path):
    tiny.save(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()

    model = GeoBridge.load(tmp_path / "model")

    assert model.embed("drone", [PICTURE]).shape == (1, 8)


class Trap:
    """Pickles into a call that would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("name", ["best.pth", "model.pt", "weights.bin", "last.ckpt"])
def test_pickles_are_refused_with_the_way_out(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Trap(tmp_path / "ran")))

    with pytest.raises(ModelError, match=r"pickled file, .* `geobridge import-release .*"):
        GeoBridge.load(path)
    with pytest.raises(ModelError, match=r"pickled file, .* `geobridge import-release .*"):
        GeoBridge.load(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_weights_file_points_to_its_folder(tiny, tmp_path):
    tiny.save(tmp_path / "model")

    with pytest.raises(ModelError, match="name the checkpoint's folder"):
        GeoBridge.load(tmp_path / "model" / "model.safetensors")


def test_an_unknown_name_lists_what_may_be_named():
    with pytest.raises(ModelError, match="there is no model 'nothing-like-it': name a folder"):
        GeoBridge.load("nothing-like-it")


def test_a_shipped_model_is_found_by_name(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "SHIPPED_FOLDER", tmp_path)
    tiny.save(tmp_path / "pocket")

    assert GeoBridge.load("pocket").fingerprint == tiny.fingerprint
    with pytest.raises(ModelError, match=r"a shipped one \(pocket\)"):
        GeoBridge.load("packet")


def test_a_hub_model_that_cannot_be_had_is_one_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(ModelError, match="the hub model of that name cannot be downloaded"):
        GeoBridge.load("nobody/nothing")


def test_the_configuration_is_readable_json(tiny, tmp_path):
    tiny.save(tmp_path / "model")

    settings = json.loads((tmp_path / "model" / "config.json").read_text())

    assert settings["preprocess"]["street"]["width"] == 64
    assert settings["image"]["kind"] == "resnet"


def test_the_folder_of_a_training_run_names_its_checkpoint(one_eyed, tmp_path):
    one_eyed.save(tmp_path / "run" / "checkpoint")
    (tmp_path / "run" / "state.ckpt").write_bytes(b"")

    with pytest.raises(ModelError, match=r"is the folder of a training run: name its checkpoint"):
        GeoBridge.load(tmp_path / "run")
