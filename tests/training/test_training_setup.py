"""What a configuration asks for: the model it starts from, its sets, the edges they teach."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from training_stage import TRAIN, VAL, picture, tiny_run, write_picture, write_table

from geobridge.errors import ModelError, PlacesError, TrainingError, WorldError
from geobridge.model.geobridge import GeoBridge
from geobridge.training.config import TrainConfig
from geobridge.training.maps import MapSource
from geobridge.training.parameters import ParametersConfig, select
from geobridge.training.setup import (
    check_edges,
    check_neighbours,
    check_normalisation,
    check_texts,
    open_data,
    open_parts,
    start_config,
    start_model,
)
from geobridge.training.sources import PictureSource, WorldSource
from geobridge.training.stream import OrderedPart
from geobridge.views import VIEWS

TEXTS = ["a stadium by a river", "red roofs along a straight road"]
SIZES = {"drone": (24, 24), "street": (16, 64), "satellite": (24, 24)}
PLANET = {"world": {"regions": ["danube"], "towns_per_batch": 1, "dates_per_visit": 3}}


def rows_of(model, view):
    return model.embed(view, [picture(seed, *SIZES[view]) for seed in range(3)])


def assert_same_rows(first, second, modalities=(*VIEWS, "text")):
    for modality in modalities:
        rows = [
            model.embed("text", TEXTS) if modality == "text" else rows_of(model, modality)
            for model in (first, second)
        ]
        np.testing.assert_allclose(*rows, atol=1e-6, err_msg=modality)


# The model: new ones.


def test_the_preset_is_changed_where_the_run_says_so(tiny_config):
    config = start_config(tiny_config())

    assert config.name == "tiny"
    assert config.image.config == {
        "layer_type": "basic",  # of the preset; the others are the run's
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
    }
    assert config.preprocess["street"].fit == "angular"
    assert config.preprocess["street"].width == 64


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({"name": None}, "mini"),
        ({"name": None, "settings": {"name": "mine"}}, "mine"),
        ({}, "tiny"),
    ],
)
def test_a_model_has_the_name_of_the_run_or_of_what_it_began_as(model, name, tiny_config):
    assert start_config(tiny_config(model=model)).name == name


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"preset": "nini"}, "there is no preset 'nini': choose one of"),
        ({"settings": {"image": {"poling": "gem"}}},
         "model.settings of 'mini' is not .* at 'image': .* did you mean 'pooling'"),
        ({"settings": {"preprocess": {"street": {"hight": 3}}}}, "did you mean 'height'"),
        ({"settings": {"weights": "none"}}, "model.settings of 'mini' is not .* at 'weights'"),
        ({"preset": None, "init": "./nowhere"}, "there is no model './nowhere'"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_had_is_refused(model, sentence, tiny_config):
    with pytest.raises(ModelError, match=sentence):
        start_config(tiny_config(model=model))


def test_a_new_model_learns_its_words_and_starts_at_its_temperature(tiny_config):
    config = tiny_config(objective={"initial_temperature": 0.1})

    model, again = start_model(config, TEXTS), start_model(config, TEXTS)

    assert model.logit_scale.exp().item() == pytest.approx(10)
    assert 259 <= model.tokenizer.get_vocab_size() <= 300
    assert len(model.tokenizer.encode("a stadium by").ids) < len("a stadium by")
    assert model.fingerprint == again.fingerprint
    assert start_model(tiny_config(seed=4), TEXTS).fingerprint != model.fingerprint


def test_a_model_that_reads_needs_sentences_or_is_told_to_read_none(tiny_config):
    with pytest.raises(TrainingError, match=r"none of the training sets has any: .*\{text: null\}"):
        start_model(tiny_config(), [])

    model = start_model(tiny_config(model={"settings": {"text": None}}), [])

    assert model.modalities == VIEWS


def test_more_words_than_the_encoder_has_rows_are_refused(tiny_config):
    with pytest.raises(ModelError, match=r"300 tokens and the text encoder .* 270 rows"):
        start_model(
            tiny_config(model={"settings": {"text": {"config": {"vocab_size": 270}}}}),
            [f"word{number} is told" for number in range(50)] * 2,
        )


# The model: trained ones.


@pytest.fixture(scope="module")
def save(tiny_places, tmp_path_factory):
    """A function that saves a model as if it were trained; gives it and a run that goes on."""

    def make(**settings):
        model = start_model(tiny_run(tiny_places, model={"settings": settings}), TEXTS)
        rng = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
        folder = tmp_path_factory.mktemp("models") / "trained"
        model.config = model.config.model_copy(
            update={"calibration": {"satellite": {}}, "provenance": {"of": "old"}}
        )
        model.save(folder)

        def going_on(**changes):
            start = {"preset": None, "init": str(folder), "settings": settings}
            return tiny_run(tiny_places, model=start | changes)

        return GeoBridge.load(folder), going_on

    return make


def test_a_trained_model_is_gone_on_from_as_it_is(save):
    trained, going_on = save()

    model = start_model(going_on(), [])

    assert_same_rows(model, trained)
    assert torch.equal(model.logit_scale, trained.logit_scale)
    assert model.config.calibration is None
    assert model.config.provenance == {"began_with": trained.fingerprint}
    assert model.name == "tiny"


def test_spatial_pooling_begins_as_the_generalised_mean_that_was_trained(save):
    trained, going_on = save()

    model = start_model(going_on(settings={"image": {"pooling": "spatial"}}), [])

    assert_same_rows(model, trained)
    assert model.config.image.pooling == "spatial"
    with torch.no_grad():
        model.head("drone").projection.weight[:, -16:] += 1  # what is new is used once it learns
    assert np.abs(rows_of(model, "drone") - rows_of(trained, "drone")).max() > 1e-3


def test_the_generalised_mean_keeps_its_part_of_spatial_pooling(save):
    trained, going_on = save(image={"pooling": "spatial"})
    with torch.no_grad():
        for view in VIEWS:
            trained.head(view).projection.weight[:, 16:] = 0

    model = start_model(going_on(settings={"image": {"pooling": "gem"}}), [])

    assert_same_rows(model, trained)


def test_maps_of_pictures_of_another_size_are_new_and_at_first_ignored(save):
    trained, going_on = save(image={"pooling": "spatial"})
    larger = {"height": 32, "width": 32}

    settings = {"image": {"pooling": "spatial"}, "preprocess": {"drone": larger}}
    model = start_model(going_on(settings=settings), [])

    assert_same_rows(model, trained, ("street", "satellite", "text"))
    # 32 pixels are 4 x 4 positions after three halvings.
    assert model.head("drone").pool.maps.shape == (8, 16)
    old, new = trained.head("drone").projection.weight, model.head("drone").projection.weight
    assert torch.equal(new[:, :16], old[:, :16])
    assert not new[:, 16:].any()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("shared", "adapter"),
        ("shared", "separate"),
        ("shared", "aerial"),
        ("adapter", "aerial"),
    ],
)
def test_what_was_shared_begins_as_the_same_for_each_view(before, after, save):
    trained, going_on = save(weights=before)

    model = start_model(going_on(settings={"weights": after}), [])

    assert len(model.heads) == 3
    assert_same_rows(model, trained)


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("aerial", "adapter", "tower"),
        ("aerial", "shared", "tower"),
        ("separate", "aerial", "tower"),
        ("adapter", "shared", "head"),
    ],
)
def test_what_views_have_learned_apart_is_not_drawn_anew_as_one(before, after, what, save):
    _, going_on = save(weights=before)

    with pytest.raises(TrainingError, match=f"under '{after}' its {what}s of several views would"):
        start_model(going_on(settings={"weights": after}), [])


def test_words_that_were_learned_are_not_learned_again_where_they_are_lost(save):
    trained, going_on = save()
    (Path(trained.loaded_from) / "tokenizer.json").unlink()

    model = start_model(going_on(), TEXTS)

    assert model.tokenizer is None
    assert_same_rows(model, GeoBridge.load(trained.loaded_from), VIEWS)


def test_views_that_part_begin_with_the_tower_that_each_of_them_had(save):
    trained, going_on = save(weights="aerial")
    with torch.no_grad():
        for parameter in trained.trunks["street"].parameters():
            parameter.add_(0.5)
    trained.save(trained.loaded_from)

    model = start_model(going_on(settings={"weights": "separate"}), [])

    former = {"drone": "aerial", "street": "street", "satellite": "aerial"}
    for view, key in former.items():
        new, old = model.trunks[view].state_dict(), trained.trunks[key].state_dict()
        assert all(torch.equal(new[name], old[name]) for name in old)


def test_weights_that_fit_no_more_are_drawn_and_the_others_kept(save):
    trained, going_on = save()

    model = start_model(going_on(settings={"dim": 6, "text": None}), [])

    assert model.modalities == VIEWS
    old, new = trained.state_dict(), model.state_dict()
    assert new["heads.drone.projection.weight"].shape == (6, 16)
    assert [name for name in new if new[name].shape == old[name].shape] == [
        name for name in new if torch.equal(new[name], old[name])
    ]


def test_a_model_without_words_may_learn_some(save, tiny_config):
    trained, going_on = save(text=None)
    text = tiny_config().model.settings["text"]
    whole = text | {"kind": "clip", "config": text["config"] | {"pad_token_id": 0}}

    with pytest.raises(TrainingError, match="none of the training sets has any"):
        start_model(going_on(settings={"text": whole}), [])
    model = start_model(going_on(settings={"text": whole}), TEXTS)

    assert model.embed("text", TEXTS).shape == (2, 8)
    assert_same_rows(model, trained, VIEWS)


# The sets.


def test_the_sets_are_opened_in_their_order(tiny_places, tiny_table, tiny_config, town_map):
    train = [
        {"places": str(tiny_places), "split": "train"},
        {"table": str(tiny_table), "look": "ground"},
        PLANET,
        {"maps": [str(town_map)]},
    ]
    config = tiny_config(data={"train": train})

    data = open_data(config, start_config(config).preprocess)

    kinds = [PictureSource, PictureSource, WorldSource, MapSource]
    assert [type(source) for source in data.train] == kinds
    assert [len(data.train[0]), len(data.train[1])] == [TRAIN, 6]
    assert [len(source) for source in data.validation] == [VAL]
    assert data.train[1].name == str(tiny_table)


def test_sentences_are_those_of_the_training_sets(tiny_places, tiny_table, tiny_config):
    train = [{"places": str(tiny_places), "split": "train"}, {"table": str(tiny_table)}]
    config = tiny_config(data={"train": train})

    texts = list(open_data(config, start_config(config).preprocess).texts)

    assert len(texts) == TRAIN - 2 + 6  # two places of this split have none
    assert texts[-1] == "one sees a harbour with cranes"


def test_a_model_that_reads_already_asks_for_no_sentences(save):
    _, going_on = save()

    assert start_model(going_on(), iter(lambda: 1 / 0, None)).tokenizer is not None


def test_sentences_that_are_too_long_are_counted_at_the_start(tiny_config, tiny_places):
    sources = {"train": [PLANET], "validation": [{"places": str(tiny_places)}]}
    config = tiny_config(data=sources)
    data = open_data(config, start_config(config).preprocess)
    model = start_model(config, data.validation[0].texts)
    check_texts(model, data)  # the planet's are not told for this

    # Letter by letter, with a space before, a start and an end, the sentence with the red roofs
    # has 34 tokens and the one with the harbour 24; the first is told of places 1, 9 and 13.
    mute = start_model(config, ["z"])
    with pytest.raises(
        TrainingError,
        match=r"^3 of 14 texts .* more than the 24 tokens .* first that of p01 \('red roofs",
    ):
        check_texts(mute, data)
    check_texts(start_model(tiny_config(model={"settings": {"text": None}}), []), data)


@pytest.mark.parametrize(
    ("source", "error", "sentence"),
    [
        ({"places": "nowhere"}, PlacesError, "nowhere is no places data set"),
        ({"table": "nowhere.csv"}, TrainingError, "the table nowhere.csv cannot be read"),
        ({"world": {"sede": 1}}, TrainingError, "`world` has no key 'sede': did you mean 'seed'"),
        ({"world": {"size": 1}}, WorldError, "size 1 is no option"),
    ],
)
def test_a_set_that_cannot_be_opened_is_named(source, error, sentence, tiny_config):
    config = tiny_config(data={"train": [source]})

    with pytest.raises(error, match=sentence):
        open_data(config, start_config(config).preprocess)


def test_a_set_smaller_than_a_batch_is_refused(tiny_config, tiny_places):
    train = [{"places": str(tiny_places), "split": "train", "per_batch": 5}]
    config = tiny_config(data={"train": train})
    data = open_data(config, start_config(config).preprocess)

    (part,) = open_parts(config, data, rank=1, world_size=2)
    assert isinstance(part, OrderedPart)
    assert part.order.batches_per_epoch == 1
    with pytest.raises(
        TrainingError, match="has 12 places, and one batch takes 15 of them for 3 processes: make"
    ):
        open_parts(config, data, rank=0, world_size=3)


def test_parts_are_in_the_order_of_the_sets_with_orders_of_their_own(tiny_config, tiny_places):
    places = {"places": str(tiny_places), "split": "train", "per_batch": 4}
    config = tiny_config(data={"train": [places, PLANET | {"per_batch": 2}, places]})
    data = open_data(config, start_config(config).preprocess)

    first, planet, second = open_parts(config, data)

    assert planet is data.train[1]
    assert first.source is data.train[0]
    orders = [part.order.rows(0, lambda _: 0.0).tolist() for part in (first, second)]
    assert orders[0] != orders[1]


# Edges.


def checked(config):
    found = start_config(config)
    return check_edges(config, open_data(config, found.preprocess), found.modalities)


def one_set(**source):
    return {"train": [source], "validation": []}


def test_every_edge_has_places(tiny_config):
    assert checked(tiny_config()) == []


def test_edges_that_no_place_teaches_are_said_or_refused_where_they_are_named(
    tiny_config, tiny_table
):
    # Drone and satellite together, and a text with satellites alone.
    data = one_set(table=str(tiny_table))
    idle = ["drone-street", "street-satellite", "text-drone", "text-street"]

    assert checked(tiny_config(data=data)) == idle
    assert checked(tiny_config(data=data, objective={"image_edges": ["D-S"]})) == idle[2:]
    # Named by their default, as a resolved configuration does, they are not asked for.
    named = tiny_config(data=data).objective.model_dump(mode="json")
    assert checked(tiny_config(data=data, objective=named)) == idle
    with pytest.raises(TrainingError, match=r"no batch of .*table.csv can hold two places with"):
        checked(tiny_config(data=data, objective={"image_edges": ["D-S", "P-S"]}))
    with pytest.raises(TrainingError, match=r"modalities of text-drone, or the model .*: add the"):
        checked(tiny_config(data=data, objective={"text_views": ["drone", "satellite"]}))


def test_a_run_that_nothing_teaches_is_refused(tiny_config, tiny_places):
    data = one_set(places=str(tiny_places), modalities=["drone"])
    with pytest.raises(TrainingError, match="with both modalities of drone-street, street-satell"):
        checked(tiny_config(data=data))

    mute = tiny_config(model={"settings": {"text": None}}, objective={"anchors": "text-only"})
    with pytest.raises(TrainingError, match="or the model does not take them"):
        checked(mute)


def test_an_edge_of_a_single_place_teaches_nothing(tiny_config, tmp_path):
    rows = [{"drone": "0.jpg", "satellite": "1.jpg", "street": "2.jpg"}]
    rows += [{"drone": f"{number}.jpg", "satellite": f"{number + 1}.jpg"} for number in (3, 5)]
    for number in range(7):
        write_picture(tmp_path / f"{number}.jpg", number)
    table = str(write_table(tmp_path / "t.csv", rows))
    texts = ["text-drone", "text-street", "text-satellite"]

    config = tiny_config(data=one_set(table=table))

    assert checked(config) == ["drone-street", "street-satellite", *texts]
    # The same place once in each of two sets is two places of a batch, as far as is known.
    twice = {"train": [{"table": table}, {"table": table}], "validation": []}
    assert checked(tiny_config(data=twice)) == texts


def test_a_batch_of_one_place_is_refused_unless_another_process_has_one(tiny_config, tiny_places):
    data = {"train": [{"places": str(tiny_places), "split": "train", "per_batch": 1}]}

    with pytest.raises(TrainingError, match=r"can hold two places .* make the batch larger, or l"):
        checked(tiny_config(data=data))

    assert checked(tiny_config(data=data, fit={"devices": 2})) == []
    assert checked(tiny_config(data={"train": data["train"] * 2})) == []


# Batch normalisation.


@pytest.mark.parametrize(
    ("fit", "part"),
    [
        ({"chunk": 2}, "parts of fit.chunk 2 would each"),
        ({"devices": 2}, "several processes would each"),
        ({"nodes": 2}, "several processes would each"),
    ],
)
def test_batch_normalisation_trains_on_whole_batches_alone(fit, part, tiny_config):
    batch = {"settings": {"image": {"norm": "batch"}}}
    whole, divided = tiny_config(model=batch), tiny_config(model=batch, fit=fit)
    model = start_model(whole, TEXTS)

    check_normalisation(whole, model)
    with pytest.raises(TrainingError, match=rf"normalises by the batch, and {part} .* to layer"):
        check_normalisation(divided, model)

    select(model, ParametersConfig(train="heads"))
    check_normalisation(divided, model)
    layer = tiny_config(model={"settings": {"image": {"norm": "layer"}}}, fit=fit)
    check_normalisation(layer, start_model(layer, TEXTS))


def test_the_planet_teaches_all_but_what_it_is_told_to_lack(tiny_config):
    lacking = {"world": PLANET["world"] | {"missing": {"street": 1.0}}}

    assert checked(tiny_config(data={"train": [PLANET], "validation": []})) == []
    assert checked(tiny_config(data={"train": [lacking], "validation": []})) == [
        "drone-street",
        "street-satellite",
        "text-street",
    ]


def test_orders_know_the_radius_of_the_objective(tiny_config):
    config = tiny_config(
        objective={"radius_m": 50}, negatives={"kind": "neighbours", "starts": 0, "full": 0}
    )
    data = open_data(config, start_config(config).preprocess)

    (part,) = open_parts(config, data)

    neighbours = part.order._neighbours
    assert neighbours[0, :2].tolist() == [1, 2]
    assert 11 not in neighbours[10].tolist()  # 11 m away: the same ground


def test_neighbours_are_not_looked_for_where_no_place_has_a_position(
    tiny_config, tiny_places, tmp_path
):
    pictures = [path.as_posix() for path in sorted(tiny_places.glob("satellite/*"))]
    nowhere = write_table(tmp_path / "table.csv", [{"satellite": path} for path in pictures])

    def found(*train, kind="neighbours"):
        data = {"train": list(train), "validation": []}
        config = tiny_config(data=data, negatives={"kind": kind})
        return check_neighbours(config, open_data(config, start_config(config).preprocess))

    placed, lost = {"places": str(tiny_places)}, {"table": str(nowhere)}

    assert found(placed) == []
    assert found(placed, lost) == [str(nowhere)]
    assert found(lost, kind="mined") == found(lost, kind="random") == []
    with pytest.raises(TrainingError, match=r"no place of .*table\.csv has a position"):
        found(lost)


def test_pictures_of_a_pretrained_tower_are_prepared_as_it_was_trained(tiny_places, tmp_path):
    tower = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    transformers.ResNetModel(tower).save_pretrained(tmp_path)
    seen = {"size": {"height": 40, "width": 40}, "do_resize": True, "do_normalize": True}
    seen |= {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(seen))

    def run(**settings):
        image = {"source": str(tmp_path), "pooling": "gem", "norm": "batch"}
        return TrainConfig(
            model={"preset": "mini", "settings": {"image": image} | settings},
            data={"train": [{"places": str(tiny_places)}]},
            fit={"steps": 1},
        )

    found = start_config(run()).preprocess
    assert {view: (item.height, item.width) for view, item in found.items()} == dict.fromkeys(
        VIEWS, (40, 40)
    )
    assert found["drone"].mean == (0.5, 0.5, 0.5)
    assert start_model(run(), TEXTS).config.preprocess == found
    with pytest.raises(TrainingError, match="does not fit the pretrained tower"):
        start_config(run(preprocess={"drone": {"height": 48, "width": 48}}))
