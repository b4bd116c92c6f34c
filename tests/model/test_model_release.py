"""The paper's release: one pickled module of four whole CLIPs, made here the same way, tiny."""

import builtins
import collections
import copyreg
import functools
import io
import operator
import os
import pickle
import struct
import subprocess
import sys
import types
import warnings
import zipfile

import numpy as np
import pytest
import torch
import transformers
from typer.testing import CliRunner

from geobridge.errors import ModelError
from geobridge.imagery.preprocess import Preprocess
from geobridge.model.geobridge import GeoBridge
from geobridge.model.pickles import read_pickled
from geobridge.model.release import import_weights

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


class CLIPEncoder(torch.nn.Module):
    """As released: a whole CLIP, of which one tower is used."""

    def __init__(self, clip):
        super().__init__()
        self.CLIP = clip


class ReleasedGeoBridge(torch.nn.Module):
    """As released: attribute names decide the keys of the state dict."""

    def __init__(self, make_clip):
        super().__init__()
        self.drone_encoder = CLIPEncoder(make_clip())
        self.satellite_encoder = CLIPEncoder(make_clip())
        self.street_encoder = CLIPEncoder(make_clip())
        self.text_encoder = CLIPEncoder(make_clip())
        self.logit_scale = torch.nn.Parameter(torch.tensor(2.5))


# A training script's classes live in a module of the script's own, not in this test.
_HOME = types.ModuleType("released_model")
for _released in (CLIPEncoder, ReleasedGeoBridge):
    _released.__module__, _released.__qualname__ = "released_model", _released.__name__
    setattr(_HOME, _released.__name__, _released)


@pytest.fixture(scope="module")
def released(zoo):
    def make_clip():
        clip = transformers.CLIPModel.from_pretrained(zoo["clip"])
        with torch.no_grad():
            for weight in clip.parameters():
                weight.add_(torch.randn_like(weight) * 0.02)
        return clip

    torch.manual_seed(0)
    return ReleasedGeoBridge(make_clip).eval()


@pytest.fixture
def save(released, tmp_path, monkeypatch):
    """Save as the release was saved, with its classes importable only meanwhile."""

    def to_file(what=None, name="best_net.pth", **options):
        with monkeypatch.context() as patch, warnings.catch_warnings():
            # The old format wants to store the source of the classes beside them.
            warnings.filterwarnings("ignore", "Couldn't retrieve source code")
            patch.setitem(sys.modules, "released_model", _HOME)
            torch.save(what or released, tmp_path / name, **options)
        return tmp_path / name

    return to_file


def expected_rows(released, view):
    prepare = Preprocess(32, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "squash")
    batch = torch.stack([prepare.prepare(picture) for picture in PICTURES])
    clip = getattr(released, f"{view}_encoder").CLIP
    with torch.inference_mode():
        rows = clip.get_image_features(prepare.normalize(batch)).pooler_output
    return torch.nn.functional.normalize(rows, dim=1).numpy()


@pytest.mark.parametrize("legacy", [False, True])
def test_an_imported_release_embeds_as_the_original(legacy, released, save, zoo, tmp_path):
    path = save(_use_new_zipfile_serialization=not legacy)

    summary = import_weights(path, tmp_path / "out", zoo["clip"])

    model = GeoBridge.load(tmp_path / "out")
    assert model.modalities == ("drone", "street", "satellite", "text")
    assert (model.config.weights, model.dim, summary.reads_text) == ("separate", 48, True)
    assert model.logit_scale.item() == pytest.approx(2.5)
    for view in ("drone", "street", "satellite"):
        rows = model.embed(view, list(PICTURES))
        np.testing.assert_allclose(rows, expected_rows(released, view), atol=1e-5)
    ids = transformers.CLIPTokenizer.from_pretrained(zoo["clip"])("a pier", return_tensors="pt")
    with torch.inference_mode():
        text = released.text_encoder.CLIP.get_text_features(ids.input_ids).pooler_output
    np.testing.assert_allclose(
        model.embed("text", ["a pier"]), torch.nn.functional.normalize(text, dim=1), atol=1e-5
    )


def test_the_class_of_the_release_is_not_needed(save):
    path = save()

    assert "released_model" not in sys.modules
    assert len(read_pickled(path).tensors) > 100


def test_unused_towers_are_dropped_and_counted(released, save, tmp_path):
    state = released.state_dict()
    # What stays: three picture towers, one text tower, the temperature.
    kept = [
        key
        for key in state
        if key == "logit_scale"
        or (key.startswith("text_encoder.CLIP.text_"))
        or (not key.startswith("text_encoder") and ".CLIP.vis" in key)
    ]

    summary = import_weights(save(), tmp_path / "out")

    size = {key: tensor.numel() * 4 / 1e6 for key, tensor in state.items()}
    assert summary.kept_tensors == len(kept)
    assert summary.dropped_tensors == len(state) - len(kept)
    assert summary.kept_mb == pytest.approx(sum(size[key] for key in kept))
    assert summary.dropped_mb == pytest.approx(sum(size.values()) - summary.kept_mb)


@pytest.mark.parametrize("wrap", ["plain", "module.", "state_dict"])
def test_a_state_dict_imports_as_the_module_does(wrap, released, save, tmp_path):
    state = released.state_dict()
    if wrap == "module.":
        state = {f"module.{key}": value for key, value in state.items()}
    if wrap == "state_dict":
        state = {"epoch": 3, "state_dict": state}

    import_weights(save(state), tmp_path / "out")

    rows = GeoBridge.load(tmp_path / "out").embed("street", list(PICTURES))
    np.testing.assert_allclose(rows, expected_rows(released, "street"), atol=1e-5)


def test_attributes_of_the_module_decide_what_shapes_do_not_tell(save, tmp_path):
    settings = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    config = transformers.CLIPConfig(
        vision_config=settings
        | {"num_attention_heads": 4, "hidden_act": "gelu", "image_size": 16, "patch_size": 8},
        text_config=settings | {"num_attention_heads": 2, "vocab_size": 50, "eos_token_id": 2},
        projection_dim=24,
    )
    module = ReleasedGeoBridge(lambda: transformers.CLIPModel(config))

    import_weights(save(module), tmp_path / "out")

    found = GeoBridge.load(tmp_path / "out").config
    assert found.image.config["num_attention_heads"] == 4
    assert found.image.config["hidden_act"] == "gelu"
    assert found.image.config["image_size"] == 16
    assert found.text.config["num_attention_heads"] == 2
    assert found.text.config["eos_token_id"] == 49


def test_half_precision_stays_half_on_disk(released, save, tmp_path):
    state = {key: value.half() for key, value in released.state_dict().items()}

    import_weights(save(state), tmp_path / "out")

    assert GeoBridge.load(tmp_path / "out").config.stored_dtype == "float16"


def test_an_inverse_temperature_may_be_stored_plain(released, save, tmp_path):
    state = released.state_dict() | {"logit_scale": torch.tensor([14.285714])}

    import_weights(save(state), tmp_path / "out")

    log = GeoBridge.load(tmp_path / "out").logit_scale.item()
    assert log == pytest.approx(np.log(14.285714))


def test_the_command_reports_what_it_did(save, tmp_path):
    import typer

    from geobridge.cli.import_release import import_release

    app = typer.Typer()
    app.command()(import_release)

    result = CliRunner().invoke(app, [str(save()), str(tmp_path / "out")])

    assert result.exit_code == 0, result.output
    assert "Dropped" in result.output
    assert "--tokenizer FOLDER" in result.output
    assert (tmp_path / "out" / "model.safetensors").exists()


# ---- what is not the release ------------------------------------------------------------------


def test_another_model_is_refused(save, tmp_path):
    state = {"backbone.conv.weight": torch.zeros(2)}

    with pytest.raises(ModelError, match=r"not laid out .*1 unknown tensors: backbone\.conv"):
        import_weights(save(state), tmp_path / "out")


def test_an_extra_tensor_is_not_dropped_in_silence(released, save, tmp_path):
    state = released.state_dict() | {"drone_encoder.head.weight": torch.zeros(2)}

    with pytest.raises(ModelError, match=r"drone_encoder\.head\.weight"):
        import_weights(save(state), tmp_path / "out")


def test_a_missing_tensor_is_named(released, save, tmp_path):
    state = released.state_dict()
    del state["street_encoder.CLIP.vision_model.post_layernorm.weight"]

    with pytest.raises(ModelError, match=r"1 missing \(trunks\.street.*post_layernorm\.weight\)"):
        import_weights(save(state), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_embedding_is_named(released, save, tmp_path):
    state = released.state_dict()
    del state["drone_encoder.CLIP.vision_model.embeddings.class_embedding"]

    with pytest.raises(ModelError, match=r"lacks the tensor .*class_embedding"):
        import_weights(save(state), tmp_path / "out")


def test_a_file_without_tensors_is_refused(save):
    with pytest.raises(ModelError, match="holds no tensors"):
        read_pickled(save({"epoch": 3}))


def test_a_folder_without_vocabulary_is_refused(save, tmp_path):
    (tmp_path / "empty").mkdir()

    with pytest.raises(ModelError, match="empty"):
        import_weights(save(), tmp_path / "out", tmp_path / "empty")


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x80\x02.", b"PK\x03\x04 no zip"])
def test_a_file_of_something_else_is_refused(content, tmp_path):
    path = tmp_path / "best_net.pth"
    path.write_bytes(content)

    with pytest.raises(ModelError, match=r"best_net\.pth is no file of torch\.save"):
        read_pickled(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        read_pickled(tmp_path / "best_net.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_file_is_refused(legacy, save, tmp_path):
    path = save(_use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[:-5000])

    with pytest.raises(ModelError, match=r"damaged|cut short"):
        import_weights(path, tmp_path / "out")


# ---- files that want to do something ----------------------------------------------------------


class Call:
    """Pickles into a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


RAN = []


def note(*arguments):
    """Stands for the harm: no import may ever get here."""
    RAN.append(arguments)


@pytest.fixture
def hostile(tmp_path):
    """A file in the release's format around any pickle."""

    def write(content):
        path = tmp_path / "best_net.pth"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3")
        return path

    return write


GADGETS = {
    "system": Call(os.system, "touch never"),
    "Popen": Call(subprocess.Popen, ["touch", "never"]),
    "eval": Call(eval, "note()"),
    "exec": Call(exec, "note()"),
    "getattr": Call(getattr, Call(builtins.__import__, "os"), "system"),
    "__import__": Call(builtins.__import__, "os"),
    "open": Call(open, "never", "w"),
    "partial": Call(functools.partial, print, "x"),
    "attrgetter": Call(operator.attrgetter, "__class__"),
    "_reconstructor": Call(copyreg._reconstructor),
    "_rebuild_device_tensor_from_numpy": Call(torch._utils._rebuild_device_tensor_from_numpy),
    "load": Call(torch.load, "other.pth"),
    "Linear": Call(torch.nn.Linear, 2, 2),
    "from_pretrained": Call(transformers.AutoModel.from_pretrained, "owner/model"),
    "SimpleNamespace": Call(types.SimpleNamespace),
}


@pytest.mark.parametrize("name", GADGETS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_call_is_refused_and_named(name, protocol, hostile):
    path = hostile(pickle.dumps({"logit_scale": GADGETS[name]}, protocol))

    with pytest.raises(ModelError, match=r"best_net\.pth wants to call .*do not trust") as caught:
        read_pickled(path)
    # A bound method is pickled as getattr(its owner, its name).
    expected = "getattr" if name == "from_pretrained" else name
    assert f".{expected}," in str(caught.value)


def test_a_function_of_an_installed_package_is_not_reached(hostile, monkeypatch):
    home = types.ModuleType("evil_package")
    note.__module__, home.note = "evil_package", note
    monkeypatch.setitem(sys.modules, "evil_package", home)

    with pytest.raises(ModelError, match=r"wants to call evil_package\.note"):
        read_pickled(hostile(pickle.dumps(Call(note, "harm"), 2)))
    assert RAN == []


def test_a_dotted_name_reaches_no_attribute(hostile):
    # Protocol 4 lets a pickle name "system" inside "os" inside some harmless module.
    for module, name in (("torch._utils", "os.system"), ("collections", "OrderedDict.fromkeys")):
        content = pickle.PROTO + b"\x04"
        for word in (module, name):
            content += pickle.SHORT_BINUNICODE + bytes([len(word)]) + word.encode()
        content += pickle.STACK_GLOBAL + pickle.MARK + pickle.TUPLE + pickle.REDUCE + pickle.STOP

        with pytest.raises(ModelError, match=f"wants to call {module}.{name}"):
            read_pickled(hostile(content))


def test_a_class_made_without_calling_it_stays_inert(hostile):
    # NEWOBJ and INST make instances without REDUCE; nothing of the class may run.
    content = b"cevil\nThing\n)\x81}X\x01\x00\x00\x00aK\x01sb."
    with pytest.raises(ModelError, match="holds no tensors"):
        read_pickled(hostile(content))
    with pytest.raises(ModelError, match=r"wants to call os\.system"):
        read_pickled(hostile(b"(S'touch /tmp/never'\nios\nsystem\n."))


@pytest.mark.parametrize(
    "target",
    [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"cbuiltins\nset\n"],
)
def test_the_reader_itself_cannot_be_changed(target, hostile):
    state = b"}X\x09\x00\x00\x00_functionK\x01s"
    with pytest.raises(ModelError, match="damaged"):
        read_pickled(hostile(target + state + b"b."))
    slots = b"N" + state + b"\x86"
    with pytest.raises(ModelError, match="damaged"):
        read_pickled(hostile(target + slots + b"b."))


def test_an_extension_code_reaches_nothing(hostile):
    with pytest.raises(ModelError, match="damaged"):
        read_pickled(hostile(pickle.PROTO + b"\x02" + pickle.EXT1 + b"\x01."))


@pytest.mark.parametrize(
    ("numel", "offset", "shape", "stride"),
    [
        (4, 0, (5,), (1,)),
        (4, 2, (3,), (1,)),
        (4, 0, (2, 2), (3, 1)),
        (4, 0, (10**12,), (0,)),
        (4, -1, (1,), (1,)),
        (4, 0, (-1,), (1,)),
        (4, 0, (2,), (1, 1)),
        (4, 0, (1.5,), (1,)),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(numel, offset, shape, stride, hostile):
    class Forged(pickle.Pickler):
        def persistent_id(self, thing):
            return ("storage", torch.FloatStorage, "0", "cpu", numel) if thing == "here" else None

    buffer = io.BytesIO()
    arguments = ("here", offset, shape, stride, False, collections.OrderedDict())
    Forged(buffer, 2).dump({"logit_scale": Call(torch._utils._rebuild_tensor_v2, *arguments)})

    with pytest.raises(ModelError, match="damaged"):
        read_pickled(hostile(buffer.getvalue()))


@pytest.mark.parametrize("key", ["../../secret", "a/b", ""])
def test_a_storage_key_is_no_path(key, hostile):
    class Forged(pickle.Pickler):
        def persistent_id(self, thing):
            return ("storage", torch.FloatStorage, key, "cpu", 1) if thing == "here" else None

    buffer = io.BytesIO()
    Forged(buffer, 2).dump("here")

    with pytest.raises(ModelError, match="a storage that cannot be read"):
        read_pickled(hostile(buffer.getvalue()))


def test_a_compressed_file_is_refused(save, tmp_path):
    path = save()
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))

    with pytest.raises(ModelError, match="a compressed zip file"):
        read_pickled(tmp_path / "bomb.pth")


def test_a_file_that_refers_to_itself_ends(hostile):
    loop = {}
    loop["again"] = loop
    with pytest.raises(ModelError, match="holds no tensors"):
        read_pickled(hostile(pickle.dumps(loop, 2)))

    doubling = {"a": 1}
    for _ in range(40):
        doubling = {"a": doubling, "b": doubling}
    with pytest.raises(ModelError, match="more parts than any model has"):
        read_pickled(hostile(pickle.dumps(doubling, 2)))


def test_a_negative_length_in_the_old_format_is_refused(save):
    path = save({"logit_scale": torch.zeros(3)}, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    length = struct.pack("<q", 3)
    assert content.count(length) == 1
    path.write_bytes(content.replace(length, struct.pack("<q", -3)))

    with pytest.raises(ModelError, match="negative length"):
        read_pickled(path)
