import csv
import io
import itertools
import json
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from training_stage import SENTENCES, tiny_run, write_table

from geobridge.errors import ImageError, TrainingError
from geobridge.model.geobridge import GeoBridge
from geobridge.training import checkpoints
from geobridge.training import fit as fit_module
from geobridge.training.checkpoints import load_state
from geobridge.training.fit import fit
from geobridge.training.logs import read_table
from geobridge.training.setup import start_model
from geobridge.training.validation import Validation

# A worker is forked while other tests' lance is loaded; it reads no gallery.
pytestmark = pytest.mark.filterwarnings("ignore:lance is not fork-safe")

HERE = Path(__file__).parent


def weights(run, name="checkpoint"):
    return load_file(run / name / "model.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def largest_difference(first, second):
    return max(float((first[k] - second[k]).abs().max()) for k in first)


def test_a_run_leaves_everything_in_its_folder(tiny_config, tmp_path):
    config = tiny_config(fit={"log_steps": 1})

    model = fit(config, tmp_path / "run")

    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == {
        "cache", "checkpoint", "config.yaml", "curves.png", "last", "metrics.csv", "state.ckpt",
        "tensorboard", "validation.csv",
    }  # fmt: skip
    assert model.name == "tiny"
    assert GeoBridge.load(run / "checkpoint").fingerprint == model.fingerprint
    rows = read_table(run / "metrics.csv")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    # The loss is the mean of the image edges plus the mean of the text edges.
    for row in rows:
        assert row["loss"] == pytest.approx(row["image"] + row["text"], rel=1e-5)
        assert 0 <= row["waiting"] <= 1
    assert [row["step"] for row in read_table(run / "validation.csv")] == [2, 4]
    card = (run / "checkpoint" / "README.md").read_text(encoding="utf-8")
    assert "tiny" in card
    assert "D2S" in card
    provenance = json.loads((run / "last" / "config.json").read_text())["provenance"]
    assert provenance["training"]["fit"]["steps"] == 4
    assert provenance["steps"] == 4


@pytest.mark.parametrize("length", [{"steps": 3}, {"steps": None, "minutes": 1e-9}])
def test_the_last_step_of_a_run_is_in_its_log(tiny_config, tmp_path, length):
    fit(tiny_config(fit=length), tmp_path / "run")  # a row for every tenth step

    steps = load_state(tmp_path / "run" / "state.ckpt")["global_step"]
    assert [row["step"] for row in read_table(tmp_path / "run" / "metrics.csv")] == [1, steps][
        steps == 1 :
    ]


def test_learning_happens_and_frozen_towers_stay(tiny_config, tmp_path):
    config = tiny_config(fit={"steps": 2}, parameters={"freeze": ["text"]})
    before = fit_module.start_model(config, ["a stadium by a river"]).state_dict()

    fit(config, tmp_path / "run")

    after = weights(tmp_path / "run", "last")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("trunks") for name in changed)
    assert not any(name.startswith("text.trunk") for name in changed)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from training_stage import tiny_run
from geobridge.training import fit as module

step = module.FitModule.training_step
def training_step(self, count):
    if self.trainer.global_step == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, count)
module.FitModule.training_step = training_step
module.fit(tiny_run(Path({places!r}), **{changes!r}), {run!r})
"""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "negatives": {"kind": "mined", "starts": 0.0, "full": 0.0, "nearest": 4},
            "parameters": {"lora": {"rank": 2, "dropout": 0.3}},
            "fit": {"ema": 0.9, "chunk": 3, "workers": 1},
        },
        {"fit": {"standardize": True, "precision": "bf16-mixed"}, "objective": {"loss": "sigmoid"}},
    ],
    ids=["plain", "mined-lora-ema-chunks-worker", "standardized-bf16-sigmoid"],
)
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tiny_config, tiny_places, tmp_path, changes
):
    # An epoch of twelve places is three steps: step 4 is in the middle of the second.
    changes = changes | {"fit": {"steps": 7, "log_steps": 1, **changes.get("fit", {})}}
    script = textwrap.dedent(KILLED).format(
        here=str(HERE), places=str(tiny_places), changes=changes, run=str(tmp_path / "killed")
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert load_state(tmp_path / "killed" / "state.ckpt")["global_step"] == 4

    fit(tiny_config(**changes), tmp_path / "killed")
    fit(tiny_config(**changes), tmp_path / "whole")

    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    assert same(weights(tmp_path / "killed", "last"), weights(tmp_path / "whole", "last"))
    for table in ("metrics.csv", "validation.csv"):
        first, second = (read_table(tmp_path / run / table) for run in ("killed", "whole"))
        timed = {"minutes", "waiting", "mining"}
        assert [{k: v for k, v in row.items() if k not in timed} for row in first] == [
            {k: v for k, v in row.items() if k not in timed} for row in second
        ]


ALONE = (0, 1, 2, 3, 4, 5)
"""Places that keep one picture and nothing beside it."""


def lonely_table(places, folder):
    """A table of the twelve places that train, of which half have a satellite picture alone."""
    rows = [
        {view: places / view / f"p{number:02}.jpg" for view in views}
        for number in range(12)
        for views in [("satellite",) if number in ALONE else ("drone", "satellite")]
        if number not in (2, 3)  # which lack one of the two
    ]
    return write_table(folder / "table.csv", rows)


def test_batches_without_an_edge_are_counted_and_change_nothing(tiny_places, tmp_path, monkeypatch):
    table = lonely_table(tiny_places, tmp_path)
    changes = {
        "model": {"settings": {"text": None}},
        "data": {"train": [{"table": str(table), "per_batch": 2}], "validation": []},
        "fit": {"steps": 10, "log_steps": 1, "ema": 0.9, "validate_steps": 100},
    }
    seen = []
    gradients = fit_module.FitModule._gradients

    def watched(self, batch, terms):
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        loss = gradients(self, batch, terms)
        pairs = int((batch.present("drone") & batch.present("satellite")).sum())
        seen.append((pairs, loss is None, before))
        return loss

    monkeypatch.setattr(fit_module.FitModule, "_gradients", watched)
    screen = io.StringIO()
    fit(tiny_run(tiny_places, **changes), tmp_path / "whole", Console(file=screen, width=200))

    idle = [pairs < 2 for pairs, _, _ in seen]
    assert [nothing for _, nothing, _ in seen] == idle
    assert 0 < sum(idle) < 10
    # Weights after an idle step are those before it; after another they differ.
    changed = [not same(seen[i][2], seen[i + 1][2]) for i in range(9)]
    assert changed == [not one for one in idle[:9]]
    rows = read_table(tmp_path / "whole" / "metrics.csv")
    assert [row["idle"] for row in rows] == list(itertools.accumulate(idle))
    assert [("loss" not in row) for row in rows] == idle
    assert f"{sum(idle)} of 10 steps taught nothing" in screen.getvalue()

    # Stopped behind its first idle step and resumed, it is the same run.
    def stopped(self, batch, terms):
        if self.trainer.global_step == idle.index(True) + 1:
            raise TrainingError("that was enough.")
        return gradients(self, batch, terms)

    monkeypatch.setattr(fit_module.FitModule, "_gradients", stopped)
    with pytest.raises(TrainingError, match="that was enough"):
        fit(tiny_run(tiny_places, **changes), tmp_path / "parts")
    monkeypatch.setattr(fit_module.FitModule, "_gradients", gradients)
    fit(tiny_run(tiny_places, **changes), tmp_path / "parts")
    assert same(weights(tmp_path / "parts", "last"), weights(tmp_path / "whole", "last"))
    assert [row["idle"] for row in read_table(tmp_path / "parts" / "metrics.csv")] == [
        row["idle"] for row in rows
    ]


def test_a_run_that_learns_nothing_at_all_says_so(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_module, "teaching_edges", lambda *_: ())

    for _ in range(2):  # and when it is asked again
        with pytest.raises(TrainingError, match="any of the 2 batches, so that nothing was learn"):
            fit(tiny_config(fit={"steps": 2}), tmp_path / "run")


def test_a_trained_model_mines_before_its_first_step(tiny_config, tmp_path, monkeypatch):
    mined = []
    mine = fit_module.FitModule._told_mining

    def told(self, step, name):
        mined.append(step)
        return mine(self, step, name)

    monkeypatch.setattr(fit_module.FitModule, "_told_mining", told)
    hard = {"kind": "mined", "starts": 0.0, "full": 0.0, "nearest": 4}
    fit(tiny_config(negatives=hard), tmp_path / "drawn")
    assert mined == [3]  # an epoch is three steps

    mined.clear()
    screen = io.StringIO()
    # The stage's settings of the model are those of the checkpoint already.
    trained = {"preset": None, "init": str(tmp_path / "drawn" / "checkpoint")}
    config = tiny_config(negatives=hard, model=trained, fit={"log_steps": 1})
    fit(config, tmp_path / "trained", Console(file=screen, width=200))

    assert mined == [0, 3]
    assert "step 0: hard places of" in screen.getvalue()
    rows = read_table(tmp_path / "trained" / "metrics.csv")
    assert [row["mining"] > 0 for row in rows] == [True, False, False, True]


def test_a_finished_run_is_not_repeated_and_may_be_made_longer(tiny_config, tmp_path):
    first = fit(tiny_config(fit={"steps": 2}), tmp_path / "run")
    written = (tmp_path / "run" / "state.ckpt").stat().st_mtime_ns

    again = fit(tiny_config(fit={"steps": 2}), tmp_path / "run")
    assert again.fingerprint == first.fingerprint
    assert (tmp_path / "run" / "state.ckpt").stat().st_mtime_ns == written

    fit(tiny_config(fit={"steps": 3}), tmp_path / "run")
    assert load_state(tmp_path / "run" / "state.ckpt")["global_step"] == 3


def test_a_run_remembers_what_it_began_with_and_says_when_that_is_another_model_by_now(
    tiny_config, tmp_path
):
    began = fit(tiny_config(fit={"steps": 1}), tmp_path / "first")
    start = tmp_path / "start"
    began.save(start)
    going_on = {"preset": None, "init": str(start)}

    def run(steps):
        screen = io.StringIO()
        config = tiny_config(model=going_on, fit={"steps": steps})
        trained = fit(config, tmp_path / "run", Console(file=screen, width=400))
        return trained.config.provenance["began_with"], screen.getvalue()

    assert run(1)[0] == began.fingerprint
    other = fit(tiny_config(seed=1, fit={"steps": 1}), tmp_path / "second")
    other.save(start)

    for steps in (1, 2):  # finished, and made longer
        origin, said = run(steps)
        assert origin == began.fingerprint
        assert f"began with {start} {began.fingerprint}, and {start} is {other.fingerprint}" in said


def test_a_run_does_not_go_on_where_its_start_is_built_otherwise_by_now(tiny_config, tmp_path):
    start = tmp_path / "start"
    start_model(tiny_config(), SENTENCES).save(start)
    going_on = tiny_config(model={"preset": None, "init": str(start)}, fit={"steps": 1})
    fit(going_on, tmp_path / "run")
    wider = tiny_config(model={"settings": {"weights": "aerial"}})
    start_model(wider, SENTENCES).save(start)

    with pytest.raises(TrainingError, match="whose settings or vocabulary are others by now"):
        fit(going_on, tmp_path / "run")


def test_a_run_is_not_continued_with_another_configuration(tiny_config, tmp_path):
    fit(tiny_config(fit={"steps": 1}), tmp_path / "run")

    with pytest.raises(TrainingError, match=r'objective\.anchors is "both" and not "none"'):
        fit(tiny_config(fit={"steps": 2}, objective={"anchors": "none"}), tmp_path / "run")


def test_a_folder_of_other_things_is_left_alone(tiny_config, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")

    with pytest.raises(TrainingError, match="holds files that are no run's"):
        fit(tiny_config(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(
    tiny_config, tmp_path, monkeypatch
):
    objective, calls = fit_module.anchor_objective, []

    def spoilt(*arguments):
        loss, terms = objective(*arguments)
        calls.append(loss)
        return (loss * float("nan") if len(calls) == 3 else loss), terms

    monkeypatch.setattr(fit_module, "anchor_objective", spoilt)
    with pytest.raises(TrainingError, match=r"is nan at step 2 \(batch of 4 places: p\d\d, "):
        fit(tiny_config(), tmp_path / "run")

    assert load_state(tmp_path / "run" / "state.ckpt")["global_step"] == 2
    monkeypatch.setattr(fit_module, "anchor_objective", objective)
    read, load = [], checkpoints.load_state
    monkeypatch.setattr(checkpoints, "load_state", lambda *given: read.append(1) or load(*given))
    fit(tiny_config(), tmp_path / "run")
    assert len(read) == 1  # what it goes on from
    fit(tiny_config(), tmp_path / "whole")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_the_best_checkpoint_is_chosen_on_the_validation_set(tiny_config, tmp_path, monkeypatch):
    scores = iter([0.2, 0.7, 0.4])

    def validate(_model, _sources):
        return Validation({"D2S": next(scores)}, {"D2S": 4.0})

    monkeypatch.setattr(fit_module, "validate", validate)
    fit(tiny_config(fit={"steps": 6}), tmp_path / "run")

    state = load_state(tmp_path / "run" / "state.ckpt")
    keeper = next(value for key, value in state["callbacks"].items() if "Keeper" in key)
    assert (keeper["best"], keeper["best_step"]) == (0.7, 4)
    assert not same(weights(tmp_path / "run"), weights(tmp_path / "run", "last"))


def test_without_a_validation_set_the_last_weights_are_the_checkpoint(tiny_config, tmp_path):
    fit(tiny_config(data={"validation": []}), tmp_path / "run")

    assert same(weights(tmp_path / "run"), weights(tmp_path / "run", "last"))


def test_gradient_caching_trains_as_the_whole_batch_does(tiny_config, tmp_path):
    fit(tiny_config(fit={"steps": 3, "chunk": 1}), tmp_path / "parts")
    fit(tiny_config(fit={"steps": 3}), tmp_path / "whole")

    assert largest_difference(
        weights(tmp_path / "parts", "last"), weights(tmp_path / "whole", "last")
    ) == pytest.approx(0, abs=2e-4)


def test_a_run_by_the_clock_ends(tiny_config, tmp_path):
    fit(tiny_config(fit={"steps": None, "minutes": 0.01}), tmp_path / "run")

    state = load_state(tmp_path / "run" / "state.ckpt")
    assert state["fit"]["used_s"] >= 0.6
    with (tmp_path / "run" / "validation.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert int(float(last["step"])) == state["global_step"]


def test_a_picture_that_vanishes_stops_the_run_which_goes_on_when_it_is_back(
    tiny_places, tmp_path, monkeypatch
):
    places = tmp_path / "places"
    shutil.copytree(tiny_places, places)
    changes = {
        "data": {
            "train": [{"places": str(places), "split": "train", "per_batch": 4, "cache": False}]
        }
    }
    step = fit_module.FitModule.training_step

    def vanish(self, count):
        if self.trainer.global_step == 2:
            (places / "drone").rename(places / "gone")
        return step(self, count)

    monkeypatch.setattr(fit_module.FitModule, "training_step", vanish)
    with pytest.raises(ImageError, match=r"drone/p\d\d.jpg does not exist"):
        fit(tiny_run(places, **changes), tmp_path / "run")
    assert load_state(tmp_path / "run" / "state.ckpt")["global_step"] == 2

    monkeypatch.undo()
    (places / "gone").rename(places / "drone")
    fit(tiny_run(places, **changes), tmp_path / "run")
    assert load_state(tmp_path / "run" / "state.ckpt")["global_step"] == 4


def test_a_batch_too_small_for_the_loss_is_a_sentence(tiny_places, tmp_path):
    one = {"places": str(tiny_places), "split": "train", "per_batch": 1}
    with pytest.raises(TrainingError, match="batch"):
        fit(tiny_run(tiny_places, data={"train": [one]}), tmp_path / "run")


def test_lora_leaves_a_plain_checkpoint(tiny_config, tmp_path):
    config = tiny_config(parameters={"lora": {"rank": 2}}, fit={"steps": 2})

    model = fit(config, tmp_path / "run")

    assert not any("lora" in name for name in weights(tmp_path / "run"))
    assert model.embed("text", ["a field and a pond"]).shape == (1, 8)
