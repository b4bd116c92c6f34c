import copy

import numpy as np
import pytest
import torch

from geobridge.errors import TrainingError
from geobridge.model.config import parse_config
from geobridge.model.geobridge import GeoBridge
from geobridge.training.ema import WeightAverage
from geobridge.views import VIEWS

PICTURES = torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()


def make(width=8, seed=0):
    resnet = {"embedding_size": 4, "hidden_sizes": [4, width], "depths": [1, 1]}
    settings = {
        "name": "tiny",
        "dim": 4,
        "weights": "shared",
        "image": {
            "kind": "resnet",
            "config": resnet | {"layer_type": "basic"},
            "pooling": "gem",
            "norm": "batch",  # has float and integer buffers
        },
        "preprocess": {view: {"height": 16, "width": 16, "fit": "cover"} for view in VIEWS},
    }
    return GeoBridge.from_config(parse_config(settings, "the test"), seed=seed)


def step(model, number):
    """What a step of training does to a model: weights and statistics move, counters count."""
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor += torch.rand(tensor.shape, generator=generator)
            else:
                tensor += 1


def test_the_average_is_that_of_a_hand_written_loop():
    model = make()
    average = WeightAverage(model, decay=0.3)
    # min(0.3, (1 + k) / (10 + k)): 2/11, 3/12, then 4/13 = 0.31 is too much.
    keeps = [0.0, 2 / 11, 0.25, 0.3, 0.3]
    expected = None

    for number, keep in enumerate(keeps):
        step(model, number)
        average.update(model)
        now = {name: tensor.double() for name, tensor in model.state_dict().items()}
        if expected is None:
            expected = copy.deepcopy(now)
        expected = {name: keep * expected[name] + (1 - keep) * now[name] for name in now}

    for name, tensor in average.model.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(tensor, model.state_dict()[name])  # counters are not averaged


def test_constant_integers_stay_whole():
    # Averaged in float32 and cut off, some of them would lose one: 3 x 0.9 + 3 x 0.1 becomes 2.
    model = make()
    model.register_buffer("positions", torch.arange(100))
    average = WeightAverage(model, decay=0.9)

    for _ in range(20):
        average.update(model)

    assert torch.equal(average.model.positions, torch.arange(100))


def test_the_model_in_training_is_untouched():
    model, alone = make(), make()
    average = WeightAverage(model, decay=0.9)
    for number in range(3):
        step(model, number)
        step(alone, number)
        average.update(model)

    assert all(
        torch.equal(tensor, alone.state_dict()[name]) for name, tensor in model.state_dict().items()
    )
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in average.model.parameters())


def test_a_resumed_average_ends_as_an_uninterrupted_one(tmp_path):
    model = make()
    whole = WeightAverage(model, decay=0.9)
    for number in range(4):
        step(model, number)
        whole.update(model)
    torch.save({"model": model.state_dict(), "average": whole.state_dict()}, tmp_path / "state.pt")
    for number in range(4, 9):
        step(model, number)
        whole.update(model)

    state = torch.load(tmp_path / "state.pt", weights_only=True)
    again = make(seed=5)
    resumed = WeightAverage(again, decay=0.9)
    again.load_state_dict(state["model"])
    resumed.load_state_dict(state["average"])
    for number in range(4, 9):
        step(again, number)
        resumed.update(again)

    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_the_averaged_model_embeds_and_is_saved(tmp_path):
    model = make()
    average = WeightAverage(model, decay=0.9)
    for number in range(3):
        step(model, number)
        average.update(model)

    average.model.save(tmp_path / "model")

    rows = GeoBridge.load(tmp_path / "model").embed_prepared("drone", PICTURES)
    np.testing.assert_allclose(rows, average.model.embed_prepared("drone", PICTURES), atol=1e-6)
    assert not average.model.training
    assert average.model.fingerprint != model.fingerprint


def test_the_average_follows_the_model_to_its_device():
    model = make()
    average = WeightAverage(model, decay=0.9)
    average.update(model)

    model.to("meta")  # lightning moves a model after it is handed over
    average.update(model)

    assert {tensor.device.type for tensor in average.model.state_dict().values()} == {"meta"}


def test_the_fingerprint_follows_the_average():
    model = make()
    average = WeightAverage(model, decay=0.9)
    average.update(model)
    before = average.model.fingerprint

    step(model, 0)
    average.update(model)

    assert average.model.fingerprint != before


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, float("nan")])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(TrainingError, match="choose one between 0 and 1"):
        WeightAverage(make(), decay)


def test_the_state_of_another_model_is_refused():
    other = WeightAverage(make(width=16), 0.9).state_dict()

    with pytest.raises(TrainingError, match="does not fit model 'tiny'"):
        WeightAverage(make(), 0.9).load_state_dict(other)
