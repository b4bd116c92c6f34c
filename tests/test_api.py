import shutil
import subprocess
import sys

import numpy as np
import pytest

import geobridge
from geobridge.api import Gallery, best_of_variants, calibrate_on_maps
from geobridge.errors import (
    GalleryError,
    ImageError,
    ModelError,
    PositionError,
    QueryError,
    TextTooLongError,
)
from geobridge.geo.distance import distance_m
from geobridge.localization.calibration import calibrate
from geobridge.localization.position import find_mode
from geobridge.localization.query import Query, embed_query
from geobridge.model.geobridge import GeoBridge


def crop(town_picture, x, y, side=100):
    """The town around a pixel."""
    half = side // 2
    return np.ascontiguousarray(town_picture[y - half : y + half, x - half : x + half])


def test_a_crop_of_the_map_finds_its_place(town_gallery, town_picture, town_position):
    answer = town_gallery.locate(Query(satellite=crop(town_picture, 250, 150)))
    best = answer.candidates[0]
    # Windows lie every 50 m, so one of them is this crop to within a pixel.
    assert best.similarity > 0.999
    assert distance_m(best.lat, best.lon, *town_position(250, 150)) < 2
    assert distance_m(answer.lat, answer.lon, *town_position(250, 150)) < 2
    assert best.modality == "satellite"
    assert best.path == "town.tif"
    assert best.agrees
    assert best.distance_m == 0
    assert answer.modalities == ("satellite",)


def test_candidates_are_ranked_and_as_many_as_asked_for(town_gallery, town_picture):
    answer = town_gallery.locate(Query(satellite=crop(town_picture, 200, 200)), top=7)
    assert [candidate.rank for candidate in answer.candidates] == [1, 2, 3, 4, 5, 6, 7]
    similarity = [candidate.similarity for candidate in answer.candidates]
    assert similarity == sorted(similarity, reverse=True)
    first, second = answer.candidates[:2]
    assert second.distance_m == pytest.approx(
        distance_m(first.lat, first.lon, second.lat, second.lon)
    )


def test_a_turned_drone_photo_finds_its_place_and_heading(
    town_gallery, town_picture, town_position
):
    north_up = crop(town_picture, 150, 250)
    # Turned left by 90 degrees, its top edge is what was on the right: it faces east.
    photo = np.rot90(north_up)
    answer = town_gallery.locate(Query(drone=photo), rotations=4)
    assert answer.candidates[0].yaw_deg == 90
    assert answer.yaw_deg == 90
    best = answer.candidates[0]
    assert distance_m(best.lat, best.lon, *town_position(150, 250)) < 2
    told = town_gallery.locate(Query(drone=photo, yaw_deg=90.0))
    assert told.candidates[0].similarity == pytest.approx(best.similarity, abs=1e-5)


def test_the_calibration_of_the_kind_of_query_is_used(town_gallery, town_picture):
    picture = crop(town_picture, 200, 200)
    satellite = town_gallery.locate(Query(satellite=picture))
    drone = town_gallery.locate(Query(drone=picture, yaw_deg=0.0))
    assert satellite.calibrated
    assert not drone.calibrated
    # Twice the circle of nine tenths of a 100 m footprint, as the checkpoint says.
    assert satellite.radius_m == pytest.approx(2 * 53.5, rel=0.02)
    # At the temperature of training (0.07) an untrained model knows nothing, and says so.
    assert drone.radius_m > satellite.radius_m


def test_text_and_pictures_may_be_asked_together(town_gallery, town_picture):
    words = "red roofs along a road"
    text = town_gallery.locate(Query(text=words))
    both = town_gallery.locate(Query(text=words, satellite=crop(town_picture, 200, 200)))
    assert text.modalities == ("text",)
    assert both.modalities == ("satellite", "text")
    assert text.yaw_deg is None


def test_many_are_answered_as_each_alone(town_gallery, town_picture):
    queries = [
        Query(drone=crop(town_picture, 150, 150)),
        Query(text="a stadium by a river"),
        Query(satellite=crop(town_picture, 250, 250), text="red roofs"),
    ] * 7
    together = town_gallery.locate_many(queries, top=3)
    assert len(together) == 21
    for query, answer in zip(queries[:3], together[18:], strict=True):
        alone = town_gallery.locate(query, top=3)
        assert [c.ref_id for c in answer.candidates] == [c.ref_id for c in alone.candidates]
        assert (answer.lat, answer.lon) == pytest.approx((alone.lat, alone.lon), abs=1e-6)


def test_a_bad_query_among_many_is_told_in_its_place(town_gallery, town_picture, tmp_path):
    queries = [
        Query(satellite=crop(town_picture, 150, 150)),
        Query(drone=tmp_path / "missing.jpg"),
        Query(text="stadium " * 60),
        Query(text="a river"),
    ]
    good, missing, long, text = town_gallery.locate_each(queries)
    assert good.modalities == ("satellite",)
    assert isinstance(missing, ImageError)
    assert isinstance(long, TextTooLongError)
    assert text.modalities == ("text",)
    with pytest.raises(ImageError, match=r"missing\.jpg"):
        town_gallery.locate_many(queries)


def test_within_keeps_to_the_circle(town_gallery, town_picture, town_position):
    lat, lon = town_position(300, 300)
    query = Query(satellite=crop(town_picture, 100, 100))
    answer = town_gallery.locate(query, top=49, within=(lat, lon, 0.08))
    away = [distance_m(c.lat, c.lon, lat, lon) for c in answer.candidates]
    # Windows every 50 m on a grid through the centre: 9 lie within 80 m.
    assert len(away) == 9
    assert max(away) < 80


def test_an_empty_circle_says_how_far_the_nearest_is(town_gallery, town_position):
    lat, lon = town_position(200, 200)
    with pytest.raises(QueryError, match=r"No reference lies within 1 km.*nearest is 11\d km away"):
        town_gallery.locate(Query(text="a"), within=(lat + 1, lon, 1.0))


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"within": (148.0, 11.0, 5.0)}, PositionError, "swapped"),
        ({"within": (48.0, 11.0, 0.0)}, QueryError, "radius above 0 km"),
        ({"reference": "street"}, QueryError, "holds no street references: ask for satellite"),
        ({"top": 0}, QueryError, "top must be at least 1"),
    ],
)
def test_a_search_that_cannot_be_is_refused(town_gallery, options, error, sentence):
    with pytest.raises(error, match=sentence):
        town_gallery.locate(Query(text="a"), **options)


def test_references_of_one_modality_can_be_asked_for(town_map, one_eyed, town_picture, tmp_path):
    out = tmp_path / "both.gallery"
    Gallery.build(town_map, one_eyed, view="satellite", out=out, stride_m=100)
    both = Gallery.build(town_map, one_eyed, view="drone", out=out, footprint_m=200, stride_m=100)
    assert both.info()["counts"]["by_modality"] == {"satellite": 16, "drone": 9}
    assert len(both) == 25
    query = Query(satellite=crop(town_picture, 150, 150))
    for reference, size_m in (("satellite", 100), ("drone", 200)):
        answer = both.locate(query, top=99, reference=reference)
        assert {c.modality for c in answer.candidates} == {reference}
        assert answer.within_m == pytest.approx(size_m, rel=0.01)


def test_searches_carry_what_a_calibration_is_fitted_on(town_gallery, town_picture, town_position):
    spots = [(x, y) for x in (100, 150, 200, 250) for y in (100, 200, 300)]
    found = town_gallery.search([Query(satellite=crop(town_picture, x, y)) for x, y in spots])
    assert all(len(hypotheses) == 49 for hypotheses in found)
    calibration = calibrate(found, [town_position(x, y) for x, y in spots])
    assert calibration.queries == 12
    # Found exactly each time: the coldest temperature wins, and the radius stays within one.
    assert calibration.temperature < 0.01


def test_a_model_is_calibrated_on_its_own_map(
    town_map, town_picture, one_eyed_checkpoint, tmp_path
):
    pytest.importorskip("kornia", reason="needs geobridge[train]")
    model = GeoBridge.load(one_eyed_checkpoint)
    told = []

    unknown, known = calibrate_on_maps(
        model,
        [town_map],
        stride_m=50,
        photos=24,
        strength=(0.0, 0.0),
        step=lambda what: lambda done, total: told.append((what, done, total)),
    )

    assert (unknown.kind, known.kind) == ("drone", "drone+heading")
    assert known.calibration.queries == 24
    # A circle of 100 m is less than a third of where the photos look.
    assert min(unknown.found, known.found) > 0.35
    stored = model.config.calibration
    assert set(stored) == {"satellite", "drone", "drone+heading"}
    assert stored["drone+heading"] == known.calibration.to_dict() != stored["drone"]
    assert ("Locating simulated photos", 24, 24) in told
    gallery = Gallery.build(town_map, model, view="satellite", out=tmp_path / "g", stride_m=50)
    picture = crop(town_picture, 200, 200)
    for yaw_deg, fitted in ((None, unknown), (0.0, known)):
        answer = gallery.locate(Query(drone=picture, yaw_deg=yaw_deg))
        found = gallery.search([Query(drone=picture, yaw_deg=yaw_deg)])[0]
        mode = find_mode(found, fitted.calibration.temperature, 0.9)
        assert answer.calibrated
        assert answer.radius_m == pytest.approx(mode.spread_m * fitted.calibration.radius_scale)


def test_too_few_photos_calibrate_nothing(town_map, one_eyed_checkpoint):
    pytest.importorskip("kornia", reason="needs geobridge[train]")
    model = GeoBridge.load(one_eyed_checkpoint)
    with pytest.raises(QueryError, match="at least 10 queries"):
        calibrate_on_maps(model, [town_map], stride_m=100, photos=9)
    assert set(model.config.calibration) == {"satellite"}


def test_a_gallery_opens_by_the_folder_of_its_model(town_folder, one_eyed_checkpoint):
    gallery = Gallery.open(town_folder, one_eyed_checkpoint)
    assert len(gallery) == 49
    assert gallery.info()["model"]["name"] == "one-eyed"
    assert "49 references" in repr(gallery)


@pytest.fixture
def gallery_and_checkpoint(town_map, one_eyed_checkpoint, tmp_path):
    """A gallery built with a model from a folder, and that folder."""
    folder = tmp_path / "model"
    shutil.copytree(one_eyed_checkpoint, folder)
    model = GeoBridge.load(folder)
    out = tmp_path / "g"
    Gallery.build(town_map, model, view="satellite", out=out, stride_m=200)
    return out, folder


def test_a_gallery_opens_with_the_model_from_where_it_was_loaded(gallery_and_checkpoint):
    out, folder = gallery_and_checkpoint
    assert len(Gallery.open(out)) == 9
    assert Gallery.open(out).info()["model"]["loaded_from"] == str(folder)


def test_a_saved_model_is_found_where_it_was_saved(town_map, one_eyed, tmp_path):
    model = GeoBridge.from_config(one_eyed.config, seed=5, tokenizer=one_eyed.tokenizer).eval()
    assert model.loaded_from is None
    model.save(tmp_path / "saved")
    Gallery.build(town_map, model, view="satellite", out=tmp_path / "g", stride_m=200)
    assert len(Gallery.open(tmp_path / "g")) == 9


def test_a_shipped_model_is_found_by_name_wherever_it_is_installed(
    town_map, one_eyed_checkpoint, monkeypatch, tmp_path
):
    for place in ("here", "there"):
        shutil.copytree(one_eyed_checkpoint, tmp_path / place / "one-eyed")
    monkeypatch.setattr("geobridge.model.checkpoint.SHIPPED_FOLDER", tmp_path / "here")
    model = GeoBridge.load("one-eyed")
    Gallery.build(town_map, model, view="satellite", out=tmp_path / "g", stride_m=200)
    monkeypatch.setattr("geobridge.model.checkpoint.SHIPPED_FOLDER", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    assert len(Gallery.open(tmp_path / "g")) == 9


def test_a_gallery_whose_model_is_gone_says_so(gallery_and_checkpoint, one_eyed_checkpoint):
    out, folder = gallery_and_checkpoint
    shutil.rmtree(folder)
    with pytest.raises(GalleryError, match=f"from '{folder}', which cannot be loaded.*--model"):
        Gallery.open(out)
    assert len(Gallery.open(out, one_eyed_checkpoint)) == 9


def test_a_gallery_whose_model_was_replaced_says_so(gallery_and_checkpoint, one_eyed):
    out, folder = gallery_and_checkpoint
    GeoBridge.from_config(one_eyed.config, seed=4, tokenizer=one_eyed.tokenizer).save(folder)
    with pytest.raises(GalleryError, match=f"no longer the one at '{folder}'.*--model"):
        Gallery.open(out)


def test_indexing_again_notes_where_the_model_has_moved(town_map, gallery_and_checkpoint):
    out, folder = gallery_and_checkpoint
    moved = folder.rename(folder.with_name("moved"))
    Gallery.build(town_map, GeoBridge.load(moved), view="satellite", out=out, stride_m=100)
    assert Gallery.open(out).info()["model"]["loaded_from"] == str(moved)


def test_another_model_is_refused(town_folder, one_eyed):
    other = GeoBridge.from_config(one_eyed.config, seed=4, tokenizer=one_eyed.tokenizer).eval()
    with pytest.raises(GalleryError, match="built by model 'one-eyed'"):
        Gallery.open(town_folder, other)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_one_sentence(town_folder, one_eyed_checkpoint, device):
    with pytest.raises(ModelError, match=f"the device '{device}' cannot compute here"):
        Gallery.open(town_folder, device=device)
    with pytest.raises(ModelError, match=f"the device '{device}' cannot compute here"):
        GeoBridge.load(one_eyed_checkpoint, device=device)


def test_what_is_no_gallery_or_no_model_is_refused(town_folder, tmp_path):
    with pytest.raises(GalleryError, match="is no gallery"):
        Gallery.open(tmp_path)
    with pytest.raises(ModelError, match="no model 'nothing-like-it'"):
        Gallery.open(town_folder, "nothing-like-it")


def test_the_best_of_all_variants_is_a_search_of_their_maxima():
    rng = np.random.default_rng(0)
    similarity = rng.normal(size=(4, 30)).astype(np.float32)
    k = 6
    rows = np.argsort(-similarity, axis=1)[:, :k]
    found = best_of_variants(np.take_along_axis(similarity, rows, axis=1), rows, k)
    slow = sorted(range(30), key=lambda row: -similarity[:, row].max())[:k]
    assert found.row.tolist() == slow
    assert found.similarity == pytest.approx(similarity[:, slow].max(axis=0))
    assert found.variant.tolist() == similarity[:, slow].argmax(axis=0).tolist()


def test_a_drone_photo_is_compared_at_its_best_heading(town_gallery, town_picture, one_eyed):
    photo = np.rot90(crop(town_picture, 200, 150), 2)
    rows = embed_query(Query(drone=photo), one_eyed, footprint_m=100, rotations=4)
    vectors = town_gallery.store.vectors()
    answer = town_gallery.locate(Query(drone=photo), rotations=4, top=49)
    slow = (rows @ vectors.T).max(axis=0)
    assert [c.similarity for c in answer.candidates] == pytest.approx(
        np.sort(slow)[::-1].tolist(), abs=1e-5
    )


def test_the_answer_is_drawn_over_the_gallerys_own_map(town_gallery, town_picture, tmp_path):
    query = Query(satellite=crop(town_picture, 200, 200))
    problems = town_gallery.draw(town_gallery.locate(query), tmp_path / "map.html", query)
    assert problems == []
    assert (tmp_path / "map.html").stat().st_size > 20_000


def test_importing_the_package_loads_neither_torch_nor_numpy():
    heavy = "{'torch', 'numpy', 'rasterio', 'pandas', 'lance'}"
    code = f"import sys, geobridge; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_lead_home():
    assert geobridge.Gallery is Gallery
    assert geobridge.Query is Query
    assert geobridge.Estimate.__module__ == "geobridge.localization.estimate"
