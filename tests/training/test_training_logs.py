"""Logs that a kill and a resumption leave without a gap and without a double."""

import errno
import importlib
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from geobridge.errors import MissingExtraError, TrainingError
from geobridge.training.logs import EVENTS, METRICS, VALIDATION, RunLog, read_table

TERMS, WAYS = ("drone-street", "image"), ("D2S", "S2D")


def row_of(step):
    return {
        "minutes": step / 60, "loss": 9 - step / 10, "scale": 14.0, "learning_rate": 1e-3,
        "waiting": 0.25, "mining": 0.5, "idle": 2, "drone-street": 4 - step / 10, "image": 4.0,
    }  # fmt: skip


def run(folder, steps, resumed=0):
    """A session that makes these steps and validates after every tenth."""
    log = RunLog(folder, TERMS, WAYS, resumed)
    for step in steps:
        log.metrics(step, row_of(step))
        if step % 10 == 0:
            log.validation(step, {"D2S": step / 100, "S2D": step / 200})
    log.close()


def recorded(folder):
    """Step and value of each scalar that TensorBoard shows, by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / EVENTS), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_rows_stand_under_their_names(tmp_path):
    run(tmp_path / "run", [10])

    assert (tmp_path / "run" / METRICS).read_text() == (
        "step,minutes,loss,scale,learning_rate,waiting,mining,idle,drone-street,image\n"
        "10,0.1666666667,8,14,0.001,0.25,0.5,2,3,4\n"
    )
    assert (tmp_path / "run" / VALIDATION).read_text() == "step,D2S,S2D\n10,0.1,0.05\n"
    assert read_table(tmp_path / "run" / VALIDATION) == [{"step": 10, "D2S": 0.1, "S2D": 0.05}]


def test_a_term_that_a_batch_lacks_leaves_its_cell_empty(tmp_path):
    log = RunLog(tmp_path, TERMS, WAYS)
    log.metrics(1, {"loss": 2.0})
    log.close()

    assert (tmp_path / METRICS).read_text().splitlines()[1] == "1,,2,,,,,,,"
    assert read_table(tmp_path / METRICS) == [{"step": 1, "loss": 2.0}]


def test_every_row_is_there_before_the_next(tmp_path):
    log = RunLog(tmp_path, TERMS, WAYS)

    log.metrics(1, row_of(1))

    assert [row["step"] for row in read_table(tmp_path / METRICS)] == [1]
    log.close()


def test_a_resumed_run_has_the_logs_of_an_uninterrupted_one(tmp_path):
    run(tmp_path / "whole", range(1, 41))

    run(tmp_path / "resumed", range(1, 33))  # killed after 32, its last state is of step 20
    run(tmp_path / "resumed", range(21, 24), resumed=20)  # and again after 23
    run(tmp_path / "resumed", range(21, 41), resumed=20)

    for name in (METRICS, VALIDATION):
        whole, resumed = (tmp_path / folder / name for folder in ("whole", "resumed"))
        assert resumed.read_text() == whole.read_text()
    assert recorded(tmp_path / "resumed") == recorded(tmp_path / "whole")


def test_tensorboard_has_what_the_tables_have(tmp_path):
    run(tmp_path, range(1, 11))

    found = recorded(tmp_path)

    assert set(found) == {
        "minutes", "loss", "scale", "learning_rate", "waiting", "mining", "idle",
        "terms/drone-street", "terms/image", "recall_at_1/D2S", "recall_at_1/S2D",
    }  # fmt: skip
    assert found["loss"] == [(step, 9 - step / 10) for step in range(1, 11)]
    assert found["recall_at_1/D2S"] == [(10, 0.1)]


def test_a_run_begun_anew_forgets_the_rows_of_the_former(tmp_path):
    run(tmp_path, range(1, 11))
    run(tmp_path, range(1, 3))

    assert [row["step"] for row in read_table(tmp_path / METRICS)] == [1, 2]
    assert read_table(tmp_path / VALIDATION) == []


def test_columns_of_a_former_session_stay(tmp_path):
    run(tmp_path, [1])

    log = RunLog(tmp_path, ("street-satellite",), WAYS, 1)
    log.metrics(2, {"loss": 1.0, "street-satellite": 3.0})
    log.close()

    first, second = read_table(tmp_path / METRICS)
    assert first == {"step": 1, **{name: pytest.approx(v) for name, v in row_of(1).items()}}
    assert second == {"step": 2, "loss": 1.0, "street-satellite": 3.0}


WRITER = """
import sys
from pathlib import Path
from geobridge.training.logs import RunLog
log = RunLog(Path(sys.argv[1]), ["image"], ["D2S"])
for step in range(1, 10**9):
    log.metrics(step, {"loss": step, "image": step})
    print(step, flush=True)
"""


def test_a_killed_run_loses_no_row_it_was_told_of(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True
    ) as writer:
        for line in writer.stdout:
            if int(line) == 200:
                break
        writer.send_signal(signal.SIGKILL)
    # TensorBoard orders the files of two sessions by the second in which they began.
    killed_at = int(time.time())
    while int(time.time()) == killed_at:
        time.sleep(0.05)

    run(tmp_path, [201], resumed=200)

    assert [row["step"] for row in read_table(tmp_path / METRICS)] == list(range(1, 202))
    assert [step for step, _ in recorded(tmp_path)["loss"]] == list(range(1, 202))


def test_a_last_line_without_its_end_does_not_count(tmp_path):
    path = tmp_path / METRICS
    for torn in ("3,0.5", "3,0.55", "\0\0\0\0"):
        path.write_text(f"step,loss\n1,0.7\n2,0.6\n{torn}")
        assert read_table(path) == [{"step": 1, "loss": 0.7}, {"step": 2, "loss": 0.6}]
    for text in ("", "st", "step,loss\n"):
        path.write_text(text)
        assert read_table(path) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("step,loss\n1,0.7\n2\n3,0.5\n", 3),
        ("step,loss\n1,high\n", 2),
        ("step,loss\n,0.7\n", 2),
        ("minutes,loss\n1,0.7\n", 2),
        ("step,loss\n\n", 2),
    ],
)
def test_what_is_no_log_is_named_with_its_line(tmp_path, text, line):
    (tmp_path / METRICS).write_text(text)

    with pytest.raises(TrainingError, match=rf"line {line} of .*metrics.csv is no row of a run's"):
        RunLog(tmp_path, TERMS, WAYS)


def test_a_log_that_is_no_text_is_refused(tmp_path):
    (tmp_path / METRICS).write_bytes(b"\xff\xfe\x00step\n")

    with pytest.raises(TrainingError, match=r"metrics.csv is no row of a run's log: restore"):
        read_table(tmp_path / METRICS)


def test_a_missing_log_is_said(tmp_path):
    with pytest.raises(TrainingError, match=r"metrics.csv cannot be read \(No such file"):
        read_table(tmp_path / METRICS)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "run").write_text("")

    with pytest.raises(TrainingError, match=r"logs in .*run cannot be written \(File exists\)"):
        RunLog(tmp_path / "run", TERMS, WAYS)


def test_a_disk_that_fills_up_is_said_and_the_rows_before_stay(tmp_path):
    log = RunLog(tmp_path, TERMS, WAYS)
    log.metrics(1, row_of(1))
    size = (tmp_path / METRICS).stat().st_size
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, unlimited[1]))
    try:
        with pytest.raises(TrainingError) as caught:
            log.metrics(2, row_of(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    log.close()

    assert str(caught.value) == (
        f"the logs in {tmp_path} cannot be written ({os.strerror(errno.EFBIG)}): free space or "
        f"make the folder writable, then resume."
    )
    run(tmp_path, [2], resumed=1)
    assert [row["step"] for row in read_table(tmp_path / METRICS)] == [1, 2]


def test_without_tensorboard_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    monkeypatch.delitem(sys.modules, "geobridge.training.logs")

    with pytest.raises(MissingExtraError, match=r"'tensorboard', .* geobridge\[train\]"):
        importlib.import_module("geobridge.training.logs")
