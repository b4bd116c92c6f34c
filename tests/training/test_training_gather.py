import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from geobridge.training.gather import (
    average_gradients,
    gather_features,
    gather_places,
    gather_rows,
)

SCRIPT = Path(__file__).with_name("two_processes.py")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def alone():
    """The names of the script, in this one process."""
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What the first and the second of two processes found."""
    out = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(SCRIPT), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("chunk", [100, 2])
@pytest.mark.parametrize("setting", ["masked", "positive", "soft", "sigmoid"])
def test_two_processes_give_the_loss_and_gradient_of_one_with_the_joint_batch(
    alone, together, setting, chunk
):
    batch, inputs = alone["joint"]()
    expected = alone["loss_and_gradients"](batch, inputs, alone["SETTINGS"][setting], 100)

    for process in together:
        found = process["steps"][f"{setting} {chunk}"]
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if value is None:
                assert found[name] is None, name
            else:
                torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7)
    assert expected["encoders.street.0.weight"].abs().max() > 1e-3
    assert (expected["bias"] is None) == (setting != "sigmoid")


def test_places_of_the_joint_batch_are_counted_through(alone, together):
    batch, _ = alone["joint"]()

    for process in together:
        rows, lat, lon, text_key = process["places"]
        assert {name: held.tolist() for name, held in rows.items()} == {
            "drone": [0, 1, 2, 4, 5, 7],
            "street": [5, 6, 7],
            "satellite": [0, 2, 3, 4, 6, 7],
            "text": [0, 1, 3, 4],
        }
        torch.testing.assert_close(lat, batch.lat, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(lon, batch.lon, rtol=0, atol=0)
        assert text_key.tolist() == [0, 0, 1, 1, 2, 0, 0, 1]


def test_gathered_rows_go_back_with_the_sum_of_what_all_processes_say(together):
    for rank, process in enumerate(together):
        assert process["rows"]["rows"].tolist() == [[1, 1], [2, 2], [2, 2]]
        assert process["rows"]["rows"].dtype == torch.bfloat16
        # One process counts every row once, the other twice.
        assert process["rows"]["gradient"].tolist() == [[3, 3]] * (rank + 1)
        assert process["rows"]["count"] == 2


def test_alone_everything_passes_unchanged(alone):
    batch, inputs = alone["part"](0)
    rows = torch.randn(3, 2, requires_grad=True)
    layer = torch.nn.Linear(2, 2)
    layer(rows).sum().backward()
    before = layer.weight.grad.clone()

    average_gradients(layer.parameters())
    places = gather_places(batch, CPU)
    features = gather_features(inputs | {"street": torch.zeros(0, 4)}, CPU)

    assert torch.equal(layer.weight.grad, before)
    assert gather_rows(rows) is rows
    assert places.rows.keys() == features.keys() == {"drone", "satellite", "text"}
    assert len(places) == 5
    assert all(torch.equal(features[name], rows) for name, rows in inputs.items())
    assert places.lat.isnan().tolist() == [False, True, False, False, False]
    for name, held in batch.rows.items():
        assert torch.equal(places.rows[name], held)
        assert torch.equal(places.present[name], batch.present(name))


def test_features_are_gathered_in_single_precision():
    features = gather_features({"text": torch.ones(2, 3, dtype=torch.bfloat16)}, CPU)

    assert features["text"].dtype == torch.float32
