import copy
import sys

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import nn

from geobridge.errors import MissingExtraError, TrainingError
from geobridge.model.config import parse_config
from geobridge.model.geobridge import GeoBridge
from geobridge.model.tokens import train_tokenizer
from geobridge.training.ema import WeightAverage
from geobridge.training.parameters import (
    ParametersConfig,
    blocks,
    merged,
    parameter_groups,
    select,
    train_mode,
)
from geobridge.views import VIEWS

SENTENCES = ["a stadium by a river", "red roofs along a straight road", "a harbour with cranes"]
WORDS = train_tokenizer(SENTENCES * 3, 300)
PICTURES = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()

VIT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "layer_type": "basic"}
SIGLIP2 = {key: value for key, value in VIT.items() if key != "image_size"} | {"num_patches": 4}
REGISTERS = VIT | {"num_register_tokens": 2}
IMAGE = {
    "resnet": {"config": RESNET, "pooling": "gem", "norm": "layer"},
    "clip": {"config": VIT | {"projection_dim": 16}, "pooling": "projection"},
    "siglip": {"config": VIT, "pooling": "projection"},
    "siglip2": {"config": SIGLIP2, "pooling": "projection"},
    "dinov2": {"config": VIT, "pooling": "cls"},
    "dinov2_with_registers": {"config": REGISTERS, "pooling": "mean"},
    "dinov3_vit": {"config": REGISTERS, "pooling": "gem"},
}
TEXT = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 24,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
TEXTS = {
    "clip": TEXT | {"projection_dim": 8},
    "siglip": TEXT | {"projection_size": 8},
    "siglip2": TEXT | {"projection_size": 8},
}

# Where each family of `transformers` keeps its parts, read off its printed modules.
IMAGE_BLOCKS = {
    "resnet": [f"encoder.stages.{place}" for place in ("0.layers.0", "1.layers.0", "1.layers.1")],
    "clip": [f"vision_model.encoder.layers.{i}" for i in range(3)],
    "siglip": [f"encoder.layers.{i}" for i in range(3)],
    "siglip2": [f"encoder.layers.{i}" for i in range(3)],
    "dinov2": [f"encoder.layer.{i}" for i in range(3)],
    "dinov2_with_registers": [f"encoder.layer.{i}" for i in range(3)],
    "dinov3_vit": [f"model.layer.{i}" for i in range(3)],
}
IMAGE_NORM = {
    "resnet": [],
    "clip": ["vision_model.post_layernorm"],
    "siglip": ["post_layernorm"],
    "siglip2": ["post_layernorm"],
    "dinov2": ["layernorm"],
    "dinov2_with_registers": ["layernorm"],
    "dinov3_vit": ["norm"],
}
IMAGE_HEAD = {"clip": ["visual_projection"], "siglip": ["head"], "siglip2": ["head"]}
TEXT_BLOCKS = {
    "clip": ["text_model.encoder.layers.0", "text_model.encoder.layers.1"],
    "siglip": ["encoder.layers.0", "encoder.layers.1"],
    "siglip2": ["encoder.layers.0", "encoder.layers.1"],
}
TEXT_NORM = {
    "clip": ["text_model.final_layer_norm"],
    "siglip": ["final_layer_norm"],
    "siglip2": ["final_layer_norm"],
}
TEXT_HEAD = {"clip": ["text_projection"], "siglip": ["head"], "siglip2": ["head"]}
KINDS = list(IMAGE)
TEXT_OF = {"siglip": "siglip", "siglip2": "siglip2"}  # the others stand beside a CLIP text


def make(kind="resnet", weights="adapter", dim=8, seed=0, text=True, **image):
    text_kind = TEXT_OF.get(kind, "clip")
    square = {"height": 16, "width": 16, "fit": "cover"}
    settings = {
        "name": "tiny",
        "dim": dim,
        "weights": weights,
        "image": {"kind": kind} | IMAGE[kind] | image,
        "text": {"kind": text_kind, "config": TEXTS[text_kind], "max_tokens": 24} if text else None,
        "preprocess": dict.fromkeys(VIEWS, square),
        "adapter_dim": 4,
    }
    config = parse_config(settings, "the test")
    return GeoBridge.from_config(config, seed=seed, tokenizer=WORDS if text else None)


def choose(model, seed=0, **settings):
    config = ParametersConfig(**settings)
    select(model, config, seed)
    return config


def training(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def under(model, *prefixes):
    """Names of all parameters in these modules."""
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        assert any(name.startswith(prefix + ".") for name in names), f"{prefix} has no parameters"
    return {name for name in names if name.startswith(tuple(prefix + "." for prefix in prefixes))}


def all_heads(model, kind):
    image, text = IMAGE_HEAD.get(kind, []), TEXT_HEAD[TEXT_OF.get(kind, "clip")]
    own = [f"trunks.shared.trunk.{name}" for name in image] + [
        f"text.trunk.{name}" for name in text
    ]
    after = under(model, "heads") - under(model, *(f"heads.{view}.adapter" for view in VIEWS))
    return under(model, *own) | after | {"logit_scale"}


def embed(model):
    rows = {view: model.embed_prepared(view, PICTURES) for view in VIEWS}
    return rows | {"text": model.embed("text", SENTENCES)} if model.text else rows


def loss_of(model):
    """Some number that depends on every embedding."""
    rows = [model.encode_images(view, PICTURES) for view in VIEWS]
    if model.text:
        rows.append(model.encode_texts(SENTENCES))
    weights = torch.linspace(-1, 1, model.dim)
    return sum((row @ weights).square().sum() for row in rows) * model.logit_scale


def shake(model, seed=5):
    """Move every weight that trains, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


# ---- blocks and modes ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_go_from_the_stem_to_the_last(kind):
    model = make(kind)
    text_kind = TEXT_OF.get(kind, "clip")
    trunk, text = model.trunks["shared"], model.text
    called = []
    for tower in (trunk, text):
        for block in blocks(tower):
            block.register_forward_hook(lambda block, *_: called.append(block))

    model.image_features("drone", PICTURES)
    model.text_features(SENTENCES)

    assert called == blocks(trunk) + blocks(text)
    assert blocks(trunk) == [trunk.trunk.get_submodule(name) for name in IMAGE_BLOCKS[kind]]
    assert blocks(text) == [text.trunk.get_submodule(name) for name in TEXT_BLOCKS[text_kind]]


def test_a_resnet_of_bottlenecks_is_cut_into_its_residual_layers():
    model = make(config=RESNET | {"layer_type": "bottleneck", "depths": [2, 3]})

    names = [type(block).__name__ for block in blocks(model.trunks["shared"])]

    assert names == ["ResNetBottleNeckLayer"] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_everything_trains_but_what_no_embedding_depends_on(kind):
    model = make(kind)

    choose(model, train="all")

    idle = {name for name, _ in model.named_parameters()} - training(model)
    assert idle == ({"trunks.shared.trunk.embeddings.mask_token"} if "dino" in kind else set())
    loss_of(model).backward()
    lacking = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not lacking


@pytest.mark.parametrize("kind", KINDS)
def test_heads_are_pooling_and_projections(kind):
    model = make(kind)

    choose(model, train="heads")

    assert training(model) == all_heads(model, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_train_with_the_heads_alone(kind):
    model = make(kind)

    choose(model, train="adapters")

    adapters = under(model, *(f"heads.{view}.adapter" for view in VIEWS))
    assert training(model) == all_heads(model, kind) | adapters


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layers_train_with_the_last_normalisation_and_the_heads(kind):
    model = make(kind)

    choose(model, train="last", last_layers=2)

    text_kind = TEXT_OF.get(kind, "clip")
    image = [*IMAGE_BLOCKS[kind][-2:], *IMAGE_NORM[kind]]
    text = [*TEXT_BLOCKS[text_kind][-2:], *TEXT_NORM[text_kind]]
    expected = under(
        model,
        *(f"trunks.shared.trunk.{name}" for name in image),
        *(f"text.trunk.{name}" for name in text),
        *(f"heads.{view}.adapter" for view in VIEWS),
    )
    assert training(model) == expected | all_heads(model, kind)


def test_the_last_layer_is_one_of_each_separate_tower():
    model = make("clip", weights="separate")

    choose(model, train="last", last_layers=1)

    trained = [name for name in training(model) if ".encoder.layers." in name]
    assert {".".join(name.split(".")[:6]) for name in trained} == {
        "trunks.drone.trunk.vision_model.encoder.layers",
        "trunks.street.trunk.vision_model.encoder.layers",
        "trunks.satellite.trunk.vision_model.encoder.layers",
        "text.trunk.text_model.encoder.layers.1",
    }
    assert all(".layers.2." in name for name in trained if name.startswith("trunks."))


def test_the_last_three_layers_of_mini_are_the_end_of_its_resnet_and_of_its_text():
    model = GeoBridge.from_preset("mini")

    choose(model, train="last", last_layers=3)

    image = "trunks.shared.trunk.encoder.stages"
    text = "text.trunk.text_model"
    assert training(model) == {"logit_scale"} | under(
        model,
        f"{image}.2.layers.1",
        f"{image}.3.layers.0",
        f"{image}.3.layers.1",
        f"{text}.encoder.layers.1",
        f"{text}.encoder.layers.2",
        f"{text}.encoder.layers.3",
        f"{text}.final_layer_norm",
        "text.trunk.text_projection",
        "heads",
    )


def test_an_added_text_projection_is_a_head():
    model = make(dim=12)

    choose(model, train="heads")

    assert "text.head.weight" in training(model)


# ---- freezing ------------------------------------------------------------------------------------


def test_a_frozen_text_tower_leaves_the_pictures_to_learn():
    model = make()

    choose(model, train="all", freeze=["text"])

    assert training(model) == {n for n, _ in model.named_parameters() if not n.startswith("text.")}


def test_a_frozen_view_of_its_own_tower_keeps_its_head_learning():
    model = make(weights="separate")

    choose(model, freeze=["street"])

    idle = {name for name, _ in model.named_parameters()} - training(model)
    assert idle == under(model, "trunks.street")


def test_the_street_is_frozen_alone_where_its_tower_is_its_own():
    model = make(weights="aerial")

    choose(model, freeze=["street"])

    idle = {name for name, _ in model.named_parameters()} - training(model)
    assert idle == under(model, "trunks.street")


def test_what_is_seen_from_above_is_frozen_together():
    with pytest.raises(TrainingError, match="drone, satellite share one tower"):
        choose(make(weights="aerial"), freeze=["drone"])


def test_a_street_tower_of_its_own_comes_with_adapters():
    model = make(weights="aerial")

    choose(model, train="adapters")

    assert under(model, *(f"heads.{view}.adapter" for view in VIEWS)) <= training(model)
    assert not training(model) & under(model, "trunks")


def test_views_on_one_tower_are_frozen_together():
    model = make()

    choose(model, freeze=["satellite", "drone", "street"])

    idle = {name for name, _ in model.named_parameters()} - training(model)
    assert idle == under(model, "trunks.shared")


@pytest.mark.parametrize(
    "settings",
    [
        {"train": "heads"},
        {"train": "adapters"},
        {"train": "last", "last_layers": 1},
        {"train": "all", "freeze": ["drone", "street", "satellite"]},
        {"train": "all", "freeze": ["text"]},
        {"train": "all", "lora": {"rank": 2}},
        {"train": "last", "last_layers": 1, "lora": {"rank": 2}, "freeze": ["text"]},
    ],
)
def test_a_step_moves_what_trains_and_nothing_else(settings):
    model = make(norm="batch")
    config = choose(model, **settings)
    optimizer = torch.optim.AdamW(parameter_groups(model, config, 0.01, 0.1))
    before = copy.deepcopy(model.state_dict())
    buffers = copy.deepcopy(dict(model.named_buffers()))

    for _ in range(2):  # LoRA's A waits for the first step of B
        train_mode(model)
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()

    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == training(model)
    collected = {n for n, buffer in model.named_buffers() if not torch.equal(buffer, buffers[n])}
    normalizing = {name.rpartition(".")[0] for name in moved if "normalization" in name}
    assert {name.rpartition(".")[0] for name in collected} == normalizing


# ---- parameter groups ----------------------------------------------------------------------------


def test_learning_rates_fall_by_the_decay_towards_the_stem():
    model = make()  # 3 residual layers; a text of 2 layers
    config = choose(model, layer_decay=0.5)

    groups = parameter_groups(model, config, 0.8, 0.05)

    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    rates = {name: rate[id(p)] for name, p in model.named_parameters()}
    image, text = "trunks.shared.trunk", "text.trunk.text_model"
    expected = {
        f"{image}.embedder.embedder.convolution.weight": 0.05,  # 0.8 / 2 ** 4
        f"{image}.encoder.stages.0.layers.0.layer.0.convolution.weight": 0.1,
        f"{image}.encoder.stages.1.layers.0.shortcut.normalization.bias": 0.2,
        f"{image}.encoder.stages.1.layers.1.layer.1.convolution.weight": 0.4,
        f"{text}.embeddings.token_embedding.weight": 0.1,  # 0.8 / 2 ** 3
        f"{text}.encoder.layers.0.self_attn.q_proj.weight": 0.2,
        f"{text}.encoder.layers.1.mlp.fc2.bias": 0.4,
        f"{text}.final_layer_norm.weight": 0.8,
        "text.trunk.text_projection.weight": 0.8,
        "heads.drone.adapter.down.weight": 0.8,
        "heads.street.pool.power": 0.8,
        "heads.satellite.projection.weight": 0.8,
        "logit_scale": 0.8,
    }
    assert {name: rates[name] for name in expected} == pytest.approx(expected)
    assert [group["name"] for group in groups] == [
        f"level_{level}{suffix}" for level in range(5) for suffix in ("", "_no_decay")
    ]
    scales = {group["name"]: group["lr_scale"] for group in groups}
    assert scales["level_3"] == 0.125
    assert all(group["lr"] == pytest.approx(0.8 * group["lr_scale"]) for group in groups)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decay", [1.0, 0.9])
def test_every_parameter_that_trains_is_in_one_group(kind, decay):
    model = make(kind)
    config = choose(model, train="last", last_layers=2, layer_decay=decay, freeze=["text"])

    groups = parameter_groups(model, config, 0.1, 0.05)

    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert len({group["name"] for group in groups}) == len(groups)
    assert len(groups) == (2 if decay == 1 else 6)


def test_vectors_have_no_weight_decay():
    model = make("dinov2_with_registers")
    config = choose(model)

    weight, vector = parameter_groups(model, config, 0.1, 0.05)

    names = {id(parameter): name for name, parameter in model.named_parameters()}
    without = {names[id(parameter)] for parameter in vector["params"]}
    assert (weight["weight_decay"], vector["weight_decay"]) == (0.05, 0.0)
    trunk = "trunks.shared.trunk"
    assert {
        "logit_scale",
        f"{trunk}.embeddings.cls_token",
        f"{trunk}.encoder.layer.0.norm1.weight",
        f"{trunk}.encoder.layer.0.attention.q_proj.bias",
        f"{trunk}.encoder.layer.0.layer_scale1.lambda1",
    } <= without
    with_decay = {names[id(parameter)] for parameter in weight["params"]}
    assert all(model.get_parameter(name).ndim >= 2 for name in with_decay)
    assert f"{trunk}.embeddings.register_tokens" in with_decay


def test_groups_come_in_the_same_order_every_time():
    orders = []
    for _ in range(2):
        model = make()
        config = choose(model, layer_decay=0.9, lora={"rank": 2})
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        groups = parameter_groups(model, config, 0.1, 0.05)
        orders.append([(g["name"], [names[id(p)] for p in g["params"]]) for g in groups])

    assert orders[0] == orders[1]


# ---- LoRA ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_merging_lora_changes_no_embedding_and_leaves_a_plain_model(kind, tmp_path, monkeypatch):
    model = make(kind)
    plain = set(model.state_dict())
    before = embed(model)
    choose(model, lora={"rank": 2, "alpha": 4, "dropout": 0.1})
    untouched = embed(model)  # B is zero: nothing changes yet
    shake(model)
    moved = embed(model)

    whole = merged(model)

    assert set(whole.state_dict()) == plain
    for modality, rows in embed(whole).items():
        np.testing.assert_allclose(untouched[modality], before[modality], atol=1e-6)
        np.testing.assert_allclose(rows, moved[modality], atol=1e-5)
    np.testing.assert_array_equal(embed(model)["drone"], moved["drone"])  # itself not merged
    whole.save(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "peft", None)
    again = GeoBridge.load(tmp_path / "model")
    assert again.fingerprint == whole.fingerprint
    np.testing.assert_allclose(embed(again)["text"], moved["text"], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_lora_adapts_every_layer_of_the_blocks_of_each_tower(kind):
    model = make(kind)
    layers = {
        f"{prefix}.{name}"
        for prefix, tower in (("trunks.shared", model.trunks["shared"]), ("text", model.text))
        for name, module in tower.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
        and any(
            name.startswith(f"trunk.{block}.")
            for block in (IMAGE_BLOCKS[kind] + TEXT_BLOCKS[TEXT_OF.get(kind, "clip")])
        )
    }
    heads = all_heads(model, kind) | under(model, *(f"heads.{view}.adapter" for view in VIEWS))

    choose(model, lora={"rank": 2})

    lora = {name for name in training(model) if ".lora_" in name}
    assert {name.partition(".lora_")[0] for name in lora} == layers
    assert training(model) == lora | heads


def test_lora_stays_within_the_last_layers_and_out_of_frozen_towers():
    model = make()

    choose(model, train="last", last_layers=1, lora={"rank": 2}, freeze=["text"])

    lora = {name.partition(".lora_")[0] for name in training(model) if ".lora_" in name}
    block = "trunks.shared.trunk.encoder.stages.1.layers.1.layer"
    assert lora == {f"{block}.0.convolution", f"{block}.1.convolution"}


def test_lora_learns_at_the_level_of_its_block():
    model = make()
    config = choose(model, lora={"rank": 2}, layer_decay=0.5)

    groups = parameter_groups(model, config, 1.0, 0.1)

    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    name = "trunks.shared.trunk.encoder.stages.0.layers.0.layer.0.convolution.lora_A.default.weight"
    assert rate[id(model.get_parameter(name))] == 0.125  # the first of three blocks


def test_lora_is_drawn_from_the_seed_and_leaves_other_draws_alone():
    def drawn(seed):
        model = make()
        torch.manual_seed(7)
        choose(model, seed, lora={"rank": 2})
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.manual_seed(7)))
        return torch.cat([p.flatten() for n, p in model.named_parameters() if ".lora_A" in n])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_a_run_with_lora_resumes_from_its_state():
    first, second = make(), make(seed=3)
    for model in (first, second):
        choose(model, lora={"rank": 2})
    shake(first)

    second.load_state_dict(first.state_dict())

    np.testing.assert_array_equal(embed(second)["street"], embed(first)["street"])


def test_averaged_weights_with_lora_are_merged_as_well():
    model = make()
    choose(model, lora={"rank": 2}, gradient_checkpointing=True)
    average = WeightAverage(model, 0.9)
    for seed in range(3):
        shake(model, seed)
        average.update(model)

    whole = merged(average.model)

    np.testing.assert_allclose(embed(whole)["drone"], embed(average.model)["drone"], atol=1e-5)
    assert set(whole.state_dict()) == set(make().state_dict())


# ---- gradient checkpointing ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_changes_no_gradient(kind):
    gradients, inside = [], []
    for recompute in (False, True):
        model = make(kind)
        choose(model, gradient_checkpointing=recompute, train="last", last_layers=2)
        calls = []
        for block in blocks(model.trunks["shared"])[-2:]:
            inner = next(part for part in block.modules() if isinstance(part, nn.LayerNorm))
            inner.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        train_mode(model)
        torch.manual_seed(0)  # DINOv3 draws a scale of its positions in training
        loss_of(model).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
        inside.append(len(calls))

    assert inside == [6, 12]  # two blocks, three views, once more in the backward pass
    plain, recomputed = gradients
    for name, gradient in plain.items():
        assert (gradient is None) == (recomputed[name] is None)
        assert gradient is None or torch.equal(gradient, recomputed[name]), name


def test_gradient_checkpointing_repeats_lora_dropout():
    gradients = []
    for recompute in (False, True):
        model = make("clip")
        choose(model, gradient_checkpointing=recompute, lora={"rank": 2, "dropout": 0.5})
        shake(model)
        train_mode(model)
        torch.manual_seed(0)
        loss_of(model).backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])

    for plain, recomputed in zip(*gradients, strict=True):
        assert torch.equal(plain, recomputed)


def test_a_copy_of_a_checkpointing_model_runs_its_own_blocks():
    model = make()
    choose(model, gradient_checkpointing=True)
    twin = copy.deepcopy(model)
    before = embed(twin)["drone"]

    shake(model)

    np.testing.assert_array_equal(embed(twin)["drone"], before)
    assert not np.array_equal(embed(model)["drone"], before)


def test_a_merged_model_recomputes_nothing():
    model = make()
    choose(model, gradient_checkpointing=True)

    whole = merged(model)

    assert not any("forward" in vars(module) for module in whole.modules())
    assert any("forward" in vars(module) for module in model.modules())


# ---- bad input -----------------------------------------------------------------------------------


def test_more_last_layers_than_a_tower_has_are_refused():
    with pytest.raises(TrainingError, match=r"tower of text .* has 2 blocks, fewer than .* 3"):
        choose(make(), train="last", last_layers=3)
    choose(make(), train="last", last_layers=3, freeze=["text"])  # the pictures' tower has 3


def test_adapters_are_trained_only_where_there_are_any():
    with pytest.raises(TrainingError, match="no adapters of views"):
        choose(make(weights="shared"), train="adapters")


def test_a_shared_tower_cannot_be_frozen_for_one_view():
    with pytest.raises(TrainingError, match="leaves street, satellite to learn"):
        choose(make(), freeze=["drone"])


def test_a_modality_the_model_lacks_cannot_be_frozen():
    with pytest.raises(TrainingError, match="freeze names text"):
        choose(make(text=False), freeze=["text"])


def test_lora_needs_a_tower_that_is_not_frozen():
    with pytest.raises(TrainingError, match="no layer to adapt"):
        choose(make(), lora={}, freeze=["drone", "street", "satellite", "text"])


def test_lora_is_injected_once():
    model = make()
    choose(model, lora={})

    with pytest.raises(TrainingError, match="LoRA adapters already"):
        choose(model, lora={})


def test_something_besides_the_temperature_must_train():
    model = make("clip", weights="shared", dim=16, text=False)  # its own projection has length 16

    with pytest.raises(TrainingError, match="nothing of model 'tiny' would train"):
        choose(model, freeze=["drone", "street", "satellite"])


def test_lora_without_peft_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)

    with pytest.raises(MissingExtraError, match=r"pip install geobridge\[train\]"):
        choose(make(), lora={})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train": "last"}, "needs last_layers"),
        ({"last_layers": 3}, "last_layers is for train 'last'"),
        ({"train": "heads", "lora": {}}, "lora adapts blocks"),
        ({"train": "last", "last_layers": 0}, "greater than or equal to 1"),
        ({"train": "some"}, "'all', 'last', 'adapters' or 'heads'"),
        ({"freeze": ["aerial"]}, "'drone'"),
        ({"layer_decay": 0}, "greater than 0"),
        ({"layer_decay": 1.1}, "less than or equal to 1"),
        ({"lora": {"rank": 0}}, "greater than or equal to 1"),
        ({"lora": {"dropout": 1}}, "less than 1"),
        ({"lora": {"ranks": 4}}, "did you mean 'rank'"),
        ({"layerdecay": 0.9}, "did you mean 'layer_decay'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        ParametersConfig(**settings)


def test_resolved_settings_can_be_read_again():
    config = ParametersConfig(train="last", last_layers=3, freeze=["text"], lora={"rank": 4})
    written = yaml.safe_dump(config.model_dump(mode="json"))

    assert ParametersConfig.model_validate(yaml.safe_load(written)) == config
    plain = ParametersConfig()
    assert ParametersConfig.model_validate(plain.model_dump(mode="json")) == plain
