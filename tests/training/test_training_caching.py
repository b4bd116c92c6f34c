import pytest
import torch
from tiny_model import tiny_settings

from geobridge.errors import TrainingError
from geobridge.model.config import parse_config
from geobridge.model.geobridge import GeoBridge
from geobridge.model.objective import ObjectiveConfig, anchor_objective
from geobridge.model.tokens import train_tokenizer
from geobridge.training.caching import cached_step
from geobridge.training.config import merge_settings

WORDS = ["a stadium by a river", "red roofs along a road", "a harbour", "fields and a farm"]
SETTINGS = merge_settings(tiny_settings(), {"text": {"config": {"attention_dropout": 0.3}}})
# Twelve places; some have no drone picture, some no street picture, some no text.
HELD = {
    "drone": [0, 1, 2, 4, 5, 7, 8, 9, 11],
    "street": [1, 2, 3, 6, 10],
    "satellite": list(range(12)),
    "text": [0, 3, 4, 5, 6, 9, 10],
}
PLACES = 12


class Step:
    """A training step on a tiny model, its text tower with dropout."""

    def __init__(self):
        config = parse_config(SETTINGS, "the test")
        self.model = GeoBridge.from_config(config, tokenizer=train_tokenizer(WORDS, 300)).train()
        self.rows = {name: torch.tensor(held) for name, held in HELD.items()}
        generator = torch.Generator().manual_seed(0)
        self.pictures = {
            view: torch.randint(
                0,
                256,
                (len(HELD[view]), 3, settings.height, settings.width),
                dtype=torch.uint8,
                generator=generator,
            )
            for view, settings in config.preprocess.items()
        }
        self.texts = [WORDS[row % len(WORDS)] for row in HELD["text"]]
        self.encoded = []

    def encode(self, modality, first, last):
        self.encoded.append((modality, first, last, torch.is_grad_enabled()))
        if modality == "text":
            return self.model.text_features(self.texts[first:last])
        return self.model.image_features(modality, self.pictures[modality][first:last])

    def loss_of(self, features):
        embeddings = {
            name: torch.zeros(PLACES, 8).index_copy(
                0, self.rows[name], self.model.project(name, held)
            )
            for name, held in features.items()
        }
        present = {
            name: torch.zeros(PLACES, dtype=torch.bool).index_fill(0, rows, True)
            for name, rows in self.rows.items()
        }
        scale = self.model.logit_scale.exp()
        return anchor_objective(embeddings, present, scale, ObjectiveConfig())[0]

    def run(self, chunk, seed=3, backward=torch.Tensor.backward):
        """Loss and all gradients in one row, in parts of `chunk`."""
        torch.manual_seed(seed)
        self.model.zero_grad()
        sizes = {name: len(held) for name, held in HELD.items()}
        loss = cached_step(self.encode, sizes, chunk, self.loss_of, backward)
        return loss, self.gradients()

    def run_directly(self, chunk, seed=3):
        """The same without caching: parts are encoded with gradients and all held at once."""
        torch.manual_seed(seed)
        self.model.zero_grad()
        features = {
            name: torch.cat(
                [
                    self.encode(name, first, min(first + chunk, len(held)))
                    for first in range(0, len(held), chunk)
                ]
            )
            for name, held in HELD.items()
        }
        loss = self.loss_of(features)
        loss.backward()
        return loss.detach(), self.gradients()

    def gradients(self):
        found = {
            name: weight.grad.flatten()
            for name, weight in self.model.named_parameters()
            if weight.grad is not None
        }
        assert any(name.startswith("trunks") for name in found)
        assert any(name.startswith("text") for name in found)
        return torch.cat([found[name] for name in sorted(found)])


@pytest.fixture
def step():
    return Step()


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("chunk", [1, 4, 5, 11])
def test_the_gradient_is_that_of_the_batch_at_once(step, chunk):
    step.model.eval()  # without dropout
    expected_loss, expected = step.run_directly(PLACES)

    loss, found = step.run(chunk)

    assert not loss.requires_grad
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-5)
    assert relative_error(found, expected) < 1e-4
    assert {(last - first) <= chunk for _, first, last, _ in step.encoded[4:]} == {True}


def test_dropout_is_the_same_in_both_passes(step):
    _, expected = step.run_directly(4)
    after_direct = torch.rand(3)
    _, other_seed = step.run_directly(4, seed=4)

    loss, found = step.run(4)
    after = torch.rand(3)

    assert torch.isfinite(loss)
    assert relative_error(found, expected) < 1e-4
    assert relative_error(other_seed, expected) > 1e-2  # dropout matters here
    assert torch.equal(after, after_direct)


def test_autocast_around_the_whole_step_loses_no_gradient(step):
    step.model.eval()
    # Each within its own: it keeps the weights that it has cast.
    with torch.autocast("cpu", torch.bfloat16):
        _, expected = step.run_directly(4)
    with torch.autocast("cpu", torch.bfloat16):
        _, found = step.run(4)

    assert len(found) == len(expected)
    # Half precision: parts of a batch are summed in another order.
    assert relative_error(found, expected) < 0.02


def test_what_fits_in_one_part_is_encoded_once(step):
    step.run(PLACES)

    assert step.encoded == [(name, 0, len(held), True) for name, held in HELD.items()]


def test_parts_are_encoded_twice_and_only_the_second_time_with_gradients(step):
    step.run(6)

    with_gradients = [part[:3] for part in step.encoded if part[3]]
    without = [part[:3] for part in step.encoded if not part[3]]
    assert with_gradients == without
    assert without == [
        ("drone", 0, 6),
        ("drone", 6, 9),
        ("street", 0, 5),
        ("satellite", 0, 6),
        ("satellite", 6, 12),
        ("text", 0, 6),
        ("text", 6, 7),
    ]


def test_a_scaled_loss_scales_every_gradient_alike(step):
    step.model.eval()
    _, expected = step.run(4)

    _, found = step.run(4, backward=lambda loss: (loss * 1024).backward())

    assert relative_error(found / 1024, expected) < 1e-4


def test_a_frozen_encoder_and_a_modality_without_loss_get_no_gradient():
    layers = {"drone": torch.nn.Linear(2, 3), "street": torch.nn.Linear(2, 3)}
    frozen = torch.nn.Linear(2, 3).requires_grad_(False)
    layers["satellite"] = frozen
    inputs = torch.randn(5, 2)

    loss = cached_step(
        lambda name, first, last: layers[name](inputs[first:last]),
        {"drone": 5, "street": 5, "satellite": 5, "text": 0},
        2,
        lambda features: (features["drone"] * features["satellite"]).sum(),
        torch.Tensor.backward,
    )

    features = frozen(inputs)
    expected = (layers["drone"](inputs) * features).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(layers["drone"].weight.grad, features.T @ inputs)
    assert layers["street"].weight.grad is None
    assert frozen.weight.grad is None


def test_parts_of_nothing_are_refused():
    with pytest.raises(TrainingError, match="set chunk to 1 or more"):
        cached_step(lambda *_: torch.zeros(1), {"drone": 3}, 0, lambda _: torch.zeros(()), id)
