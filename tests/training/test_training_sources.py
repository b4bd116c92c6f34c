"""Places of folders, tables and the planet: who they are, what they show, what is refused."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from shapely import box
from training_stage import (
    NO_TEXT,
    ONLY_TEXT,
    SENTENCES,
    TRAIN,
    VAL,
    tell,
    write_picture,
    write_table,
)

from geobridge.errors import ImageError, PlacesError, PositionError, TrainingError, WorldError
from geobridge.imagery.decode import read_image
from geobridge.imagery.preprocess import Preprocess
from geobridge.places.place import Place
from geobridge.places.table import write_places
from geobridge.training import pictures as pictures_module
from geobridge.training.batch import Batch
from geobridge.training.config import SourceSettings
from geobridge.training.looks import near_looks, random_street, two_looks
from geobridge.training.sources import (
    PictureSource,
    WorldSource,
    read_records,
    share_text_keys,
)
from geobridge.views import VIEWS
from geobridge.world.dataset import WorldDataset
from geobridge.world.planet import Town

SQUARE = Preprocess(16, 16)
PREPROCESS = {"drone": SQUARE, "street": Preprocess(16, 64, fit="angular"), "satellite": SQUARE}
FROM_ABOVE = {"drone": SQUARE, "satellite": SQUARE}


def open_source(preprocess=PREPROCESS, **settings):
    found = SourceSettings(**settings)
    return PictureSource(found, preprocess, read_records(found))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def flat(batch: Batch):
    """Everything in a batch as bytes and strings, to compare with `==`."""
    return (
        {view: pictures.numpy().tobytes() for view, pictures in batch.pictures.items()},
        batch.texts,
        {name: rows.tolist() for name, rows in batch.rows.items()},
        [tensor.numpy().tobytes() for tensor in (batch.lat, batch.lon, batch.text_key)],
        batch.names,
    )


# Which places there are.


def test_places_with_pictures_are_read_and_a_text_alone_is_left_out(tiny_places):
    records = read_records(SourceSettings(places=tiny_places))

    assert [record.name for record in records] == [f"p{n:02}" for n in range(TRAIN + VAL)]
    assert len(records) == ONLY_TEXT
    assert set(records[2].pictures) == {"drone", "street"}
    assert records[0].texts == [tell(0)]
    assert records[4].texts == []
    assert records[3].lat == 0.0
    assert records[3].lon == pytest.approx(10.003)


def test_a_split_and_views_choose_places(tiny_places):
    val = read_records(SourceSettings(places=tiny_places, split="val"))
    street = read_records(SourceSettings(places=tiny_places, modalities=["street", "text"]))

    assert [record.name for record in val] == ["p12", "p13", "p14", "p15"]
    assert [record.name for record in street if set(record.pictures) != {"street"}] == []
    assert len(street) == TRAIN + VAL - 3
    assert street[0].texts == [tell(0)]
    without = read_records(SourceSettings(places=tiny_places, modalities=["drone"]))
    assert all(not record.texts for record in without)


def test_a_missing_split_or_view_is_refused(tiny_places, tmp_path):
    with pytest.raises(PlacesError, match="no split 'test': choose one of train, val"):
        read_records(SourceSettings(places=tiny_places, split="test"))
    with pytest.raises(TrainingError, match="holds no place with a picture of what is asked"):
        read_records(SourceSettings(places=tiny_places, modalities=["text"]))
    with pytest.raises(PlacesError, match="is no places data set"):
        read_records(SourceSettings(places=tmp_path))


def test_lines_with_the_same_pictures_are_one_place(tiny_table):
    records = read_records(SourceSettings(table=tiny_table))

    assert len(records) == 6
    assert records[0].name == f"line 2 of {tiny_table}"
    assert set(records[0].pictures) == {"drone", "satellite"}
    assert (records[0].lat, records[0].lon) == (0.5, 10.0)
    assert records[3].texts == ["there is " + SENTENCES[0], "one sees " + SENTENCES[0]]
    assert records[3].text_group == "group0"
    assert math.isnan(records[3].lat)
    assert records[4].name == f"line 7 of {tiny_table}"


def table(folder, text):
    """A table as written, beside two pictures."""
    for name in ("a.jpg", "b.jpg"):
        write_picture(folder / name, 1)
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_blank_lines_bytes_order_marks_and_spaces_do_no_harm(tmp_path):
    path = table(tmp_path, "\ufeffsatellite, text\na.jpg, of a \n\nb.jpg,\n".replace(", t", ",t"))

    first, second = read_records(SourceSettings(table=path))

    assert first.texts == ["of a"]
    assert (second.name, second.texts) == (f"line 4 of {path}", [])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has the columns none: it needs one of drone, street, satellite"),
        ("text\nof a\n", "has the columns text: it needs one of drone"),
        ("satellite,picture\na.jpg,b.jpg\n", "has the columns satellite, picture: .* knows text,"),
        ("satellite,satellite\na.jpg,b.jpg\n", "has the columns satellite, satellite: .* once"),
        ("satellite,text\na.jpg,a house, a tree\n", "line 2 of .* has not 2 cells as its head has"),
        ("satellite,text\na.jpg\n", "line 2 of .* has not 2 cells"),
        ("satellite\n", "holds no place with a picture"),
        ("satellite,text\na.jpg,x\n,of nothing\n", "line 3 of .* names no picture: give it one"),
        ("satellite,lat,lon\na.jpg,north,3\n",
         "position of line 2 of .* is lat 'north', lon '3', not two numbers: correct it"),
        ("satellite,lat,lon\na.jpg,3,\n", "is lat '3', lon '', not two numbers"),
        ("satellite,lat\na.jpg,3\n", "is lat '3', lon '', not two numbers"),
        ("satellite,split\na.jpg,train\na.jpg,val\n",
         "line 3 and line 2 of .* have the same pictures, but split 'val' and 'train': let them"),
        ("satellite,lat,lon\na.jpg,1,2\na.jpg,1,3\n", "the same pictures, but lon '3' and '2'"),
        ("satellite\nc.jpg\na.jpg\n", r"line 2 .* names .*c\.jpg, which does not exist: restore"),
        ("drone,satellite\na.jpg,c.jpg\nd.jpg,b.jpg\nd.jpg,e.jpg\n",
         r"line 2 of .*c\.jpg, which does not exist, and 3 more do not: restore the pictures"),
    ],
)  # fmt: skip
def test_a_table_that_breaks_its_format_is_refused(text, sentence, tmp_path):
    with pytest.raises(TrainingError, match=sentence):
        read_records(SourceSettings(table=table(tmp_path, text)))


def test_a_position_that_is_none_on_earth_is_refused(tmp_path):
    path = table(tmp_path, "satellite,lat,lon\na.jpg,91,181\n")

    with pytest.raises(PositionError, match=r"the position of line 2 of .* give WGS-84 degrees"):
        read_records(SourceSettings(table=path))


def test_a_split_of_a_table_is_chosen_or_named(tmp_path):
    path = table(tmp_path, "satellite,split\na.jpg,train\nb.jpg,val\n")
    (record,) = read_records(SourceSettings(table=path, split="val"))
    assert record.pictures["satellite"].name == "b.jpg"

    with pytest.raises(TrainingError, match="has no split 'test': choose one of train, val"):
        read_records(SourceSettings(table=path, split="test"))
    path.write_text("satellite\na.jpg\n")
    with pytest.raises(TrainingError, match="has no column split: add it, or ask for no split"):
        read_records(SourceSettings(table=path, split="val"))


def test_places_of_the_split_test_are_refused_where_no_split_is_asked_for(tmp_path):
    path = table(tmp_path, "satellite,split\na.jpg,train\nb.jpg,test\n")
    places = tmp_path / "places"
    write_picture(places / "a.jpg", 1)
    held = Place("a", 1.0, 2.0, box(1.9, 0.9, 2.1, 1.1), split="test", satellite=places / "a.jpg")
    write_places(places, [held])

    with pytest.raises(TrainingError, match=r"1 of the 2 places of .*\.csv are of the split 'te"):
        read_records(SourceSettings(table=path))
    with pytest.raises(TrainingError, match=r"1 of the 1 places of .*places are of the split 'te"):
        read_records(SourceSettings(places=places))
    (record,) = read_records(SourceSettings(table=path, split="train"))
    assert record.pictures["satellite"].name == "a.jpg"


def test_pictures_of_views_and_splits_that_are_left_out_may_be_missing(tmp_path):
    path = table(tmp_path, "drone,satellite,split\ngone.jpg,a.jpg,train\ngone.jpg,b.jpg,val\n")

    found = SourceSettings(table=path, split="train", modalities=["satellite"])

    assert len(read_records(found)) == 1


@pytest.mark.parametrize("content", [None, b"satellite\n\xff.jpg\n", b'satellite\n"a\x00\n'])
def test_what_is_no_table_is_refused(content, tmp_path):
    path = tmp_path / "table.csv"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(TrainingError, match=r"(cannot be read|names .*, which does not exist)"):
        read_records(SourceSettings(table=path))


# What a batch of them holds.


def test_a_batch_has_what_its_places_have(tiny_places):
    source = open_source(places=tiny_places)

    batch = source.draw([1, 2, 4, 0], None)

    assert batch.names == ["p01", "p02", "p04", "p00"]
    assert {name: rows.tolist() for name, rows in batch.rows.items()} == {
        "drone": [0, 1, 2, 3],
        "street": [1, 2, 3],
        "satellite": [0, 2, 3],
        "text": [0, 1, 3],
    }
    assert batch.texts == [tell(1), tell(2), tell(0)]
    assert batch.pictures["street"].shape == (3, 3, 16, 64)
    assert batch.pictures["satellite"].dtype == torch.uint8
    expected = SQUARE.prepare(read_image(tiny_places / "satellite/p04.jpg", min_side=16))
    assert torch.equal(batch.pictures["satellite"][1], expected)
    assert batch.lon.tolist() == pytest.approx([10.001, 10.002, 10.004, 10.0])
    assert batch.lat.dtype == batch.lon.dtype == torch.float64


def test_what_no_place_of_a_batch_has_is_not_in_it(tiny_places):
    source = open_source(places=tiny_places, split="train")

    batch = source.draw([1, 6], generator())

    assert batch.modalities == ("drone", "satellite", "text")
    assert "street" not in batch.pictures
    assert not batch.present("street").any()
    assert "text" not in source.draw([4, 5], generator()).rows


def test_places_of_a_model_that_takes_no_such_view_are_drawn_without_it(tiny_places):
    source = open_source(FROM_ABOVE, places=tiny_places)

    assert source.draw([0], None).modalities == ("drone", "satellite", "text")
    assert not source.has("street").any()


def test_has_says_who_can_show_what(tiny_places):
    source = open_source(places=tiny_places)

    assert np.flatnonzero(~source.has("street")).tolist() == [1, 6, 13]
    assert np.flatnonzero(~source.has("text")).tolist() == sorted(NO_TEXT)
    assert source.texts == [tell(n) for n in range(TRAIN + VAL) if n not in NO_TEXT]


def test_the_same_generator_draws_the_same_and_another_something_else(tiny_places):
    source = open_source(places=tiny_places, split="train")

    first, again, other = (source.draw(range(6), generator(seed)) for seed in (1, 1, 2))

    assert flat(first) == flat(again)
    assert all((first.pictures[view] != other.pictures[view]).any() for view in VIEWS)


def test_looks_are_those_of_the_settings(tiny_places):
    looks = {"sensor": 0, "near_turn_deg": 90}
    source = open_source(places=tiny_places, looks=looks, modalities=["drone"])
    plain = source.draw([0, 1], None).pictures["drone"]

    seen = source.draw([0, 1], generator(5)).pictures["drone"]

    expected = near_looks("drone", plain, 16, generator(5), source.settings.looks)
    assert torch.equal(seen, expected)


def test_street_looks_are_panoramas(tiny_places):
    source = open_source(places=tiny_places, modalities=["street"])
    plain = source.draw([0, 1], None).pictures["street"]

    seen = source.draw([0, 1], generator(5)).pictures["street"]

    assert torch.equal(seen, random_street(plain, generator(5), source.settings.looks))


def test_pictures_may_be_held_larger_than_the_model_takes_them(tiny_places):
    source = open_source(places=tiny_places, pixels=20)
    held = source._stores["drone"].take([0])
    assert held.shape == (1, 3, 20, 20)
    assert source._stores["street"].take([0]).shape == (1, 3, 16, 64)

    plain = source.draw([0], None).pictures["drone"]
    seen = source.draw([0], generator()).pictures["drone"]

    assert seen.shape == (1, 3, 16, 16)
    expected = torch.nn.functional.interpolate(held, (16, 16), mode="bicubic", antialias=True)
    assert torch.equal(plain, expected)


def test_one_of_several_sentences_is_told_by_lot_and_the_first_plainly(tiny_table):
    source = open_source(table=tiny_table)

    told = {source.draw([3], generator(seed)).texts[0] for seed in range(20)}

    assert told == set(source.records[3].texts)
    assert source.draw([3], None).texts == [source.records[3].texts[0]]


def test_text_keys_agree_for_one_group_or_the_same_sentences(tiny_places, tiny_table, tmp_path):
    keys = open_source(places=tiny_places).text_key

    assert (keys >= 0).all()
    assert keys[0] == keys[8] == keys[12] != keys[1]
    # Places without a text share none with anybody.
    assert len({*keys[[4, 5, 0, 1, 2, 3]]}) == 6
    assert len({*open_source(table=tiny_table).text_key[3:]}) == 3
    rows = [
        {"satellite": "a.jpg", "text": "one", "text_group": "g"},
        {"satellite": "b.jpg", "text": "two", "text_group": "g"},
        {"satellite": "c.jpg", "text": SENTENCES[0], "text_group": ""},
    ]
    for row in rows:
        write_picture(tmp_path / row["satellite"], 1)
    grouped = open_source(table=write_table(tmp_path / "t.csv", rows)).text_key
    assert grouped[0] == grouped[1] != grouped[2]
    # The same sentence in another set is the same text.
    assert grouped[2] == keys[0]


def test_text_keys_join_all_who_may_tell_the_same(tmp_path):
    told = {
        "a.jpg": ("one", "two"),
        "b.jpg": ("three", "four"),
        "c.jpg": ("three", "two"),  # joins the two before
        "d.jpg": ("five",),
        "e.jpg": ("six", "five"),
        "f.jpg": ("seven",),
    }
    groups = {"e.jpg": "g", "f.jpg": "g"}
    rows = [
        {"satellite": name, "text": text, "text_group": groups.get(name, "")}
        for name, texts in told.items()
        for text in texts
    ]
    for name in (*told, "g.jpg", "h.jpg"):
        write_picture(tmp_path / name, 1)
    rows += [{"satellite": "g.jpg"}, {"satellite": "h.jpg", "text_group": "g"}]

    keys = open_source(table=write_table(tmp_path / "t.csv", rows)).text_key.tolist()

    assert keys[0] == keys[1] == keys[2]
    # By a sentence, by the group, and by the group without any sentence.
    assert keys[3] == keys[4] == keys[5] == keys[7]
    assert len({keys[0], keys[3], keys[6]}) == 3
    again = open_source(table=write_table(tmp_path / "t.csv", rows[::-1])).text_key.tolist()
    assert again[::-1][:2] + again[::-1][3:6] == keys[:2] + keys[3:6]


def test_sets_share_sentences_and_not_the_numbers_of_their_groups(tmp_path):
    write_picture(tmp_path / "a.jpg", 1)
    write_picture(tmp_path / "b.jpg", 2)

    def opened(name, *cells):
        rows = [
            {"satellite": f"{picture}.jpg", "text": text, "text_group": group}
            for picture, text, group in cells
        ]
        return open_source(table=write_table(tmp_path / name, rows))

    # `red` is the second sentence of its place in one set, and the only one in the other.
    first = opened("first.csv", ("a", "blue", ""), ("a", "red", ""), ("b", "green", "1"))
    second = opened("second.csv", ("a", "red", ""), ("b", "white", "1"))

    share_text_keys([first, second])

    assert first.text_key[0] == second.text_key[0]
    assert first.text_key[1] != second.text_key[1]
    assert len({*first.text_key}) == len({*second.text_key}) == 2


def test_cached_places_are_drawn_as_from_their_files(tiny_places, tmp_path):
    plain, held = (open_source(places=tiny_places, cache=cache) for cache in (False, True))
    plain.cache(tmp_path)
    assert not list(tmp_path.iterdir())
    held.cache(tmp_path)

    assert len(list(tmp_path.glob("*.pictures"))) == 3
    assert flat(held.draw([0, 1, 2], generator())) == flat(plain.draw([0, 1, 2], generator()))


def test_a_picture_that_vanishes_while_training_is_named(tmp_path):
    source = open_source(table=table(tmp_path, "satellite\na.jpg\nb.jpg\n"), cache=False)
    source.draw([1], generator())
    (tmp_path / "b.jpg").unlink()

    with pytest.raises(ImageError, match=r"b\.jpg does not exist: check the path"):
        source.draw([1], generator())


def test_a_model_of_oblong_pictures_from_above_cannot_be_trained(tiny_places):
    oblong = PREPROCESS | {"drone": Preprocess(16, 32)}

    with pytest.raises(TrainingError, match=r"takes drone pictures of 16 x 32 pixels, .* squares"):
        open_source(oblong, places=tiny_places)
    with pytest.raises(TrainingError, match="takes drone pictures of 16 x 32 pixels"):
        WorldSource(SourceSettings(world={}), oblong)


# Ground: two looks at each picture.


def test_ground_is_seen_twice_from_two_dates_or_from_one(tiny_table):
    source = open_source(table=tiny_table, look="ground", pixels=24)
    assert source.has("drone").all()
    assert source.has("satellite").all()
    assert not source.has("street").any()

    folder = Path(tiny_table).parent / "pictures"
    held = Preprocess(24, 24)
    names = {"drone": ("ground0_0", "captioned1"), "satellite": ("ground0_1", "captioned1")}
    seen = source.draw([0, 4], generator(3))
    grounds = [
        torch.stack([held.prepare(read_image(folder / f"{file}.jpg")) for file in names[view]])
        for view in ("drone", "satellite")
    ]
    drone, satellite = two_looks(*grounds, 16, generator(3), source.settings.looks)
    assert torch.equal(seen.pictures["drone"], drone)
    assert torch.equal(seen.pictures["satellite"], satellite)


def test_plain_ground_of_one_picture_is_not_compared_with_itself(tiny_table, tmp_path):
    source = open_source(table=tiny_table, look="ground", pixels=24)

    batch = source.draw([4, 0, 1], None)

    folder = Path(tiny_table).parent / "pictures"
    held = Preprocess(24, 24)
    rows = {"drone": [1, 2], "satellite": [0, 1, 2]}
    names = {
        "drone": ("ground0_0", "ground1_0"),
        "satellite": ("captioned1", "ground0_1", "ground1_1"),
    }
    for view, files in names.items():
        assert batch.rows[view].tolist() == rows[view]
        ground = torch.stack(
            [held.prepare(read_image(folder / f"{file}.jpg")).contiguous() for file in files]
        )
        expected = torch.nn.functional.interpolate(ground, (16, 16), mode="bicubic", antialias=True)
        assert torch.equal(batch.pictures[view], expected)
    assert source.draw([4], None).modalities == ("satellite", "text")
    # A picture of a drone alone is the ground as well, and one file twice is one picture.
    path = table(tmp_path, "drone,satellite\na.jpg,\nb.jpg,b.jpg\na.jpg,b.jpg\n")
    alone = open_source(table=path, look="ground").draw([0, 1, 2], None)
    assert {view: rows.tolist() for view, rows in alone.rows.items()} == {
        "drone": [2],
        "satellite": [0, 1, 2],
    }


def test_ground_has_no_street_pictures(tiny_places):
    with pytest.raises(TrainingError, match="has street pictures, which are no pictures of the g"):
        open_source(places=tiny_places, look="ground")

    source = open_source(places=tiny_places, look="ground", modalities=["satellite", "text"])
    assert source.draw([0], generator()).modalities == ("drone", "satellite", "text")


@pytest.mark.parametrize(
    "preprocess",
    [
        {"satellite": SQUARE},
        {"drone": SQUARE, "street": PREPROCESS["street"]},
        {"drone": Preprocess(16, 16), "satellite": Preprocess(24, 24)},
    ],
)
def test_ground_needs_a_model_that_sees_drone_and_satellite_at_one_size(preprocess, tiny_table):
    with pytest.raises(TrainingError, match="the model does not take both at one size"):
        open_source(preprocess, table=tiny_table, look="ground")


# The planet.

REGIONS = ["danube", "mesa"]


def planet(rank=0, world_size=1, per_batch=4, modalities=None, **world):
    options = {"regions": REGIONS, "towns_per_batch": 2, "dates_per_visit": 3, "size": 16}
    settings = SourceSettings(world=options | world, per_batch=per_batch, modalities=modalities)
    return WorldSource(settings, PREPROCESS, rank, world_size)


def test_a_step_on_the_planet_is_a_pure_function_of_its_number():
    source, again = planet(missing={"text": 0.5}), planet(missing={"text": 0.5})
    source.dataset.visit = functools.cache(source.dataset.visit)

    batch = source.at(3, generator(1))

    assert flat(again.at(3, generator(1))) == flat(batch)
    # Two places of each of two towns: visits 6 and 7 of all.
    visits = [source.dataset.visit(number) for number in (6, 7)]
    assert batch.names == visits[0]["place_id"] + visits[1]["place_id"]
    told = [text for visit in visits for text in visit["text"]]
    assert batch.texts == [told[row] for row in batch.rows["text"].tolist()]
    assert batch.texts == [text for text in told if text]
    assert {view: tuple(p.shape[1:]) for view, p in batch.pictures.items()} == {
        "drone": (3, 16, 16),
        "street": (3, 16, 64),
        "satellite": (3, 16, 16),
    }
    other = source.at(3, generator(2))
    assert other.names == batch.names
    assert not torch.equal(other.pictures["drone"], batch.pictures["drone"])


def test_processes_draw_other_towns_and_together_all_of_them(monkeypatch):
    any_visit, asked = planet().dataset.visit(0), []

    def visit(_, number):
        asked.append(number)
        return any_visit

    monkeypatch.setattr(WorldDataset, "visit", visit)
    for rank in (0, 1, 2):
        for step in (0, 1):
            planet(rank, 3).at(step, generator())

    # Three processes, two towns each, two steps.
    assert asked == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]


def test_the_planet_lacks_what_it_is_told_to_lack():
    source = planet(missing={"street": 1.0}, per_batch=2)

    batch = source.at(0, generator())

    assert (source.shows("street"), source.shows("text")) == (False, True)
    assert batch.modalities == ("drone", "satellite", "text")


def test_a_planet_of_fewer_modalities_draws_nothing_else(monkeypatch):
    drawn = []
    shots = Town.shots

    def watched(town, place, *rest, views, **options):
        drawn.extend(views)
        return shots(town, place, *rest, views=views, **options)

    monkeypatch.setattr(Town, "shots", watched)
    source = planet(modalities=["drone", "satellite"], per_batch=2)

    assert source.at(0, generator()).modalities == ("drone", "satellite")
    assert set(drawn) == {"drone", "satellite"}
    assert source.texts == []


def test_what_is_left_out_of_a_source_is_never_decoded(tiny_places, tmp_path, monkeypatch):
    opened = []
    read = pictures_module.read_image
    monkeypatch.setattr(
        pictures_module,
        "read_image",
        lambda path, **how: opened.append(path.parent.name) or read(path, **how),
    )
    source = open_source(places=tiny_places, modalities=["drone", "satellite", "text"])

    source.cache(tmp_path)
    batch = source.draw(range(TRAIN), generator())

    assert set(opened) == {"drone", "satellite"}
    assert batch.modalities == ("drone", "satellite", "text")


def test_the_planet_tells_its_words_without_a_picture(monkeypatch):
    source = planet(regions=["danube"])
    monkeypatch.setattr(type(source.dataset), "_pictures", None)

    texts = source.texts

    assert len(texts) == len(set(texts)) == 64


@pytest.mark.parametrize(
    ("world", "error", "sentence"),
    [
        ({"sed": 3}, TrainingError, r"`world` has no key 'sed': did you mean 'seed'; correct it"),
        ({"start": 1}, TrainingError, "`world` has no key 'start'"),
        ({"places_per_visit": 3}, TrainingError, "has no key 'places_per_visit'"),
        ({"towns_per_batch": 3}, TrainingError, "4 places of 3 towns cannot be drawn: choose a mu"),
        ({"towns_per_batch": 0}, TrainingError, "4 places of 0 towns cannot be drawn"),
        ({"towns_per_batch": "two"}, TrainingError, "4 places of two towns cannot be drawn"),
        ({"size": "big"}, TrainingError, "an option of `world` is of the wrong kind"),
        ({"missing": {"text": 2}}, WorldError, "is no share of a missing modality"),
        ({"anchor_noise": 2}, WorldError, "anchor_noise 2 is no option"),
        ({"regions": ["atlantis"]}, WorldError, "atlantis"),
    ],
)
def test_an_option_that_the_planet_does_not_have_is_refused(world, error, sentence):
    with pytest.raises(error, match=sentence):
        planet(**world)
