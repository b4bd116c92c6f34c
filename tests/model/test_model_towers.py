import json

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open

from geobridge.errors import ModelError
from geobridge.model.config import ImageEncoderConfig
from geobridge.model.geobridge import GeoBridge
from geobridge.model.pretrained import read_preprocess
from geobridge.model.towers import (
    Adapter,
    GeneralizedMean,
    ImageTower,
    SpatialPooling,
    patchify,
    resnet_positions,
)

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


def normalized(mean, std):
    """The reference preprocessing of a picture that already has the encoder's size."""
    pixels = (PICTURE / 255 - np.array(mean)) / np.array(std)
    return torch.tensor(pixels.transpose(2, 0, 1)[None], dtype=torch.float32)


def unit(row):
    return torch.nn.functional.normalize(row, dim=-1).detach().numpy()


def reference_row(kind, folder):
    """The picture's own embedding by each encoder's documented use."""
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    pixels = normalized(settings["image_mean"], settings["image_std"])
    model = transformers.AutoModel.from_pretrained(folder)
    if kind == "siglip2":
        # The patches in reading order, each flattened row by row with the channels last.
        image = pixels[0].permute(1, 2, 0)
        tiles = [
            image[y : y + 8, x : x + 8].reshape(-1)
            for y in range(0, 32, 8)
            for x in range(0, 32, 8)
        ]
        return model.get_image_features(
            torch.stack(tiles)[None],
            pixel_attention_mask=torch.ones(1, 16, dtype=torch.long),
            spatial_shapes=torch.tensor([[4, 4]]),
        ).pooler_output
    if kind in ("clip", "siglip"):
        return model.get_image_features(pixels).pooler_output
    hidden = model(pixels).last_hidden_state
    return hidden[:, 0] if kind.startswith("dino") else hidden


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2", "dinov2", "dinov3_vit"])
def test_a_pretrained_encoder_embeds_a_picture_as_transformers_does(kind, zoo):
    model = GeoBridge.from_towers(str(zoo[kind]))
    if kind.startswith("dino"):  # these have no projection of their own; take the head away
        model.heads["shared"].projection = torch.nn.Identity()

    row = model.embed("drone", [PICTURE])

    np.testing.assert_allclose(row, unit(reference_row(kind, zoo[kind])), atol=2e-5)


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
def test_a_pretrained_encoder_embeds_a_sentence_as_transformers_does(kind, zoo):
    model = GeoBridge.from_towers(str(zoo[kind]), str(zoo[kind]))
    # SigLIP reads the filling too, up to its full length; CLIP stops at the end token.
    filling = "max_length" if kind != "clip" else False
    family = transformers.CLIPTokenizer if kind == "clip" else transformers.AutoTokenizer
    tokenizer = family.from_pretrained(zoo[kind])
    ids = tokenizer("a pier", padding=filling, max_length=24, return_tensors="pt").input_ids
    reference = transformers.AutoModel.from_pretrained(zoo[kind])
    expected = reference.get_text_features(ids).pooler_output

    rows = model.embed("text", ["a pier", "a"])

    np.testing.assert_allclose(rows[:1], unit(expected), atol=2e-5)


def test_clip_sentences_do_not_depend_on_their_neighbours_in_the_batch(zoo):
    model = GeoBridge.from_towers(str(zoo["clip"]), str(zoo["clip"]))

    together = model.embed("text", ["a pier", "a long wall"])

    np.testing.assert_allclose(together[:1], model.embed("text", ["a pier"]), atol=1e-6)


def test_only_the_tower_in_use_is_loaded(zoo):
    model = GeoBridge.from_towers(str(zoo["clip"]))
    with safe_open(zoo["clip"] / "model.safetensors", "pt") as whole:
        picture_keys = {key for key in whole.keys() if key.startswith("vis")}  # noqa: SIM118

    assert {key for key, _ in model.trunks["shared"].trunk.named_parameters()} == picture_keys
    assert model.modalities == ("drone", "street", "satellite")


@pytest.mark.parametrize("kind", ["dinov2", "dinov2_with_registers", "dinov3_vit"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_special_tokens_are_kept_apart_from_patches(kind, pooling, zoo):
    settings = transformers.AutoConfig.from_pretrained(zoo[kind]).to_dict()
    config = ImageEncoderConfig(kind=kind, config=settings, source=str(zoo[kind]), pooling=pooling)
    tower = ImageTower(config, pretrained=True).eval()

    tokens = tower(torch.zeros(2, 3, 32, 32))

    assert tokens.shape == (2, 1 if pooling == "cls" else 16, 64)


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2", "dinov2", "dinov3_vit", "resnet"])
def test_a_saved_model_on_pretrained_encoders_needs_their_folder_no_more(kind, zoo, tmp_path):
    text = str(zoo[kind]) if kind in ("clip", "siglip", "siglip2") else None
    model = GeoBridge.from_towers(str(zoo[kind]), text, weights="adapter", dim=16)
    model.save(tmp_path / "model")

    again = GeoBridge.load(tmp_path / "model")

    assert again.fingerprint == model.fingerprint
    for view in again.config.views:
        assert np.allclose(model.embed(view, [PICTURE]), again.embed(view, [PICTURE]), atol=1e-6)
    if text:
        assert np.allclose(model.embed("text", ["a"]), again.embed("text", ["a"]), atol=1e-6)


def test_separate_towers_start_equal_and_are_trained_apart(zoo):
    model = GeoBridge.from_towers(str(zoo["clip"]), weights="separate")
    drone, satellite = (model.embed(view, [PICTURE]) for view in ("drone", "satellite"))
    assert np.array_equal(drone, satellite)

    with torch.no_grad():
        model.trunks["drone"].trunk.visual_projection.weight.mul_(-1)

    assert np.allclose(model.embed("drone", [PICTURE]), -drone)
    assert np.array_equal(model.embed("satellite", [PICTURE]), satellite)


def test_an_adapter_does_nothing_until_it_is_trained(zoo):
    shared = GeoBridge.from_towers(str(zoo["clip"]), weights="shared")
    adapted = GeoBridge.from_towers(str(zoo["clip"]), weights="adapter")

    np.testing.assert_allclose(
        adapted.embed("street", [PICTURE]), shared.embed("street", [PICTURE]), atol=1e-6
    )


def test_preprocessing_is_the_encoders_own(zoo):
    found = read_preprocess(str(zoo["clip"]), None)
    assert (found.height, found.width, found.fit) == (32, 32, "cover")
    assert found.mean == pytest.approx((0.48, 0.46, 0.41))
    assert read_preprocess(str(zoo["dinov3_vit"]), None).fit == "squash"
    assert read_preprocess(str(zoo["siglip2"]), None).height == 32  # 16 patches of 8 pixels


@pytest.mark.parametrize(
    ("settings", "mean", "std"),
    [
        ({"do_normalize": False}, 0.0, 1.0),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, 0.5, 0.5),
        # Pixels left in 0..255: (x - 127.5) / 51 is (x / 255 - 0.5) / 0.2.
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3}, 0.5, 0.2),
        # Scaled to 0..2 by 1/127.5: (x / 127.5 - 1) / 1 is (x / 255 - 0.5) / 0.5.
        ({"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}, 0.5, 0.5),
    ],
)
def test_every_way_to_write_a_normalisation_means_the_same(settings, mean, std, tmp_path):
    written = {"size": 32} | settings
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(written))

    found = read_preprocess(str(tmp_path), "squash")

    assert found.mean == pytest.approx((mean,) * 3)
    assert found.std == pytest.approx((std,) * 3)


def test_settings_inside_a_processor_config_are_found(tmp_path):
    inner = {"size": {"height": 24, "width": 40}, "do_normalize": False}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inner}))

    found = read_preprocess(str(tmp_path), None)

    assert (found.height, found.width) == (24, 40)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (None, "has no preprocessor_config.json"),
        ({"size": {"longest_edge": 3}}, "gives no picture size"),
        ({"size": 32}, "has no image_mean of three numbers"),
    ],
)
def test_an_incomplete_preprocessing_is_refused(settings, sentence, tmp_path):
    if settings:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))

    with pytest.raises(ModelError, match=sentence):
        read_preprocess(str(tmp_path), None)


def test_a_text_encoder_cannot_be_a_picture_encoder(zoo):
    with pytest.raises(ModelError, match="is of kind 'dinov2': take an encoder of kind clip"):
        GeoBridge.from_towers(str(zoo["clip"]), str(zoo["dinov2"]))


def test_a_folder_without_weights_says_what_to_do(zoo, tmp_path):
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((zoo["dinov2"] / name).read_bytes())

    with pytest.raises(ModelError, match=r"cannot be loaded .* pass its local folder"):
        GeoBridge.from_towers(str(tmp_path))


def test_pickled_pretrained_weights_are_not_opened(zoo, tmp_path):
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((zoo["dinov2"] / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"would be unpickled")

    with pytest.raises(ModelError, match="cannot be loaded"):
        GeoBridge.from_towers(str(tmp_path))


def test_weights_of_another_tower_are_refused(zoo, tmp_path):
    for path in zoo["dinov2"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((zoo["resnet"] / "model.safetensors").read_bytes())

    with pytest.raises(ModelError, match=r"lacks \d+ weights of a Dinov2Model"):
        GeoBridge.from_towers(str(tmp_path))


def test_an_unreachable_hub_is_one_sentence_with_the_way_out(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(ModelError, match="download it elsewhere and pass its local folder"):
        GeoBridge.from_preset("base")


def test_clip_pictures_may_have_another_size_than_in_pretraining(zoo):
    config = GeoBridge.from_towers(str(zoo["clip"])).config
    tower = ImageTower(config.image, pretrained=True)

    assert tower(torch.zeros(1, 3, 32, 64)).shape == (1, 1, 48)


def test_patches_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match="30 x 32 pixels cannot be cut into patches of 8"):
        patchify(torch.zeros(1, 3, 30, 32), 8)


def test_the_generalised_mean_by_hand():
    tokens = torch.tensor([[[1.0], [2.0]]])  # one picture, two tokens, one channel
    assert GeneralizedMean(1.0)(tokens).item() == pytest.approx(1.5)
    assert GeneralizedMean(3.0)(tokens).item() == pytest.approx(((1 + 8) / 2) ** (1 / 3))


def test_the_generalised_mean_stays_finite_where_powers_would_not():
    tokens = torch.tensor([[[1e30, 0.0, -5.0], [2e30, 0.0, 1e-20]]], requires_grad=True)
    pool = GeneralizedMean(8.0)

    rows = pool(tokens)
    rows.sum().backward()

    assert torch.isfinite(rows).all()
    assert torch.isfinite(tokens.grad).all()
    assert torch.isfinite(pool.power.grad)


def test_an_adapter_is_a_residual():
    adapter = Adapter(4, 2)
    tokens = torch.randn(2, 3, 4)
    assert torch.equal(adapter(tokens), tokens)

    torch.nn.init.ones_(adapter.up.bias)

    assert torch.allclose(adapter(tokens), tokens + 1)


def test_spatial_pooling_by_hand():
    pool = SpatialPooling(positions=3, maps=2)
    # Two channels at three positions; the first map looks left and right, the second at the middle.
    tokens = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]]])
    with torch.no_grad():
        pool.maps.copy_(torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.5, 0.0]]))
        pool.gem.power.fill_(1.0)

    row = pool(tokens)

    # The mean of each channel, then each channel under the first map, then under the second.
    assert row.flatten().tolist() == pytest.approx([7 / 3, 70 / 3, -3.0, -30.0, 1.0, 10.0])


def test_spatial_pooling_knows_where_and_the_generalised_mean_does_not():
    pool = SpatialPooling(positions=4)
    tokens = torch.rand(1, 4, 3)

    there, elsewhere = pool(tokens), pool(tokens.flip(1))

    assert there.shape == (1, 9 * 3)
    assert torch.allclose(there[:, :3], elsewhere[:, :3])
    assert not torch.allclose(there[:, 3:], elsewhere[:, 3:], atol=1e-2)


def test_spatial_pooling_reads_half_precision_in_float32():
    pool = SpatialPooling(positions=4)

    row = pool(torch.rand(2, 4, 3).bfloat16())

    assert row.dtype == torch.float32


@pytest.mark.parametrize(
    ("height", "width", "positions"),
    # Two stages halve thrice, rounding up: 16 -> 2, 17 -> 9 -> 5 -> 3, 60 -> 30 -> 15 -> 8.
    [(16, 16, 4), (17, 16, 6), (60, 64, 64), (1, 1, 1)],
)
def test_a_resnet_makes_as_many_tokens_as_are_counted(height, width, positions):
    settings = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    config = ImageEncoderConfig(
        kind="resnet", config=settings | {"layer_type": "basic"}, pooling="spatial", norm="layer"
    )

    tokens = ImageTower(config)(torch.zeros(1, 3, height, width))

    assert resnet_positions(config, height, width) == positions
    assert tokens.shape == (1, positions, 16)


def test_a_resnet_of_default_stages_divides_by_32():
    config = ImageEncoderConfig(kind="resnet", pooling="gem")

    assert resnet_positions(config, 224, 100) == 7 * 4
