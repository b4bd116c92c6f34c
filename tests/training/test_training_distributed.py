import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import joint_runs
import pytest
import torch
from training_stage import tiny_settings

from geobridge.errors import TrainingError
from geobridge.model.geobridge import GeoBridge
from geobridge.training.config import FitSettings, merge_settings, parse_train_config
from geobridge.training.fit import fit
from geobridge.training.processes import Shards, check_devices, choose_strategy, process_place
from geobridge.training.setup import start_model

SCRIPT = Path(__file__).with_name("joint_runs.py")
TWO = {"devices": 2, "steps": 4, "log_steps": 1}
DIVIDED = TWO | {"strategy": "fsdp"}
# Three batches of four hold all twelve places, so that the fourth is the first to be mined.
MINED = {"negatives": {"kind": "mined", "starts": 0.5, "full": 0.5}}
# What is exact alone must be so together: adapters with dropout, in parts, computed again.
ADAPTED = {
    "fit": DIVIDED | {"chunk": 1},
    "parameters": {"lora": {"rank": 2, "dropout": 0.3}, "gradient_checkpointing": True},
    "objective": {"loss": "sigmoid", "label_smoothing": 0.1, "text_soft_targets": 0.5},
}
RUNS = {
    "ddp": {"fit": TWO},
    "ddp_resumed": {"fit": TWO},
    "fsdp": {"fit": DIVIDED},
    "parts": {"fit": DIVIDED | {"chunk": 1}, **MINED},
    "parts_resumed": {"fit": DIVIDED | {"chunk": 1}, **MINED},
    "adapted": ADAPTED,
    "adapted_resumed": ADAPTED,
    "mute": {"fit": DIVIDED, "objective": {"anchors": "none"}},
    "minutes": {"fit": {"devices": 2, "steps": None, "minutes": 0.02, "standardize": True}},
    "blind": {"fit": TWO},
    "stopped": {"fit": TWO},
}


def write_run(folder, places, name, changes, per_batch):
    """A configuration of the stage, changed."""
    settings = merge_settings(tiny_settings(places), changes)
    settings["data"]["train"][0]["per_batch"] = per_batch
    path = folder / f"{name}.json"
    path.write_text(json.dumps(settings))
    return path


def environment():
    """Of a process that nobody has started yet."""
    told = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"}
    rest = {key: value for key, value in os.environ.items() if key not in told}
    return rest | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module")
def together(tmp_path_factory, tiny_places):
    """By run, what the first and the second process saw of it, and the folder of all runs."""
    out = tmp_path_factory.mktemp("together")
    runs = [write_run(out, tiny_places, name, changes, 2) for name, changes in RUNS.items()]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(SCRIPT), str(out), *map(str, runs)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    seen = {
        name: [torch.load(out / f"{name}.{rank}", weights_only=True) for rank in (0, 1)]
        for name in RUNS
    }
    return seen, out


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_places):
    """What one process sees that trains with the joint batch."""
    out = tmp_path_factory.mktemp("alone")
    path = write_run(out, tiny_places, "alone", {"fit": {"steps": 4, "log_steps": 1}}, 4)
    with pytest.MonkeyPatch.context() as patch:
        return joint_runs.Watcher(out / "none", patch.setattr).run(path)


@pytest.mark.parametrize("run", ["ddp", "fsdp", "parts"])
def test_two_processes_have_the_loss_and_gradient_of_one_with_the_joint_batch(together, alone, run):
    largest = max(float(gradient.abs().max()) for gradient in alone["gradients"].values())

    for seen in together[0][run]:
        torch.testing.assert_close(seen["loss"], alone["loss"], rtol=1e-5, atol=0)
        assert seen["gradients"].keys() == alone["gradients"].keys()
        for name, expected in alone["gradients"].items():
            found = seen["gradients"][name]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * largest, msg=name)
    assert largest > 1e-2


@pytest.mark.parametrize("run", ["ddp", "fsdp"])
def test_two_processes_end_with_the_weights_of_one_with_the_joint_batch(together, alone, run):
    first = together[0][run][0]

    assert first["steps"] == alone["steps"] == 4
    # AdamW makes a step of the same size of a gradient near zero, so that rounding is enlarged:
    # four steps of up to 0.001 each may differ by a tenth of one.
    for name, expected in alone["weights"].items():
        torch.testing.assert_close(first["weights"][name], expected, rtol=0, atol=5e-4, msg=name)


@pytest.mark.parametrize("run", [name for name in RUNS if name not in ("blind", "stopped")])
def test_all_processes_end_with_the_same_weights(together, run):
    first, second = together[0][run]

    assert first["weights"].keys() == second["weights"].keys()
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), name


def test_blocks_are_divided_and_the_rest_is_whole(together):
    divided = set(together[0]["fsdp"][0]["divided"])

    assert together[0]["ddp"][0]["divided"] == []
    assert any(".encoder.stages." in name for name in divided)
    assert any(name.startswith("model.text.trunk.text_model.encoder.") for name in divided)
    assert not any(".heads." in name or "projection" in name for name in divided)


def test_a_divided_tower_that_no_edge_teaches_stays_as_it_was(together):
    taught = together[0]["mute"][0]["gradients"]

    # A gradient of zero would be no gradient: weight decay would shrink the tower.
    assert any(name.startswith("model.trunks.") for name in taught)
    assert not [name for name in taught if name.startswith("model.text.")]


@pytest.mark.parametrize("run", ["ddp", "parts", "adapted"])
def test_a_resumed_run_ends_with_the_weights_of_the_uninterrupted_one(together, run):
    whole, resumed = together[0][run][0], together[0][f"{run}_resumed"][0]

    assert resumed["steps"] == whole["steps"]
    for name, weight in whole["weights"].items():
        torch.testing.assert_close(resumed["weights"][name], weight, rtol=0, atol=0, msg=name)


def test_minutes_end_at_the_same_step_and_by_one_clock(together):
    first, second = together[0]["minutes"]

    assert first["steps"] == second["steps"] >= 1
    assert first["used_s"] == second["used_s"] >= 60 * 0.02


def test_a_loss_that_is_not_finite_stops_all_processes(together):
    for seen in together[0]["blind"]:
        assert "at step 0" in seen["error"]
        assert "nan" in seen["error"]


def test_who_is_left_alone_says_that_another_process_has_ended(together):
    first, second = together[0]["stopped"]

    assert second["error"] == "a picture has vanished."
    assert "another process of this run has ended" in first["error"]


@pytest.mark.parametrize("run", ["ddp", "fsdp", "parts_resumed"])
def test_what_is_saved_is_whole_and_written_once(together, run):
    seen, out = together
    model = GeoBridge.load(out / run / "last")
    with (out / run / "metrics.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]

    for name, weight in model.named_parameters():
        assert torch.equal(weight, seen[run][0]["weights"][f"model.{name}"]), name
    assert steps == [1, 2, 3, 4]
    assert (out / run / "checkpoint" / "README.md").exists()


def test_without_torchrun_the_first_process_starts_the_others(tmp_path, tiny_places):
    config = write_run(tmp_path, tiny_places, "started", {"fit": TWO | {"steps": 2}}, 2)
    command = [sys.executable, "-m", "geobridge.cli.app", "train", str(config)]
    command += ["--out", str(tmp_path / "run")]

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=environment(), check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("checkpoint:") == 1
    assert done.stderr.count("step 2") == 1
    state = torch.load(tmp_path / "run" / "state.ckpt", weights_only=True)
    assert state["global_step"] == 2


# ---- who this process is -------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch):
    """A function that lets the environment be that of a process someone has started."""
    for key in list(os.environ):
        if key.startswith(("SLURM_", "MASTER_")) or key in ("RANK", "LOCAL_RANK", "WORLD_SIZE",
                                                            "NODE_RANK", "GROUP_RANK"):  # fmt: skip
            monkeypatch.delenv(key)

    def start(**told):
        for key, value in told.items():
            monkeypatch.setenv(key, str(value))

    return start


def asked(devices=1, nodes=1, strategy="auto"):
    return FitSettings(steps=1, devices=devices, nodes=nodes, strategy=strategy)


def test_torchrun_says_the_rank(started):
    started(RANK=5, LOCAL_RANK=1, WORLD_SIZE=8, GROUP_RANK=1)

    assert process_place(asked(devices=4, nodes=2)) == (5, 8)


def test_slurm_says_the_rank(started):
    started(SLURM_PROCID=5, SLURM_NTASKS=8, SLURM_NTASKS_PER_NODE=4, SLURM_NNODES=2)

    assert process_place(asked(devices=4, nodes=2)) == (5, 8)


def test_torchrun_within_slurm_has_the_last_word(started):
    started(SLURM_PROCID=1, SLURM_NTASKS=2, SLURM_NTASKS_PER_NODE=1, SLURM_NNODES=2)
    started(RANK=7, LOCAL_RANK=3, WORLD_SIZE=8)

    assert process_place(asked(devices=4, nodes=2)) == (7, 8)


def test_a_shell_within_slurm_is_no_task(started):
    started(SLURM_PROCID=0, SLURM_NTASKS=4, SLURM_JOB_NAME="bash")

    assert process_place(asked()) == (0, 1)


def test_the_first_process_of_a_machine_is_told_nothing(started):
    started()
    assert process_place(asked()) == (0, 1)
    assert process_place(asked(devices=2)) == (0, 2)


def test_processes_started_by_the_first_one_know_their_number(started):
    started(NODE_RANK=0, LOCAL_RANK=1, MASTER_ADDR="127.0.0.1", MASTER_PORT=1, WORLD_SIZE=2)

    assert process_place(asked(devices=2)) == (1, 2)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2}, "torchrun has started 2 processes"),
        ({"SLURM_PROCID": 0, "SLURM_NTASKS": 1, "SLURM_NTASKS_PER_NODE": 1},
         "SLURM has started 1 processes"),
        ({"SLURM_PROCID": 0, "SLURM_NTASKS": 4}, "--ntasks-per-node"),
        ({"SLURM_PROCID": 0, "SLURM_NTASKS": 4, "SLURM_NTASKS_PER_NODE": 1, "SLURM_NNODES": 4},
         "SLURM has spread 4 processes otherwise"),
        ({}, "torchrun or SLURM's srun"),
    ],
)  # fmt: skip
def test_another_number_of_processes_than_asked_for_is_refused(started, told, words):
    started(**told)

    with pytest.raises(TrainingError, match=words):
        process_place(asked(devices=2, nodes=2))


def test_one_process_needs_nothing_that_joins(started):
    started()

    assert choose_strategy(asked()) == "auto"
    assert type(choose_strategy(asked(devices=2))).__name__ == "JointStrategy"
    assert type(choose_strategy(asked(devices=2, strategy="fsdp"))).__name__ == "ShardedStrategy"


def test_gpus_that_are_not_there_are_refused_before_anything_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    gone = parse_train_config(
        tiny_settings(tmp_path / "gone") | {"fit": {"steps": 1, "accelerator": "gpu"}}, "the test"
    )

    with pytest.raises(TrainingError, match="torch finds none on this machine: set"):
        fit(gone, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    check_devices(FitSettings(steps=1, devices=2))

    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    check_devices(FitSettings(steps=1, devices=1, accelerator="gpu"))
    check_devices(FitSettings(steps=1, devices=2, accelerator="cpu"))
    with pytest.raises(TrainingError, match=r"fit\.devices is 2, and this machine has 1: lower it"):
        check_devices(FitSettings(steps=1, devices=2))


def test_an_average_of_divided_weights_is_refused(tiny_places):
    settings = merge_settings(
        tiny_settings(tiny_places), {"fit": {"ema": 0.9, "strategy": "fsdp", "devices": 2}}
    )

    with pytest.raises(TrainingError, match="ema averages whole weights"):
        parse_train_config(settings, "the test")


def test_towers_that_normalise_over_the_batch_are_not_divided(tiny_config):
    config = tiny_config(model={"settings": {"image": {"norm": "batch"}}})

    with pytest.raises(TrainingError, match="normalises over the batch and cannot be divided"):
        Shards(start_model(config, ["a stadium by a river"]))
