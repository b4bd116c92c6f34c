import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import tiny_settings

from geobridge.errors import ImageError, ModelError, PositionError, TextTooLongError
from geobridge.geo.photos import read_photo_metadata
from geobridge.imagery.street import StreetField
from geobridge.model.config import parse_config, read_preset
from geobridge.model.geobridge import GeoBridge

RANDOM = np.random.default_rng(0)


def picture(height=20, width=24):
    return RANDOM.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("view", ["drone", "street", "satellite"])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_rows_are_float32_of_unit_norm(view, count, tiny):
    rows = tiny.embed(view, [picture() for _ in range(count)], batch_size=2)

    assert rows.shape == (count, 8)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(count), abs=1e-5)


@pytest.mark.parametrize("weights", ["separate", "shared", "adapter", "aerial"])
def test_every_arrangement_of_weights_embeds_every_modality(weights, make_tiny):
    model = make_tiny(weights=weights)

    assert model.modalities == ("drone", "street", "satellite", "text")
    for view in ("drone", "street", "satellite"):
        assert model.embed(view, [picture()]).shape == (1, 8)
    assert model.embed("text", ["a river", "a harbour", ""]).shape == (3, 8)


def test_what_is_seen_from_above_shares_a_tower_that_the_street_does_not(make_tiny):
    model = make_tiny(weights="aerial")

    assert set(model.trunks) == {"aerial", "street"}
    assert set(model.heads) == {"drone", "street", "satellite"}
    touched = {}
    for view in ("drone", "street", "satellite"):
        model.zero_grad(set_to_none=True)
        model.encode_images(view, torch.stack([model.prepare(view, picture())])).sum().backward()
        touched[view] = {
            ".".join(name.split(".")[:2])
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }
    assert touched == {
        "drone": {"trunks.aerial", "heads.drone"},
        "street": {"trunks.street", "heads.street"},
        "satellite": {"trunks.aerial", "heads.satellite"},
    }
    assert model.heads["drone"].adapter.down.out_features == model.config.adapter_dim


def test_without_a_street_there_is_no_tower_for_it(make_tiny):
    whole = make_tiny(weights="aerial").config
    above = {view: whole.preprocess[view] for view in ("drone", "satellite")}

    model = GeoBridge.from_config(whole.model_copy(update={"preprocess": above, "text": None}))

    assert set(model.trunks) == {"aerial"}


def test_an_item_does_not_depend_on_its_batch_or_its_neighbours(tiny):
    pictures = [picture(20 + index, 30) for index in range(5)]

    together = tiny.embed("drone", pictures)

    np.testing.assert_allclose(tiny.embed("drone", pictures, batch_size=2), together, atol=1e-5)
    np.testing.assert_allclose(tiny.embed("drone", pictures[3:4]), together[3:4], atol=1e-5)


def test_with_layer_normalisation_training_mode_changes_nothing(tiny):
    batch = torch.stack([tiny.prepare("drone", picture()) for _ in range(3)])
    trained = tiny.train().encode_images("drone", batch).detach().numpy()

    np.testing.assert_allclose(tiny.embed_prepared("drone", batch), trained, atol=1e-5)
    assert tiny.training


def test_a_file_is_embedded_as_its_pixels(tiny, tmp_path):
    image = picture(16, 16)
    Image.fromarray(image).save(tmp_path / "photo.png")

    rows = tiny.embed("satellite", [tmp_path / "photo.png", str(tmp_path / "photo.png")])

    expected = tiny.embed("satellite", [image, image])
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_the_field_of_view_of_a_street_picture_matters(tiny, tmp_path):
    image = picture(16, 64)
    Image.fromarray(image).save(tmp_path / "street.png")
    guessed = tiny.embed("street", [image])

    narrow = tiny.embed("street", [image], fields=[StreetField(60.0, 15.0)])

    assert not np.allclose(narrow, guessed, atol=1e-3)
    np.testing.assert_allclose(tiny.embed("street", [tmp_path / "street.png"]), guessed, atol=1e-6)
    np.testing.assert_allclose(
        tiny.embed("street", [image, image], fields=[None, StreetField(60.0, 15.0)]),
        np.vstack([guessed, narrow]),
        atol=1e-5,
    )


def test_an_impossible_position_in_a_street_photo_does_not_stop_it(tiny, tmp_path):
    image = Image.fromarray(picture(16, 64))
    exif = Image.Exif()
    # GPS block: 0 degrees north, 0 degrees east.
    exif.get_ifd(0x8825).update({1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)})
    image.save(tmp_path / "nowhere.jpg", exif=exif)
    with pytest.raises(PositionError):
        read_photo_metadata(tmp_path / "nowhere.jpg")

    assert tiny.embed("street", [tmp_path / "nowhere.jpg"]).shape == (1, 8)


def test_embedding_leaves_frozen_parts_of_a_model_in_training_frozen(tiny):
    tiny.train()
    tiny.trunks.eval()

    tiny.embed("drone", [picture()])

    assert tiny.heads.training
    assert not tiny.trunks.training


def test_prepared_float_pictures_are_taken_as_normalised(tiny):
    batch = torch.stack([tiny.prepare("drone", picture())])
    normalised = tiny.config.preprocess["drone"].normalize(batch)

    assert torch.allclose(
        tiny.encode_images("drone", batch), tiny.encode_images("drone", normalised), atol=1e-6
    )


def test_gradients_reach_every_weight_of_every_modality(tiny):
    tiny.train()
    street = torch.stack([tiny.prepare("street", picture(8, 32)) for _ in range(2)])
    square = torch.stack([tiny.prepare("drone", picture()) for _ in range(2)])
    rows = [
        tiny.encode_images("drone", square),
        tiny.encode_images("satellite", square),
        tiny.encode_images("street", street),
        tiny.encode_texts(["a", "b"]),
    ]

    (tiny.logit_scale.exp() * sum(row[:, 0].sum() for row in rows)).backward()

    without = [name for name, weight in tiny.named_parameters() if weight.grad is None]
    assert without == []


def test_a_model_without_text_says_what_it_embeds(make_tiny):
    square = {"height": 16, "width": 16}
    model = make_tiny(text=None, preprocess={"drone": square, "satellite": square})

    assert model.modalities == ("drone", "satellite")
    with pytest.raises(
        ModelError, match="model 'tiny' has no text encoder; it embeds drone, satellite"
    ):
        model.embed("text", ["a river"])
    with pytest.raises(ModelError, match="has no street encoder"):
        model.prepare("street", picture())
    with pytest.raises(ModelError, match="'air' is no modality"):
        model.embed("air", [picture()])


def test_a_model_without_tokenizer_says_how_to_get_one(make_tiny):
    model = make_tiny(tokenizer=None)

    with pytest.raises(ModelError, match=r"no tokenizer: .*attach_tokenizer"):
        model.embed("text", ["a river"])


def test_a_tokenizer_larger_than_its_encoder_is_refused(make_tiny, words, tiny_config):
    text = tiny_config()["text"]
    small = text | {"config": text["config"] | {"vocab_size": 100}}

    with pytest.raises(ModelError, match=r"has \d+ tokens and the text encoder .* 100 rows"):
        make_tiny(text=small)
    with pytest.raises(ModelError, match="has no text encoder"):
        make_tiny(text=None).attach_tokenizer(words)


def test_more_tokens_than_positions_are_refused(make_tiny, tiny_config):
    with pytest.raises(ModelError, match="24 positions, fewer than max_tokens = 30"):
        make_tiny(text=tiny_config()["text"] | {"max_tokens": 30})


def test_a_tower_that_cannot_be_built_names_its_reason(make_tiny, tiny_config):
    image = tiny_config()["image"]

    with pytest.raises(ModelError, match="ResNetModel cannot be built from its configuration"):
        make_tiny(image=image | {"config": {"layer_type": "triangular"}})


def test_long_text_and_bad_files_are_named(tiny, tmp_path):
    with pytest.raises(TextTooLongError, match="the model takes at most 24"):
        tiny.embed("text", ["0123456789" * 4])
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        tiny.embed("drone", [picture(), tmp_path / "broken.jpg"])


def test_a_single_item_instead_of_a_list_is_refused(tiny):
    with pytest.raises(ModelError, match=r"takes a list of items: pass \['a river'\]"):
        tiny.embed("text", "a river")


def test_pictures_of_the_wrong_shape_are_refused(tiny):
    with pytest.raises(ModelError, match=r"takes drone pictures of shape \(B, 3, 16, 16\)"):
        tiny.encode_images("drone", torch.zeros(2, 3, 16, 64, dtype=torch.uint8))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_an_embedding_that_is_none_names_its_item(value, tiny, tmp_path):
    Image.fromarray(picture()).save(tmp_path / "photo.png")
    with torch.no_grad():
        for module in (tiny.heads["drone"].projection, tiny.text.trunk.text_projection):
            for parameter in module.parameters():
                parameter.fill_(value)

    with pytest.raises(ModelError, match=r"photo\.png' by model 'tiny' is not finite or zero"):
        tiny.embed("drone", [tmp_path / "photo.png"])
    with pytest.raises(ModelError, match="embedding of 'a river' by"):
        tiny.embed("text", ["a river"])
    with pytest.raises(ModelError, match="embedding of picture 0 by"):
        tiny.embed_prepared("drone", torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
    assert tiny.embed("satellite", [picture()]).shape == (1, 8)


def test_the_seed_decides_the_weights_and_leaves_the_callers_generator_alone(make_tiny):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    first, again, other = make_tiny(seed=1), make_tiny(seed=1), make_tiny(seed=2)

    assert torch.equal(torch.rand(1), expected)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_mini_preset_is_whole_and_small(words):
    model = GeoBridge.from_preset("mini", tokenizer=words)

    assert model.dim == 256
    assert model.modalities == ("drone", "street", "satellite", "text")
    # In float16: two bytes a weight, under 25 MB.
    assert sum(weight.numel() for weight in model.parameters()) * 2 < 24e6
    assert model.prepare("street", picture()).shape == (3, 64, 256)


def test_a_base_preset_trains_in_little_memory_and_the_paper_has_four_towers():
    # Published sizes: CLIP ViT-B/16 86.2 M and its text tower 63.4 M; ViT-L/14 304.0 M, 123.8 M.
    with torch.device("meta"):
        base, paper = GeoBridge(read_preset("base")), GeoBridge(read_preset("paper"))

    def millions(module):
        return sum(weight.numel() for weight in module.parameters()) / 1e6

    assert millions(base.trunks) == pytest.approx(86.2, abs=0.1)
    assert millions(base.text) == pytest.approx(63.4, abs=0.1)
    assert millions(base.heads) < 1
    assert millions(paper.trunks) == pytest.approx(3 * 304.0, abs=1)
    assert millions(paper.text) == pytest.approx(123.7, abs=0.2)


def test_a_preset_can_start_from_a_local_folder(zoo):
    model = GeoBridge.from_preset("base", source=str(zoo["clip"]))

    assert model.config.preprocess["street"].fit == "squash"
    assert model.config.preprocess["drone"].height == 32
    assert model.config.image.source == str(zoo["clip"])
    assert model.embed("text", ["a pier"]).shape == (1, 512)
    expected = GeoBridge.from_towers(str(zoo["clip"])).trunks["shared"].state_dict()
    for name, weight in model.trunks["shared"].state_dict().items():
        assert torch.equal(weight, expected[name])


def test_a_preset_without_pretrained_weights_needs_no_hub(tiny_config):
    config = parse_config(
        tiny_config(image=tiny_config()["image"] | {"source": "nobody/nothing"}), "test"
    )

    assert GeoBridge.from_config(config, pretrained=False).dim == 8


def spatial(make_tiny, **changes):
    return make_tiny(image=tiny_settings()["image"] | {"pooling": "spatial"}, **changes)


def test_a_spatial_head_has_as_many_positions_as_its_view_has_tokens(make_tiny):
    model = spatial(make_tiny)

    # Squares of 16 pixels have 2 x 2 tokens, panoramas of 16 x 64 have 2 x 8.
    assert {view: tuple(model.head(view).pool.maps.shape) for view in model.config.views} == {
        "drone": (8, 4),
        "street": (8, 16),
        "satellite": (8, 4),
    }
    for view in model.config.views:
        assert model.embed(view, [picture(16, 64)]).shape == (1, 8)
        features = model.image_features(view, torch.stack([model.prepare(view, picture())]))
        assert features.shape == (1, 9 * 16)


def test_a_spatial_model_tells_a_picture_from_its_mirror_image(make_tiny):
    model, image = spatial(make_tiny), picture(16, 16)
    tokens = torch.rand(1, 4, 16)
    head = model.head("drone")

    assert not torch.allclose(head(tokens), head(tokens.flip(1)), atol=1e-3)
    assert not np.allclose(*model.embed("drone", [image, image[:, ::-1].copy()]), atol=1e-3)


def test_views_of_different_shapes_cannot_share_a_spatial_head(make_tiny):
    with pytest.raises(
        ModelError,
        match=r"'tiny' shares a spatial head .* 'street': 16.* or take weights 'adapter'",
    ):
        spatial(make_tiny, weights="shared")

    square = {"height": 16, "width": 16, "fit": "cover"}
    same = {"drone": square, "street": square, "satellite": square}
    model = spatial(make_tiny, weights="shared", preprocess=same)
    assert model.head("street").pool.maps.shape == (8, 4)


def test_a_spatial_model_is_saved_and_loaded(make_tiny, tmp_path):
    model, image = spatial(make_tiny), picture(16, 64)
    model.save(tmp_path / "model")

    again = GeoBridge.load(tmp_path / "model")

    assert again.fingerprint == model.fingerprint
    for view in model.config.views:
        np.testing.assert_allclose(
            again.embed(view, [image]), model.embed(view, [image]), atol=1e-6
        )
