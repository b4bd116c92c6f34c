"""Batch statistics before the last layers, and a saved model that needs them no more."""

import copy

import numpy as np
import pytest
import torch
from training_stage import picture

from geobridge.errors import TrainingError
from geobridge.training.setup import start_model
from geobridge.training.standardize import EPSILON, MOMENTUM, Standardizer

TEXTS = ["a stadium by a river", "red roofs along a straight road", "a harbour with cranes"]


@pytest.fixture
def make(tiny_config):
    """A function that starts a model with other settings."""

    def start(**settings):
        return start_model(tiny_config(model={"settings": settings}), TEXTS)

    return start


def features_of(model, modality, first=0, count=6):
    """What the last layer of a modality receives for some pictures or sentences."""
    if modality == "text":
        return model.text_features([f"{TEXTS[n % 3]} {n}" for n in range(first, first + count)])
    height, width = (16, 64) if modality == "street" else (24, 24)
    seeds = range(first, first + count)
    return model.image_features(
        modality,
        torch.stack([model.prepare(modality, picture(seed, height, width)) for seed in seeds]),
    )


def seen(standardizer, model, batches=20):
    """The standardizer after some batches of every modality."""
    with torch.no_grad():
        for number in range(batches):
            for modality in model.modalities:
                standardizer(modality, features_of(model, modality, 10 * number))
    return standardizer


def test_a_batch_is_brought_to_mean_zero_and_variance_one(make):
    standardizer = Standardizer(make())

    rows = standardizer("drone", torch.randn(50, 16) * 3 + 5)

    assert rows.mean(dim=0).abs().max() < 1e-5
    assert torch.allclose(rows.var(dim=0), torch.ones(16), atol=1e-4)


def test_running_statistics_follow_the_batches_and_judge_alone(make):
    standardizer = Standardizer(make())
    features = torch.tensor([[1.0, 4.0], [3.0, 4.0]]).repeat(1, 8)

    standardizer("drone", features)

    # Mean 2 and 4, variance 2 and 0; the running ones began at 0 and 1.
    mean = torch.tensor([2.0, 4.0]).repeat(8) * MOMENTUM
    variance = 1 + (torch.tensor([2.0, 0.0]).repeat(8) - 1) * MOMENTUM
    assert torch.allclose(standardizer.drone_mean, mean)
    assert torch.allclose(standardizer.drone_variance, variance)
    assert not standardizer.street_mean.any()
    expected = (features - mean) / (variance + EPSILON).sqrt()
    assert torch.allclose(standardizer.eval()("drone", features), expected)
    # One row has no variance, in training either.
    assert torch.allclose(standardizer.train()("drone", features[:1]), expected[:1])
    assert torch.allclose(standardizer.drone_mean, mean)


def test_gradients_pass_through_the_statistics_of_the_batch(make):
    standardizer = Standardizer(make())
    features = torch.randn(5, 16, requires_grad=True)

    (standardizer("satellite", features) ** 3).sum().backward()

    # Adding a constant to all rows changes nothing.
    assert features.grad.sum(dim=0).abs().max() < 1e-4
    assert features.grad.abs().max() > 1e-3
    assert not any(buffer.requires_grad for buffer in standardizer.buffers())


def test_statistics_are_part_of_the_state(make):
    model = make()
    state = seen(Standardizer(model), model, 2).state_dict()

    again = Standardizer(model)
    again.load_state_dict(state)

    assert set(state) == {f"{m}_{of}" for m in model.modalities for of in ("mean", "variance")}
    assert torch.equal(again.text_mean, state["text_mean"])
    assert again.text_mean.any()


def test_the_last_layers_add_nothing_while_standardising(make):
    model = make()
    for view in model.config.views:
        torch.nn.init.ones_(model.head(view).projection.bias)

    Standardizer(model)

    for view in model.config.views:
        bias = model.head(view).projection.bias
        assert not bias.any()
        assert not bias.requires_grad


@pytest.mark.parametrize("pooling", ["gem", "spatial"])
@pytest.mark.parametrize("weights", ["adapter", "separate", "aerial"])
def test_a_folded_model_embeds_as_the_standardised_one(pooling, weights, make):
    model = make(weights=weights, image={"pooling": pooling}).eval()
    standardizer = seen(Standardizer(model), model).eval()
    before = copy.deepcopy(model.state_dict())

    folded = standardizer.folded(model)

    for modality in model.modalities:
        with torch.no_grad():
            features = standardizer(modality, features_of(model, modality, 500))
            expected = model.project(modality, features).numpy()
            rows = folded.project(modality, features_of(folded, modality, 500)).numpy()
            plain = model.project(modality, features_of(model, modality, 500)).numpy()
        np.testing.assert_allclose(rows, expected, atol=1e-4, err_msg=modality)
        assert np.abs(rows - plain).max() > 1e-2
    # The model that trains stays as it was.
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_folding_keeps_a_constant_that_is_there(make):
    model = make().eval()
    standardizer = seen(Standardizer(model), model, 2).eval()
    with torch.no_grad():
        model.head("drone").projection.bias += 0.3
        features = features_of(model, "drone")
        expected = model.project("drone", standardizer("drone", features))
        rows = standardizer.folded(model).project("drone", features)

    assert torch.allclose(rows, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "modality"),
    [
        ({"weights": "shared"}, "drone"),  # one layer cannot hold the statistics of three views
        ({"image": {"pooling": "mean"}}, "drone"),  # its layer has no bias
        ({"text": {"config": {"projection_dim": 12}}}, "text"),  # two layers in a row
        (
            {"text": {"kind": "siglip", "config": {"projection_size": 8}}},
            "text",
        ),
    ],
)
def test_a_model_whose_last_layer_cannot_hold_them_is_refused(settings, modality, make):
    with pytest.raises(
        TrainingError, match=f"the {modality} of model 'tiny' has no last layer .*standardize to f"
    ):
        Standardizer(make(**settings))
