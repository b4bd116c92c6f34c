"""What a run shows and writes while it goes on, and that only one process does."""

import importlib
import io
import sys
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from geobridge.errors import MissingExtraError, TrainingError
from geobridge.training.logs import METRICS, VALIDATION, read_table
from geobridge.training.report import RunReport

TERMS, WAYS = ("drone-street", "image"), ("D2S", "S2D")
FIRST, SECOND = SimpleNamespace(is_global_zero=True), SimpleNamespace(is_global_zero=False)


@pytest.fixture
def screen():
    return io.StringIO()


@pytest.fixture
def report(tmp_path, screen):
    """Makes reports that log every fifth step, on a terminal or into a pipe."""
    made = []

    def make(steps=20, minutes=None, terminal=False):
        console = Console(
            file=screen, force_terminal=terminal, width=200, highlight=False, color_system=None
        )
        one = RunReport(
            tmp_path, TERMS, WAYS, steps=steps, minutes=minutes, log_steps=5, console=console
        )
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def tell(report, *steps, waited_s=0.1, took_s=1.0, last=False):
    for step in steps:
        report.step(
            step, minutes=step / 10, loss=torch.tensor(3.0 - step / 10), scale=torch.tensor(14.0),
            terms={"drone-street": torch.tensor(1.5), "image": torch.tensor(1.5)},
            learning_rate=1e-3, waited_s=waited_s, took_s=took_s,
            last=last,
        )  # fmt: skip


def test_the_first_and_every_so_manyth_step_get_a_row(report, tmp_path):
    one = report()
    one.on_train_start(FIRST, None)

    tell(one, *range(1, 13))

    rows = read_table(tmp_path / METRICS)
    assert [row["step"] for row in rows] == [1, 5, 10]
    assert rows[1] == {
        "step": 5, "minutes": 0.5, "loss": 2.5, "scale": 14, "learning_rate": 1e-3,
        "waiting": pytest.approx(0.1), "mining": 0, "idle": 0, "drone-street": 1.5, "image": 1.5,
    }  # fmt: skip


def test_the_last_step_gets_a_row_wherever_it_falls(report, tmp_path):
    one = report()
    one.open()

    tell(one, *range(1, 7))
    tell(one, 7, last=True)

    assert [row["step"] for row in read_table(tmp_path / METRICS)] == [1, 5, 7]


def test_waiting_is_the_share_of_the_time_since_the_last_row(report, tmp_path):
    one = report()
    one.open()

    tell(one, 1, waited_s=0.5)
    tell(one, 2, 3, 4, waited_s=0.0)
    tell(one, 5, waited_s=6.0, took_s=7.0)  # 6 s of 3 + 7

    assert [row["waiting"] for row in read_table(tmp_path / METRICS)] == [0.5, 0.6]


def test_mining_is_no_waiting_and_is_told_with_its_share_of_the_time(report, tmp_path, screen):
    one = report()
    one.open()

    with one.mining(0, "town"):
        pass
    one.step(
        1, minutes=1.0, loss=2.0, terms={}, scale=1.0, learning_rate=0.1, waited_s=1.0,
        mined_s=6.0, took_s=8.0,
    )  # fmt: skip
    one.validation(1, {"D2S": 0.5})

    (row,) = read_table(tmp_path / METRICS)
    assert (row["waiting"], row["mining"]) == (0.125, 0.75)
    assert screen.getvalue() == (
        "step 0: hard places of town were mined in 0 s\n"
        "step 1: loss 2.000, waiting 12%, mining 75%; validation R@1 in %: D2S 50.0\n"
    )


def test_steps_that_teach_nothing_are_counted_and_the_first_is_told(report, tmp_path, screen):
    one = report()
    one.open()
    taught = {"minutes": 1.0, "scale": 1.0, "learning_rate": 0.1, "waited_s": 0.0, "took_s": 1.0}

    one.step(1, loss=2.0, terms={"image": 2.0}, **taught)
    for step in (2, 3, 4, 5):
        one.step(step, loss=None, terms={}, idle=step - 1, **taught)

    first, last = read_table(tmp_path / METRICS)
    assert (first["idle"], last["idle"]) == (0, 4)
    assert "loss" not in last
    assert "image" not in last
    assert screen.getvalue().count("teaches nothing") == 1
    assert screen.getvalue().startswith("step 2: no edge has two places in this batch")


def test_no_time_at_all_is_no_waiting(report, tmp_path):
    one = report()
    one.open()

    tell(one, 1, waited_s=0.0, took_s=0.0)

    assert read_table(tmp_path / METRICS)[0]["waiting"] == 0


def test_a_tensor_is_read_only_where_a_row_is_due(report):
    class Counted(torch.Tensor):
        reads = 0

        def __float__(self):
            Counted.reads += 1
            return 1.0

    one = report()
    one.open()
    for step in range(1, 11):
        one.step(
            step, minutes=0.1, loss=torch.zeros(()).as_subclass(Counted), terms={}, scale=1.0,
            learning_rate=0.1, waited_s=0.0, took_s=1.0,
        )  # fmt: skip

    assert Counted.reads == 3  # steps 1, 5 and 10


def test_a_validation_is_written_and_said(report, tmp_path, screen):
    one = report()
    one.open()
    tell(one, 1, 2)

    one.validation(2, {"D2S": 0.4125, "S2D": 0.05})

    assert read_table(tmp_path / VALIDATION) == [{"step": 2, "D2S": 0.4125, "S2D": 0.05}]
    assert screen.getvalue() == (
        "step 2: loss 2.900, waiting 10%; validation R@1 in %: D2S 41.2  S2D 5.0\n"
    )


def test_a_validation_before_the_first_step_has_no_loss_to_tell(report, screen):
    one = report()
    one.open()

    one.validation(0, {"D2S": 0.5})

    assert screen.getvalue() == "step 0: validation R@1 in %: D2S 50.0\n"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        # 12 steps took 1.2 minutes, 8 are to come.
        ({"steps": 20}, "step 12/20, 1 min left, loss 2.000, waiting 10%"),
        ({"steps": None, "minutes": 31.2}, "step 12, 30 min left, loss 2.000, waiting 10%"),
        ({"steps": 12}, "step 12/12, 0 min left, loss 2.000, waiting 10%"),
    ],
)
def test_the_bar_says_how_far_the_run_is(report, screen, limits, words):
    one = report(**limits, terminal=True)
    one.open()
    tell(one, 1, 5, 10, 12)
    one._bar.refresh()
    one.close()

    assert words in screen.getvalue()


def test_a_resumed_bar_has_no_loss_to_show_before_the_next_row(report, screen):
    one = report(terminal=True)
    one.load_state_dict({"step": 5})
    one.open()
    tell(one, 6)
    one._bar.refresh()
    one.close()

    assert "step 6/20, 1 min left\r" in screen.getvalue()


def test_only_the_first_process_shows_and_writes(report, tmp_path, screen):
    one = report()
    one.on_train_start(SECOND, None)

    tell(one, 1, 5)
    one.validation(5, {"D2S": 0.5})
    one.on_train_end(SECOND, None)

    assert not list(tmp_path.iterdir())
    assert screen.getvalue() == ""
    assert one.state_dict() == {"step": 5}


def test_a_resumed_run_goes_on_behind_its_state(report, tmp_path):
    first = report()
    first.on_train_start(FIRST, None)
    tell(first, *range(1, 8))
    state = first.state_dict()
    tell(first, 8, 9, 10)
    first.validation(10, {"D2S": 0.5})
    first.on_exception(FIRST, None, KeyboardInterrupt())

    second = report()
    second.load_state_dict(state)
    second.on_train_start(FIRST, None)
    assert [row["step"] for row in read_table(tmp_path / METRICS)] == [1, 5]
    assert read_table(tmp_path / VALIDATION) == []
    tell(second, *range(8, 16))

    assert [row["step"] for row in read_table(tmp_path / METRICS)] == [1, 5, 10, 15]


def test_closing_twice_or_unopened_does_no_harm(report):
    one = report()
    one.close()
    one.open()
    one.close()
    one.close()
    tell(one, 1)  # nobody listens any more


def test_logs_that_cannot_be_written_stop_the_run(report, tmp_path):
    (tmp_path / METRICS).mkdir()

    with pytest.raises(TrainingError, match=r"metrics.csv cannot be read"):
        report().open()


@pytest.mark.filterwarnings("ignore")  # lightning's own, of which there are many
def test_lightning_opens_closes_and_keeps_it(report, tmp_path):
    from lightning import pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self, one):
            super().__init__()
            self.automatic_optimization = False
            self.one, self.weight = one, torch.nn.Parameter(torch.zeros(()))

        def training_step(self, _batch):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            (-self.weight).backward()
            optimizer.step()
            tell(self.one, self.global_step)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1.0)

    def fit(steps, resume=None):
        one = report(steps)
        trainer = pl.Trainer(
            max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
            callbacks=[one],
        )  # fmt: skip
        loader = torch.utils.data.DataLoader(torch.arange(99), batch_size=1)
        trainer.fit(Module(one), loader, ckpt_path=resume)
        assert one._log is None
        return trainer

    fit(7).save_checkpoint(tmp_path / "state.ckpt")
    fit(10, tmp_path / "state.ckpt")
    assert [row["step"] for row in read_table(tmp_path / METRICS)] == [1, 5, 10]

    fit(16, tmp_path / "state.ckpt")  # row 10 is made again, not twice
    assert [row["step"] for row in read_table(tmp_path / METRICS)] == [1, 5, 10, 15]


def test_without_lightning_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.delitem(sys.modules, "geobridge.training.report")

    with pytest.raises(MissingExtraError, match=r"'lightning', .* geobridge\[train\]"):
        importlib.import_module("geobridge.training.report")
