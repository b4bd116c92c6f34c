"""R@1 by direction against a slow reference."""

import numpy as np
import pytest
import torch
from training_stage import SENTENCES, TRAIN, VAL

from geobridge.errors import ImageError, ModelError
from geobridge.evaluation.retrieval import embed_places
from geobridge.places.table import iter_places
from geobridge.training import validation
from geobridge.training.config import SourceSettings
from geobridge.training.setup import start_model
from geobridge.training.sources import PictureSource, read_records
from geobridge.training.validation import Validation, embed_source, validate
from geobridge.views import NINE_DIRECTIONS

TEXTS = [*SENTENCES, "there is", "one sees"] * 2


@pytest.fixture(scope="module")
def model(tiny_config):
    return start_model(tiny_config(), TEXTS)


def open_source(model, **settings):
    found = SourceSettings(**settings)
    return PictureSource(found, model.config.preprocess, read_records(found))


def slow_recall(held, query, reference):
    """R@1 one query at a time: right where no other reference is as similar as the right one."""
    queries, references = held[query], held[reference]
    both = sorted(queries.keys() & references.keys())
    right = 0
    for place in both:
        similarity = {name: float(queries[place] @ row) for name, row in references.items()}
        own = similarity.pop(place)
        right += all(own > other for other in similarity.values())
    return right / len(both), len(references)


def test_recall_is_that_of_a_slow_reference(model, tiny_places):
    found = validate(model, [open_source(model, places=tiny_places)])

    places = [place for place in iter_places(tiny_places) if place.drone or place.street]
    held = {
        modality: dict(zip(rows.places.tolist(), rows.embeddings.astype(np.float64), strict=True))
        for modality, rows in embed_places(model, places).items()
    }
    assert list(found.recall) == [way.short for way in NINE_DIRECTIONS]
    for way in NINE_DIRECTIONS:
        recall, gallery = slow_recall(held, way.query, way.reference)
        assert found.recall[way.short] == pytest.approx(recall)
        assert found.gallery[way.short] == gallery
    # Street pictures are missing thrice, a text twice.
    assert found.gallery["D2P"] == TRAIN + VAL - 3
    assert found.score == pytest.approx(np.mean(list(found.recall.values())))
    assert 0 < found.score < 1


def test_places_are_embedded_in_parts_and_keep_their_rows(model, tiny_places, monkeypatch):
    source = open_source(model, places=tiny_places)
    whole = embed_source(model, source)

    monkeypatch.setattr(validation, "_AT_ONCE", 5)
    parts = embed_source(model, source)

    for modality in model.modalities:
        assert parts[1][modality].tolist() == np.flatnonzero(source.has(modality)).tolist()
        assert torch.equal(parts[1][modality], whole[1][modality])
        torch.testing.assert_close(parts[0][modality], whole[0][modality], atol=1e-5, rtol=0)


def test_a_direction_counts_the_sets_that_have_it(model, tiny_places, tiny_table):
    sources = [
        open_source(model, places=tiny_places, split="val", modalities=["drone", "satellite"]),
        open_source(model, table=tiny_table),
    ]

    one, two = (validate(model, [source]) for source in sources)
    both = validate(model, sources)

    assert list(one.recall) == ["D2S", "S2D"]
    assert list(two.recall) == ["D2S", "S2D", "T2S"]
    assert both.recall["D2S"] == pytest.approx((one.recall["D2S"] + two.recall["D2S"]) / 2)
    assert both.recall["T2S"] == two.recall["T2S"]
    # Four places, and six satellite pictures.
    assert both.gallery == {"D2S": 5.0, "S2D": 3.5, "T2S": 6.0}


def test_what_no_place_has_together_is_left_out(model, tmp_path, tiny_places):
    lines = ["drone,satellite,text"]
    for number, view in enumerate(["drone", "drone", "satellite"]):
        path = tiny_places / view / f"p{10 + number}.jpg"
        lines.append(f"{path},," if view == "drone" else f",{path},a river")
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")

    found = validate(model, [open_source(model, table=tmp_path / "t.csv")])

    assert found.recall == {"T2S": 1.0}
    assert found.gallery == {"T2S": 1.0}


def test_without_a_direction_the_score_is_zero(model, tiny_places):
    found = validate(model, [open_source(model, places=tiny_places, modalities=["drone"])])

    assert found == Validation({}, {})
    assert found.score == 0.0


def test_modalities_that_the_model_lacks_are_left_out(tiny_config, tiny_places):
    mute = start_model(tiny_config(model={"settings": {"text": None}}), [])

    embeddings, rows = embed_source(mute, open_source(mute, places=tiny_places, split="val"))

    assert set(embeddings) == set(rows) == {"drone", "street", "satellite"}


def test_a_model_in_training_stays_in_training(model, tiny_places):
    model.train()

    validate(model, [open_source(model, places=tiny_places, split="val")])

    assert model.training
    model.eval()


def test_damaged_weights_are_named_with_the_place(tiny_config, tiny_places):
    model = start_model(tiny_config(), TEXTS)
    with torch.no_grad():
        model.head("street").projection.weight.fill_(torch.nan)
    source = open_source(model, places=tiny_places, split="val")

    with pytest.raises(ModelError, match=r"the embedding of p12 by model 'tiny' is not finite"):
        validate(model, [source])


def test_a_picture_that_is_gone_is_named(model, tmp_path, tiny_places):
    (tmp_path / "a.jpg").write_bytes((tiny_places / "drone/p00.jpg").read_bytes())
    (tmp_path / "t.csv").write_text("drone,satellite\na.jpg,a.jpg\n", encoding="utf-8")
    source = open_source(model, table=tmp_path / "t.csv", cache=False)
    (tmp_path / "a.jpg").unlink()

    with pytest.raises(ImageError, match=r"a\.jpg does not exist"):
        validate(model, [source])
