"""A state on the disk is whole at every moment, safe to open, and of one configuration."""

import errno
import importlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geobridge.errors import MissingExtraError, TrainingError
from geobridge.training import checkpoints
from geobridge.training.checkpoints import (
    CONFIGURATION_KEY,
    AtomicCheckpointIO,
    check_configuration,
    first_difference,
    load_state,
    save_state,
)

CONFIGURATION = {
    "objective": {"edges": ["D-S", "P-S"], "smoothing": 0.1},
    "fit": {"steps": 100, "workers": 2},
    "data": {"train": [{"name": "planet", "per_batch": 64}]},
}


def state_of(step, numbers=1000):
    return {"step": step, "weights": {"a": torch.full((numbers,), float(step))}}


def test_a_state_comes_back_as_it_was(tmp_path):
    path = tmp_path / "run" / "last.ckpt"

    save_state({"step": 3, "names": ["a", None], "rows": torch.arange(4)}, path)
    found = load_state(path)

    assert found["step"] == 3
    assert found["names"] == ["a", None]
    assert found["rows"].tolist() == [0, 1, 2, 3]
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_state_that_was_read_ahead_is_handed_out_once(tmp_path, monkeypatch):
    path = tmp_path / "state.ckpt"
    files = AtomicCheckpointIO(CONFIGURATION)
    files.save_checkpoint(state_of(1), path)
    opened = []
    monkeypatch.setattr(
        checkpoints,
        "load_state",
        lambda path, where: opened.append(path) or load_state(path, where),
    )

    ahead = files.read(path)

    assert files.load_checkpoint(path) is ahead
    assert len(opened) == 1
    files.save_checkpoint(state_of(2), path)
    assert files.load_checkpoint(path)["step"] == 2


KILLED = """
import mmap, os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from geobridge.training.checkpoints import load_state, save_state

path = Path(sys.argv[1])
part = path.with_name("." + path.name + ".part")
chance = random.Random(7)
returned = mmap.mmap(-1, 8)  # shared with the child: the last step whose save came back

def save(step):
    rows = [torch.full((250_000,), float(step)) for _ in range(4)]
    save_state({"step": step, "rows": rows}, path)
    returned[:] = step.to_bytes(8, "little")

save(0)
kills = torn = step = 0
while torn < 5 and kills < 300:
    child = os.fork()
    if child == 0:
        while True:
            step += 1
            save(step)
    time.sleep(chance.uniform(0.0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    kills += 1
    torn += part.exists()
    found = load_state(path)
    assert all((rows == found["step"]).all() for rows in found["rows"]), found["step"]
    assert found["step"] >= int.from_bytes(returned[:], "little"), "a saved state was lost"
    step = found["step"]
print(torn, step)
"""


def test_a_save_killed_at_any_moment_leaves_a_whole_state(tmp_path):
    path = tmp_path / "last.ckpt"

    ended = subprocess.run(
        [sys.executable, "-c", KILLED, path], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, ended.stderr
    torn, saved = map(int, ended.stdout.split())
    assert torn == 5  # so often it was killed with a file half written
    assert saved > 0


def test_what_a_killed_save_left_is_taken_over(tmp_path):
    (tmp_path / ".last.ckpt.part").write_bytes(b"half")

    save_state(state_of(1), tmp_path / "last.ckpt")

    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("room", [100, 30_000, 3_999_000])
def test_a_disk_that_fills_up_leaves_the_former_state(tmp_path, room):
    path = tmp_path / "last.ckpt"
    save_state(state_of(1), path)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, unlimited[1]))
    try:
        with pytest.raises(TrainingError) as caught:
            save_state(state_of(2, numbers=1_000_000), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    assert str(caught.value) == (
        f"the run's state {path} cannot be written (File too large): free space or make its "
        f"folder writable, then resume from the state saved before, which is whole."
    )
    assert load_state(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_disk_found_full_only_when_synced_leaves_the_former_state(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    save_state(state_of(1), path)

    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(TrainingError, match="No space left on device"):
        save_state(state_of(2), path)

    assert load_state(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "run").write_text("")

    with pytest.raises(TrainingError, match=r"run/last.ckpt cannot be written \(File exists\)"):
        save_state(state_of(1), tmp_path / "run" / "last.ckpt")


def test_what_could_not_be_loaded_again_is_not_saved(tmp_path):
    path = tmp_path / "last.ckpt"
    save_state(state_of(1), path)

    with pytest.raises(TrainingError, match=r"holds objects \(pathlib.PosixPath\), which could"):
        save_state({"folder": Path("x")}, path)

    assert load_state(path)["step"] == 1


def test_errors_that_are_not_the_disks_stay_what_they_are(tmp_path):
    with pytest.raises(AttributeError, match="lambda"):
        save_state({"function": lambda: None}, tmp_path / "last.ckpt")

    assert not list(tmp_path.iterdir())


def test_a_missing_state_is_said(tmp_path):
    with pytest.raises(TrainingError, match=r"there is no state .*last.ckpt to resume from: "):
        load_state(tmp_path / "last.ckpt")


def test_a_damaged_state_is_said_wherever_it_is_cut_or_changed(tmp_path):
    path = tmp_path / "last.ckpt"
    save_state(state_of(1), path)
    whole = path.read_bytes()
    at = whole.index(torch.full((8,), 1.0).numpy().tobytes())  # inside the weights
    flipped = bytearray(whole)
    flipped[at + 100] ^= 1
    damaged = [whole[:cut] for cut in (0, 10, 500, len(whole) // 2, len(whole) - 1)]

    for content in (*damaged, bytes(flipped), b"hello"):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match=r"last.ckpt is damaged: resume from another"):
            load_state(path)


def test_an_archive_of_something_else_is_said(tmp_path):
    torch.save([1, 2], tmp_path / "list.ckpt")

    with pytest.raises(TrainingError, match=r"list.ckpt is damaged"):
        load_state(tmp_path / "list.ckpt")


def test_a_state_that_would_run_code_is_refused(tmp_path):
    ran = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    torch.save({"step": Harmful()}, tmp_path / "last.ckpt")

    with pytest.raises(TrainingError, match=r"holds objects \(posix.mkdir\)"):
        load_state(tmp_path / "last.ckpt")

    assert not ran.exists()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({}, None),
        ({"fit": {"steps": 200, "workers": 2}}, "fit.steps"),
        ({"objective": {"edges": ("D-S", "P-S"), "smoothing": 0.1}}, None),
        ({"objective": {"edges": ["D-S", "D-P"], "smoothing": 0.1}}, "objective.edges.1"),
        ({"objective": {"edges": ["D-S"], "smoothing": 0.1}}, "objective.edges.1"),
        ({"objective": {"edges": ["D-S", "P-S"], "smoothing": False}}, "objective.smoothing"),
        ({"objective": {"edges": ["D-S", "P-S"]}}, "objective.smoothing"),
        ({"objective": None}, "objective"),
        ({"data": {"train": [{"name": "planet", "per_batch": 65}]}}, "data.train.0.per_batch"),
        ({"seed": 1}, "seed"),
    ],
)
def test_the_first_key_that_differs_is_named(change, key):
    assert first_difference(CONFIGURATION, CONFIGURATION | change) == key


def test_no_and_zero_are_different():
    assert first_difference({"a": 0}, {"a": False}) == "a"
    assert first_difference({"a": 1}, {"a": 1.0}) is None


def test_what_may_change_is_not_compared():
    wanted = CONFIGURATION | {"fit": {"steps": 200, "workers": 4}, "seed": 1}

    assert first_difference(CONFIGURATION, wanted, ["fit.steps"]) == "fit.workers"
    assert first_difference(CONFIGURATION, wanted, ["fit.steps", "fit.work"]) == "fit.workers"
    assert first_difference(CONFIGURATION, wanted, ["fit"]) == "seed"
    assert first_difference(CONFIGURATION, wanted, ["fit.steps", "fit.workers", "seed"]) is None


def test_a_state_of_another_configuration_is_refused(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO(CONFIGURATION).save_checkpoint(state_of(1), path)
    longer = CONFIGURATION | {"fit": {"steps": 200, "workers": 2}}
    harder = CONFIGURATION | {"objective": {"edges": ["D-S", "P-S"]}}

    found = AtomicCheckpointIO(longer, ["fit.steps"]).load_checkpoint(path)
    assert found[CONFIGURATION_KEY] == CONFIGURATION
    with pytest.raises(TrainingError) as caught:
        AtomicCheckpointIO(harder, ["fit.steps"]).load_checkpoint(path)

    assert str(caught.value) == (
        f"the state {path} is of another configuration, where objective.smoothing is 0.1 and not "
        f"left out: take that back, or begin a run in another folder."
    )


def test_a_long_value_is_shortened(tmp_path):
    with pytest.raises(TrainingError, match=r'where text is "a{56}\.\.\. and not "b": '):
        check_configuration({CONFIGURATION_KEY: {"text": "a" * 500}}, {"text": "b"}, tmp_path)


def test_a_state_without_a_configuration_is_refused(tmp_path):
    save_state(state_of(1), tmp_path / "last.ckpt")

    with pytest.raises(TrainingError, match="does not say which configuration it is of"):
        AtomicCheckpointIO(CONFIGURATION).load_checkpoint(tmp_path / "last.ckpt")


def test_a_configuration_that_is_no_json_is_refused_at_once():
    with pytest.raises(TypeError, match="not JSON serializable"):
        AtomicCheckpointIO({"folder": Path("x")})


def test_storage_options_are_refused(tmp_path):
    with pytest.raises(TypeError, match="no storage options"):
        AtomicCheckpointIO({}).save_checkpoint({}, tmp_path / "x", {"region": "nowhere"})


def test_states_are_removed(tmp_path):
    files = AtomicCheckpointIO({})
    files.save_checkpoint({}, tmp_path / "file.ckpt")
    (tmp_path / "shards.ckpt" / "inner").mkdir(parents=True)

    for name in ("file.ckpt", "shards.ckpt", "none.ckpt"):
        files.remove_checkpoint(tmp_path / name)

    assert not list(tmp_path.iterdir())


def test_without_lightning_the_extra_is_named(monkeypatch):
    for name in ("lightning", "lightning.fabric.plugins.io.checkpoint_io"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "geobridge.training.checkpoints")

    with pytest.raises(
        MissingExtraError, match=r"'lightning', .* `pip install geobridge\[train\]`"
    ):
        importlib.import_module("geobridge.training.checkpoints")


@pytest.mark.filterwarnings("ignore")  # lightning's own, of which there are many
def test_lightning_saves_and_resumes_through_it(tmp_path):
    from lightning import pytorch as pl

    class Counter(pl.LightningModule):
        """Adds one to its weight in every step."""

        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def training_step(self, _batch):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            (-self.weight).backward()
            optimizer.step()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1.0)

    def trainer(steps):
        return pl.Trainer(
            max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
            plugins=[AtomicCheckpointIO({"fit": {"steps": steps}}, ["fit.steps"])],
        )  # fmt: skip

    path = tmp_path / "last.ckpt"
    loader = torch.utils.data.DataLoader(torch.arange(9), batch_size=1)
    first = trainer(2)
    first.fit(Counter(), loader)
    first.save_checkpoint(path)
    assert load_state(path)[CONFIGURATION_KEY] == {"fit": {"steps": 2}}

    resumed = Counter()
    trainer(5).fit(resumed, loader, ckpt_path=path)
    assert resumed.weight.item() == 5

    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TrainingError, match="is damaged"):
        trainer(9).fit(Counter(), loader, ckpt_path=path)
