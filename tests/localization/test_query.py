import numpy as np
import pytest
import torch
from PIL import Image

from geobridge.errors import ImageError, ModelError, QueryError, TextTooLongError
from geobridge.imagery.preprocess import Preprocess
from geobridge.imagery.rotate import center_square, rotate
from geobridge.localization.query import Query, embed_query, prepare_query, turn_each


def picture(height=60, width=60, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "query is empty"),
        ({"text": "  "}, "text is blank"),
        ({"drone": np.zeros((4, 4, 3))}, "drone picture must be uint8.*float64"),
        ({"street": np.zeros((4, 4), np.uint8)}, r"street picture must be uint8.*\(4, 4\)"),
        ({"text": "a", "yaw_deg": 10.0}, "yaw_deg turns a drone photo"),
        ({"drone": picture(), "yaw_deg": float("nan")}, "yaw_deg must be a number"),
        ({"street": picture(), "fov_deg": 400.0}, "fov_deg must be above 0"),
        ({"drone": picture(), "panorama": True}, "describe a street picture"),
        ({"text": "a", "ground_width_m": 50.0}, "describes a drone or satellite picture"),
        ({"drone": picture(), "ground_width_m": 0.0}, "ground_width_m must be above 0"),
    ],
)
def test_a_query_that_cannot_be_asked_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(QueryError, match=sentence):
        Query(**given)


def test_a_query_knows_its_modalities_in_their_usual_order():
    assert Query(text="a", drone=picture()).modalities == ("drone", "text")


def test_a_drone_photo_of_unknown_heading_is_tried_all_round(one_eyed):
    prepared = prepare_query(Query(drone=picture()), one_eyed, footprint_m=100, rotations=8)
    assert prepared.yaws_deg == (0, 45, 90, 135, 180, 225, 270, 315)
    assert prepared.pictures["drone"].shape == (8, 3, 32, 32)
    assert prepared.pictures["drone"].dtype == torch.uint8


def test_a_known_heading_leaves_one_variant_turned_north_up(one_eyed):
    photo = picture(32, 32)
    prepared = prepare_query(Query(drone=photo, yaw_deg=-270.0), one_eyed, footprint_m=100)
    assert prepared.yaws_deg == (90.0,)
    # The top of the photo faces east: north-up, it is on the right.
    turned = prepared.pictures["drone"][0].permute(1, 2, 0).numpy()
    assert np.array_equal(turned, rotate(photo, 90.0))
    assert np.array_equal(turned[:, -1], photo[0])


def test_a_photo_wider_than_the_footprint_is_cut_to_it(one_eyed):
    # 128 px over 200 m, footprint 100 m: the middle 64 px, and two pixels become one.
    photo = np.zeros((128, 128, 3), np.uint8)
    photo[32:96, 32:96] = 255
    query = Query(drone=photo, yaw_deg=0.0, ground_width_m=200.0)
    assert prepare_query(query, one_eyed, footprint_m=100).pictures["drone"].min() == 255
    whole = Query(drone=photo, yaw_deg=0.0)
    assert prepare_query(whole, one_eyed, footprint_m=100).pictures["drone"].min() == 0


def test_a_photo_narrower_than_the_footprint_is_left_whole(one_eyed):
    photo = picture(64, 64)
    narrow = Query(drone=photo, yaw_deg=0.0, ground_width_m=30.0)
    unknown = Query(drone=photo, yaw_deg=0.0)
    one, other = (prepare_query(q, one_eyed, footprint_m=100) for q in (narrow, unknown))
    assert torch.equal(one.pictures["drone"], other.pictures["drone"])


def test_a_large_photo_is_reduced_before_it_is_turned_and_looks_the_same(one_eyed):
    small = np.kron(picture(8, 8), np.ones((8, 8, 1), np.uint8))  # 64 px
    large = np.kron(small, np.ones((20, 20, 1), np.uint8))  # the same, 1280 px
    one, other = (
        prepare_query(Query(drone=p, yaw_deg=30.0), one_eyed, footprint_m=100).pictures["drone"]
        for p in (small, large)
    )
    assert (one.int() - other.int()).abs().float().mean() < 4


def test_the_ground_width_is_read_from_a_nadir_photo(one_eyed, tmp_path):
    # 27.0 m up, a 35-mm equivalent of 18 mm on a 3:2 picture: 36 / 18 * 27 = 54 m wide.
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 18
    xmp = b"<x drone-dji:RelativeAltitude='+27.00'/>"
    photo = np.zeros((96, 144, 3), np.uint8)
    photo[16:80, 40:104] = 255  # the middle 64 px: 24 m
    path = tmp_path / "nadir.jpg"
    Image.fromarray(photo).save(path, exif=exif, xmp=xmp, quality=100)
    seen = prepare_query(Query(drone=path, yaw_deg=0.0), one_eyed, footprint_m=24.0)
    assert seen.pictures["drone"].min() > 240
    wider = prepare_query(Query(drone=path, yaw_deg=0.0), one_eyed, footprint_m=30.0)
    assert wider.pictures["drone"].min() < 15


def test_a_street_picture_is_placed_by_its_angles(one_eyed):
    white = np.full((20, 80, 3), 255, np.uint8)
    panorama, view = (
        prepare_query(Query(street=white, panorama=p, fov_deg=None if p else 90.0), one_eyed,
                      footprint_m=100).pictures["street"][0]
        for p in (True, False)
    )  # fmt: skip
    # All round, it fills the middle row of 64 px; a quarter of the circle fills 16 of them.
    assert int((panorama[0, 8] == 255).sum()) == 64
    assert int((view[0, 8] == 255).sum()) == 16


def test_each_variant_is_one_unit_row(one_eyed):
    rows = embed_query(Query(drone=picture()), one_eyed, footprint_m=100, rotations=4)
    assert rows.shape == (4, 32)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(4), abs=1e-5)


def test_other_modalities_join_every_variant(one_eyed):
    photo, words = picture(), "red roofs"
    rows = embed_query(Query(drone=photo, text=words), one_eyed, footprint_m=100, rotations=4)
    alone = embed_query(Query(drone=photo), one_eyed, footprint_m=100, rotations=4)
    total = alone + one_eyed.embed("text", [words])
    assert rows == pytest.approx(total / np.linalg.norm(total, axis=1, keepdims=True), abs=1e-5)


def test_a_path_and_its_pixels_are_one_query(one_eyed, tmp_path):
    pixels = picture(40, 40)
    Image.fromarray(pixels).save(tmp_path / "crop.png")
    from_path, from_pixels = (
        embed_query(Query(satellite=s), one_eyed, footprint_m=100)
        for s in (tmp_path / "crop.png", pixels)
    )
    assert np.array_equal(from_path, from_pixels)


def test_what_cannot_be_read_or_embedded_is_said(one_eyed, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff but no picture")
    for view in ("drone", "street", "satellite"):
        for name in ("missing.jpg", "broken.jpg"):
            query = Query(**{view: tmp_path / name})
            with pytest.raises(ImageError, match=name):
                embed_query(query, one_eyed, footprint_m=100)
    with pytest.raises(TextTooLongError, match="tokens"):
        embed_query(Query(text="stadium " * 50), one_eyed, footprint_m=100)
    with pytest.raises(QueryError, match="rotations must be at least 1"):
        embed_query(Query(drone=picture()), one_eyed, footprint_m=100, rotations=0)


def test_a_photo_that_claims_an_impossible_position_can_be_located(one_eyed, tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)})
    Image.fromarray(picture()).save(tmp_path / "null_island.jpg", exif=exif)
    query = Query(drone=tmp_path / "null_island.jpg", yaw_deg=0.0)
    assert embed_query(query, one_eyed, footprint_m=100).shape == (1, 32)


def test_a_model_without_a_modality_names_what_it_has():
    class Blind:
        modalities = ("satellite",)

        def require(self, modality):
            raise ModelError(f"no {modality}; it embeds satellite")

    with pytest.raises(ModelError, match="no text; it embeds satellite"):
        embed_query(Query(text="a"), Blind(), footprint_m=100)


def test_turning_by_many_angles_is_turning_by_each():
    # Neither black nor white, where what a resize overshoots is cut off between its two passes.
    photo = np.kron(picture(8, 12) // 2 + 64, np.ones((5, 5, 1), np.uint8))
    angles = [0.0, 30.0, 90.0, 120.0, 180.0, 210.0, 299.5, -60.0]
    for size in (15, 30, 45):
        for angle, turned in zip(angles, turn_each(photo, angles, 30, size), strict=True):
            alone = center_square(rotate(photo, angle), 30)
            resized = Preprocess(size, size).prepare(alone).permute(1, 2, 0).numpy()
            assert turned.shape == (size, size, 3)
            # Two passes of resizing, each rounded, meet a quarter turn in the other order.
            assert np.abs(turned.astype(int) - resized).max() <= 2
