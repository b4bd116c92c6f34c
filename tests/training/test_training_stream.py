"""Batches hang on their step alone, whoever draws them and whatever came before."""

import os
import signal

import pytest
import torch
from training_stage import tiny_run, write_picture

from geobridge.errors import ImageError, TrainingError
from geobridge.training.batch import Batch
from geobridge.training.setup import open_data, open_parts, start_config
from geobridge.training.stream import OrderedPart, Stream, step_generator
from geobridge.world.dataset import WorldDataset

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    # Tests before these load lance, which warns of every fork; these workers never use it.
    pytest.mark.filterwarnings("ignore:lance is not fork-safe"),
]


def no_progress(_):
    return 0.0


def flat(batch: Batch):
    """Everything in a batch as bytes and strings, to compare with `==`."""
    return (
        {view: pictures.numpy().tobytes() for view, pictures in batch.pictures.items()},
        batch.texts,
        {name: rows.tolist() for name, rows in batch.rows.items()},
        [tensor.numpy().tobytes() for tensor in (batch.lat, batch.lon, batch.text_key)],
        batch.names,
    )


def make_stream(config, rank=0, world_size=1, workers=0):
    data = open_data(config, start_config(config).preprocess, rank, world_size)
    return Stream(open_parts(config, data, rank, world_size), config.seed, rank, workers)


@pytest.fixture(scope="module")
def mixed(tiny_places, tiny_table):
    """Places and a table of ground in every batch."""
    train = [
        {"places": str(tiny_places), "split": "train", "per_batch": 4},
        {"table": str(tiny_table), "look": "ground", "per_batch": 3},
    ]
    return tiny_run(tiny_places, data={"train": train})


def test_a_batch_joins_its_parts(mixed):
    batch = make_stream(mixed).draw(0, no_progress)

    assert len(batch) == 7
    assert batch.present("drone")[4:].all()
    assert batch.present("satellite")[4:].all()
    assert not batch.present("street")[4:].any()
    assert all(name.startswith("p") for name in batch.names[:4])
    assert all("table.csv" in name for name in batch.names[4:])
    for modality in ("drone", "street", "satellite"):
        assert len(batch.pictures[modality]) == len(batch.rows[modality])
    assert len(batch.texts) == len(batch.rows["text"])


def test_every_step_is_the_same_whatever_came_before(mixed):
    stream, other = make_stream(mixed), make_stream(mixed)

    run = [flat(batch) for batch in stream.batches(0, 7, no_progress)]

    assert len({str(step) for step in run}) == 7
    assert [flat(batch) for batch in other.batches(4, 7, no_progress)] == run[4:]
    assert [flat(other.draw(step, no_progress)) for step in (5, 0, 3)] == [run[5], run[0], run[3]]
    assert list(stream.batches(3, 3, no_progress)) == []


def test_an_endless_stream_goes_on(mixed):
    stream = make_stream(mixed)
    batches = stream.batches(100, None, no_progress)

    assert flat(next(batches)) == flat(stream.draw(100, no_progress))
    assert flat(next(batches)) == flat(stream.draw(101, no_progress))


def test_another_seed_is_another_stream(mixed):
    other = mixed.model_copy(update={"seed": mixed.seed + 1})

    first, second = (make_stream(config).draw(0, no_progress) for config in (mixed, other))

    assert first.names != second.names


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_draw_what_one_process_draws(workers, mixed):
    alone = [flat(batch) for batch in make_stream(mixed).batches(2, 7, no_progress)]

    together = make_stream(mixed, workers=workers).batches(2, 7, no_progress)

    assert [flat(batch) for batch in together] == alone


def test_processes_share_the_places_of_a_step_and_look_by_themselves(tiny_config):
    whole = make_stream(tiny_config(data={"train": [train_set(tiny_config, 8)]}))
    halves = [make_stream(tiny_config(), rank, 2) for rank in (0, 1)]

    batches = [half.draw(3, no_progress) for half in halves]

    assert batches[0].names + batches[1].names == whole.draw(3, no_progress).names
    one, other = (step_generator(3, 3, rank, 0) for rank in (0, 1))
    assert torch.rand(4, generator=one).tolist() != torch.rand(4, generator=other).tolist()


def train_set(tiny_config, per_batch):
    return tiny_config().data.train[0].model_dump(mode="json") | {"per_batch": per_batch}


def test_no_two_draws_share_a_generator():
    keys = [(s, t, r, p) for s in (0, 1) for t in (0, 1) for r in (0, 1) for p in (0, 1)]

    first = {tuple(torch.rand(3, generator=step_generator(*key)).tolist()) for key in keys}

    assert len(first) == len(keys)
    again = torch.rand(3, generator=step_generator(*keys[5])).tolist()
    assert tuple(again) in first


def test_places_of_a_planet_follow_from_the_step(tiny_config, monkeypatch):
    planet = {"world": {"regions": ["danube"], "towns_per_batch": 2, "size": 16}, "per_batch": 2}
    stream = make_stream(tiny_config(data={"train": [train_set(tiny_config, 2), planet]}))
    asked = []

    def visit(_, number):
        asked.append(number)
        return {
            "drone": torch.full((1, 3, 16, 16), number, dtype=torch.uint8),
            "present": {
                name: torch.tensor([name in ("drone", "text")])
                for name in ("drone", "street", "satellite", "text")
            },
            "text": ["a town"],
            "lat": torch.tensor([1.0], dtype=torch.float64),
            "lon": torch.tensor([2.0], dtype=torch.float64),
            "place_id": [f"visit {number}"],
        }

    monkeypatch.setattr(WorldDataset, "visit", visit)
    batch = stream.draw(5, no_progress)

    assert asked == [10, 11]
    assert batch.names[2:] == ["visit 10", "visit 11"]
    assert batch.present("drone")[2:].all()
    assert batch.texts[-2:] == ["a town"] * 2
    assert len(stream.orders) == 1


def test_orders_are_asked_about_the_course_of_the_run(mixed):
    asked = []

    def progress_of(step):
        asked.append(step)
        return 0.0

    list(make_stream(mixed).batches(4, 6, progress_of))

    # Three batches of four are an epoch of the places, two of three one of the table.
    assert asked == [3, 4, 3, 4]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_vanishes_is_one_sentence_from_a_worker_too(workers, tiny_config, tmp_path):
    lines = ["satellite,drone"]
    for number in range(4):
        write_picture(tmp_path / f"{number}.jpg", number)
        lines.append(f"{number}.jpg,{number}.jpg")
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    source = {"table": str(tmp_path / "t.csv"), "per_batch": 4, "cache": False}
    stream = make_stream(tiny_config(data={"train": [source]}), workers=workers)
    (tmp_path / "2.jpg").unlink()

    with pytest.raises(ImageError) as caught:
        next(stream.batches(0, 1, no_progress))

    assert str(caught.value) == f"{tmp_path / '2.jpg'} does not exist: check the path."


class Deadly:
    """A source whose places kill who draws them."""

    name, texts = "deadly", []

    def draw(self, rows, generator):  # noqa: ARG002 - the signature of a source
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_is_one_sentence(mixed):
    stream = make_stream(mixed, workers=1)
    stream.parts = [OrderedPart(Deadly(), part.order) for part in stream.parts]

    with pytest.raises(
        TrainingError, match=r"draws batches died, .* fewer of them \(fit.workers\)"
    ):
        next(stream.batches(0, 1, no_progress))
