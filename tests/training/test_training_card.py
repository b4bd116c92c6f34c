"""A model card says what it was given and what the checkpoint holds, and nothing else."""

import re
from dataclasses import replace

import pytest
import torch

from geobridge.errors import ModelError, TrainingError
from geobridge.model.config import read_config
from geobridge.training.card import CardFacts, SetFacts, describe_hardware, write_model_card

FACTS = CardFacts(
    start="preset mini, drawn weights",
    parameters=12345,
    sets=[
        SetFacts("planet", "training", 3072, ["drone", "satellite", "text"], "CC0"),
        SetFacts("towns", "validation", 40, ["drone", "satellite"]),
        SetFacts("santa | monica", "held out", 12, ["satellite"], "split test,\nnever read"),
        SetFacts("world", "training", None, ["drone"]),
    ],
    configuration="seed: 0\nfit:\n  steps: 4000\n",
    hardware="on 2 CPU threads (x86_64), torch 2.13",
    minutes=55.04,
    steps=4000,
    best_step=3800,
    recall={"D2S": 0.625, "S2D": 0.5},
    gallery={"D2S": 40, "S2D": 160.0},
    limits=["Snow was never seen."],
    licence="Apache-2.0",
)


@pytest.fixture
def folder(one_eyed, tmp_path):
    one_eyed.save(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_a_card_says_what_the_checkpoint_is(folder):
    text = write_model_card(folder, FACTS).read_text()
    bytes_held = sum(
        (folder / name).stat().st_size
        for name in ("config.json", "model.safetensors", "tokenizer.json")
    )

    assert text.startswith(
        "# one-eyed\n\nA GeoBridge model: it embeds drone, street, satellite and text into one "
        "space of 32 dimensions"
    )
    assert f"- size: {bytes_held / 1e6:.1f} MB, weights in float32\n" in text
    assert "- parameters: 12,345\n" in text
    assert "- towers: resnet for pictures, clip for text\n" in text
    assert "- started from: preset mini, drawn weights\n" in text
    assert "| street | 64 x 16 pixels |\n" in text  # width x height
    assert "| text | up to 24 tokens |\n" in text


def test_a_card_says_on_what_it_was_trained(folder):
    text = write_model_card(folder, FACTS).read_text()

    assert "| planet | training | 3,072 | drone, satellite, text | CC0 |\n" in text
    assert "| towns | validation | 40 | drone, satellite |  |\n" in text
    # A cell stays one cell.
    assert "| santa \\| monica | held out | 12 | satellite | split test, never read |\n" in text
    assert "| world | training | drawn without end | drone |  |\n" in text
    assert "Places held out were read neither to train nor to choose" in text
    assert "4,000 steps in 55.0 minutes on 2 CPU threads (x86_64), torch 2.13." in text
    assert "those after step 3,800, the best on validation" in text
    assert "```yaml\nseed: 0\nfit:\n  steps: 4000\n```\n" in text


def test_a_card_says_how_good_it_is_beside_chance(folder):
    text = write_model_card(folder, FACTS).read_text()

    assert "on validation (towns)" in text
    assert "| D2S | drone to satellite | 62.5% | 2.5% | 40 |\n" in text
    assert "| S2D | satellite to drone | 50.0% | 0.6% | 160 |\n" in text
    assert "These places chose the weights" in text


def test_a_card_says_its_limits_and_licence(folder):
    text = write_model_card(folder, FACTS).read_text()

    assert "- Snow was never seen.\n" in text
    assert "- No figure above says how well it embeds street and text.\n" in text
    assert "## Licence\n\nApache-2.0\n" in text


def test_what_is_not_known_is_not_claimed(folder):
    bare = replace(
        FACTS, sets=FACTS.sets[:1], best_step=None, recall={}, gallery={}, limits=[], licence=None
    )

    text = write_model_card(folder, bare).read_text()

    assert "Nothing is known to have been held out." in text
    assert "after the last step: no validation set chose" in text
    assert "Nothing was measured while training." in text
    assert "embeds drone, street, satellite and text." in text
    assert "Not stated by whoever trained these weights" in text
    assert "chance" not in text


def test_its_lines_for_use_work(folder, monkeypatch, town_picture):
    from PIL import Image

    text = write_model_card(folder, FACTS).read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    monkeypatch.chdir(folder.parent)
    Image.fromarray(town_picture).save("photo.jpg")
    names = {}

    exec(code, names)  # noqa: S102 - what a reader would do

    assert names["rows"].shape == (1, 32)
    assert "(1, 32), unit norm" in code


def test_a_card_is_replaced_and_stays_when_the_model_is_saved_again(folder, one_eyed):
    write_model_card(folder, replace(FACTS, parameters=1))
    write_model_card(folder, FACTS)
    one_eyed.save(folder)

    assert "- parameters: 12,345\n" in (folder / "README.md").read_text()
    assert read_config(folder / "config.json").name == "one-eyed"


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"config.json cannot be read"):
        write_model_card(tmp_path, FACTS)


def test_a_card_that_cannot_be_written_is_said(folder):
    (folder / "README.md").mkdir()

    with pytest.raises(TrainingError, match=r"README.md cannot be written \(Is a directory\)"):
        write_model_card(folder, FACTS)


def test_hardware_in_words(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    monkeypatch.setattr(torch, "__version__", "2.13")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")

    assert describe_hardware(torch.device("cpu"), 1) == "on 2 CPU threads (x86_64), torch 2.13"
    assert (
        describe_hardware(torch.device("cuda:0"), 8)
        == "8 processes, each on GPU of cuda:0, torch 2.13"
    )
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert describe_hardware(torch.device("cpu"), 1) == "on 1 CPU thread (x86_64), torch 2.13"
