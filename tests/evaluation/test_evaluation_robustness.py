"""The sweeps on benchmarks of four places, and what they do to single pictures."""

import io
import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image

from geobridge import GeoBridge
from geobridge.errors import EvaluationError
from geobridge.evaluation.retrieval import embed_places, retrieve
from geobridge.evaluation.robustness import SWEEPS, lab, run_suite, suite, sweeps
from geobridge.evaluation.robustness.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from geobridge.evaluation.robustness.lab import Lab
from geobridge.imagery.decode import read_image
from geobridge.imagery.street import StreetField
from geobridge.model.tokens import shortened
from geobridge.places.table import iter_places
from geobridge.views import NINE_DIRECTIONS, Direction
from geobridge.world import World
from geobridge.world.benchmark import BENCHMARKS, Benchmark
from geobridge.world.build import TownJob, build_towns

DRAWN = [kind for kind in CORRUPTIONS if kind not in ("JPEG", "overexposure")]


def random_picture(height=24, width=48, seed=0):
    coarse = np.random.default_rng(seed).integers(30, 200, (6, 12, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def plain(value, height=64, width=64):
    return np.full((height, width, 3), value, np.uint8)


# -- corruptions of one picture --------------------------------------------------------------


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_is_a_pure_function_of_seed_and_number(kind):
    picture = random_picture()
    before = picture.copy()

    for strength in STRENGTHS:
        changed = corrupt(kind, picture, strength, 0, 7)
        assert changed.shape == picture.shape
        assert changed.dtype == np.uint8
        assert np.array_equal(changed, corrupt(kind, picture, strength, 0, 7))
    assert np.array_equal(corrupt(kind, picture, 0, 0, 7), picture)
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_takes_more_the_stronger_it_is(kind):
    picture = random_picture(64, 64).astype(int)

    lost = [
        np.abs(corrupt(kind, picture.astype(np.uint8), strength, 0, 1) - picture).mean()
        for strength in STRENGTHS
    ]

    assert lost == sorted(set(lost))
    assert lost[0] == 0


@pytest.mark.parametrize("kind", DRAWN)
def test_other_pictures_and_seeds_draw_otherwise(kind):
    picture = random_picture()

    assert (corrupt(kind, picture, 2, 0, 0) != corrupt(kind, picture, 2, 0, 1)).any()
    assert (corrupt(kind, picture, 2, 0, 0) != corrupt(kind, picture, 2, 1, 0)).any()


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_takes_pictures_of_a_few_pixels(kind):
    assert corrupt(kind, random_picture(3, 5), 3, 0, 0).shape == (3, 5, 3)


def test_fog_draws_everything_to_its_own_grey():
    # 0.9 of 255 is 229.5: fog before fog is fog, and nothing gets lighter than it.
    assert set(np.unique(corrupt("fog", plain(229), 3, 0, 0))) <= {229, 230}
    black = corrupt("fog", plain(0), 3, 0, 0)
    # exp(-2 * 0.6) to exp(-2 * 1.4) of the black are seen through.
    assert 0.9 * (1 - np.exp(-1.2)) * 255 - 1 <= black.min()
    assert black.max() <= 0.9 * (1 - np.exp(-2.8)) * 255 + 1


def test_a_stop_is_twice_the_light():
    # sRGB 128 is 0.2159 of the light of white; twice that is sRGB 176.
    assert np.unique(corrupt("overexposure", plain(128), 1, 0, 0)).tolist() == [176]
    assert np.unique(corrupt("overexposure", plain(255), 3, 0, 0)).tolist() == [255]


def test_night_is_two_stops_darker_and_noisy():
    night = corrupt("night", plain(255), 1, 0, 0)

    # A quarter of the light is sRGB 137; 500 of 2,000 electrons with a noise of 22.7.
    assert night.mean() == pytest.approx(137, abs=1)
    light = ((night / 255 + 0.055) / 1.055) ** 2.4
    assert light.std() * 2000 == pytest.approx(22.7, rel=0.1)


def test_motion_blur_spreads_a_point_along_a_line():
    dot = plain(0, 65, 65)
    dot[32, 32] = 255

    blurred = corrupt("motion blur", dot, 3, 0, 0)[..., 0].astype(float)
    y, x = np.nonzero(blurred)

    # 16 % of 65 px are 10.4 px; the light of the point is all there, and round its place.
    assert 10 <= np.hypot(np.ptp(x), np.ptp(y)) <= 15
    assert blurred.sum() == pytest.approx(255, rel=0.1)
    assert (y * blurred[y, x]).sum() / blurred.sum() == pytest.approx(32, abs=0.2)
    assert np.unique(corrupt("motion blur", plain(90), 3, 0, 0)).tolist() == [90]


def test_sensor_noise_has_its_spread():
    grain = corrupt("sensor noise", plain(128), 1, 0, 0).astype(float) - 128

    assert grain.std() == pytest.approx(0.08 * 255, rel=0.03)


def test_jpeg_is_pillows_of_that_quality():
    picture, file = random_picture(), io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=15)

    assert np.array_equal(corrupt("JPEG", picture, 2, 0, 0), np.asarray(Image.open(file)))


def test_rain_and_snow_only_lighten_a_dark_picture():
    for kind in ("rain", "snow"):
        changed = corrupt(kind, plain(20), 1, 0, 0)
        assert changed.min() >= 20
        assert 0.005 < (changed.max(axis=2) > 120).mean() < 0.1


# -- scale and field of view -----------------------------------------------------------------


def test_zooming_keeps_the_middle_and_the_shape():
    picture = plain(0, 40, 60)
    picture[16:24, 20:40] = 255

    twice, half = sweeps.zoom(picture, 2), sweeps.zoom(picture, 0.5)

    assert np.array_equal(sweeps.zoom(picture, 1), picture)
    assert (twice[14:26, 12:48] == 255).all()
    assert (twice[:8] == 0).all()
    assert half.shape == twice.shape == picture.shape
    assert (half[19:21, 26:34] == 255).all()
    assert (half[10:30, 10:50] > 127).all(axis=2).sum() == 4 * 10
    assert sweeps.zoom(random_picture(15, 31), 0.71).shape == (15, 31, 3)


def test_a_zoomed_out_picture_goes_on_by_reflection():
    picture = plain(10, 40, 40)
    picture[:4] = 200

    half = sweeps.zoom(picture, 0.5)

    # The edge lies at 10 px now: 2 px of it inside, as many reflected outside.
    assert (half[:7] < 60).all()
    assert (np.abs(half[9:11].astype(int) - 200) <= 2).all()
    assert (half[13:] < 60).all()


def test_a_part_of_a_panorama_is_told_its_field():
    # 70 of 360 degrees are 99 of 512 columns; 128 of 512 px are 90 degrees up and down.
    assert sweeps._field(128, 512, 70) == StreetField(360 * 99 / 512, 90.0)
    assert sweeps._field(128, 512, 360) == StreetField(360.0, 90.0)


# -- a planet of two towns -------------------------------------------------------------------


@pytest.fixture(scope="module")
def planet(tmp_path_factory):
    """A folder of data sets, with two benchmarks of four places each."""
    tiny = {
        name: Benchmark(
            name, (TownJob(region, 0, 4),), replace(BENCHMARKS["world-1k"].recipe, size=16)
        )
        for name, region in (("world-1k", "danube"), ("world-1k-far", "boreal"))
    }
    lay_out = World.town
    # All dates stay open, so that each is drawn once for all the renderings.
    laid_out = cache(lambda seed, *name: lay_out(World(seed), *name))

    def build(name, out, progress):
        return build_towns(out, tiny[name].jobs, tiny[name].recipe, split="test", progress=progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "town", lambda self, *name, **_: laid_out(self.seed, *name))
        patch.setattr(lab, "benchmark_named", tiny.get)
        patch.setattr(lab, "build_benchmark", build)
        yield tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def model(one_eyed_checkpoint):
    return GeoBridge.load(one_eyed_checkpoint)


@pytest.fixture(scope="module")
def found(planet, model):
    """Embeddings of the places as they are, by `evaluation.retrieval`."""
    places = [
        replace(place, text=shortened(model.tokenizer, place.text, model.config.text.max_tokens))
        for place in iter_places(planet / "world-1k")
    ]
    return embed_places(model, places)


@pytest.fixture(scope="module")
def blind_to_text(model):
    return GeoBridge.from_config(model.config.model_copy(update={"text": None}), seed=3).eval()


@pytest.fixture(scope="module")
def whole(planet, model, tmp_path_factory):
    """The folder of a whole suite, and its numbers."""
    out = tmp_path_factory.mktemp("out")
    page = run_suite(model, planet, out)
    assert page == out / "robustness.md"
    return out, json.loads((out / "robustness.json").read_text())


def at(scores, place=0):
    """R@1 of every series at one place."""
    return {name: values[place] and values[place]["values"]["R@1"][0] for name, values in scores}


def test_every_sweep_has_a_figure_a_table_and_numbers(whole):
    out, numbers = whole
    page = (out / "robustness.md").read_text()

    assert list(numbers["sweeps"]) == list(SWEEPS)
    for name, sweep in numbers["sweeps"].items():
        assert f"## {sweep['title']}" in page
        assert f"({name}.png)" in page
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert sweep["series"]
        for scores in sweep["series"].values():
            assert len(scores) == len(sweep["x"])
    assert page.count("| by lot, R@1, % |") == len(SWEEPS)
    assert "geobridge train" in page


def test_what_is_unchanged_is_what_retrieval_finds(whole, found):
    numbers = whole[1]["sweeps"]
    expected = {way.short: retrieve(found, way).recall(1) for way in NINE_DIRECTIONS}

    places = numbers["missing"]["series"]["nothing missing"]
    assert numbers["missing"]["x"] == list(expected)
    assert [score["values"]["R@1"][0] for score in places] == pytest.approx([*expected.values()])
    native = numbers["resolution"]["x"].index(0.8)
    for short, value in at(numbers["resolution"]["series"].items(), native).items():
        assert value == pytest.approx(expected[short])
    assert at(numbers["captions"]["series"].items())["T2S"] == pytest.approx(expected["T2S"])
    assert at(numbers["weather-drone"]["series"].items())["fog"] == pytest.approx(expected["D2S"])
    assert numbers["street"]["series"]["P2D, north in the middle"][-1]["values"]["R@1"][
        0
    ] == pytest.approx(expected["P2D"])
    assert numbers["rotation"]["series"]["D2P, camera"][0]["values"]["R@1"][0] == pytest.approx(
        expected["D2P"]
    )


def test_without_a_modality_the_other_directions_are_left(whole):
    sweep = whole[1]["sweeps"]["missing"]

    assert list(sweep["series"]) == [
        f"{name} missing" for name in ("nothing", "drone", "street", "satellite", "text")
    ]
    left = zip(sweep["x"], sweep["series"]["satellite missing"], strict=True)
    assert [way for way, score in left if score] == ["D2P", "P2D", "T2D", "T2P"]


def test_modalities_of_a_query_are_fused_and_removed(whole, found):
    sweep = whole[1]["sweeps"]["fusion"]
    assert list(sweep["series"]) == ["P+S+T to D", "D+S+T to P", "D+P+T to S"]
    to_satellite = sweep["series"]["D+P+T to S"]
    assert [score is None for score in to_satellite] == [False, False, False, True, False]

    total = found["street"].embeddings + found["text"].embeddings
    mean = total / np.linalg.norm(total, axis=1, keepdims=True)
    similarity = mean.astype(np.float64) @ found["satellite"].embeddings.T.astype(np.float64)
    ranks = (similarity >= np.diag(similarity)[:, None] - 1e-9).sum(axis=1)
    without_drone = to_satellite[sweep["x"].index("drone")]
    assert without_drone["values"]["R@1"][0] == pytest.approx((ranks == 1).mean())


def test_a_second_run_embeds_nothing(whole, planet, model, monkeypatch):
    out, numbers = whole
    monkeypatch.setattr(GeoBridge, "embed", lambda *_args, **_kwargs: pytest.fail("again"))
    monkeypatch.setattr(suite, "PAGE", "again.md")
    monkeypatch.setattr(suite, "NUMBERS", "again.json")

    page = run_suite(model, planet, out, sweeps=["weather-street", "street", "captions"])

    again = json.loads((page.parent / "again.json").read_text())
    assert again["sweeps"] == {
        name: numbers["sweeps"][name] for name in ("weather-street", "street", "captions")
    }


def test_renderings_change_one_modality_of_the_same_places(planet, model, tmp_path):
    one = Lab(model, planet, tmp_path, lambda _: lambda _done, _total: None)

    coarse = one.rendered("satellite", "satellite-10m", satellite_gsd_m=10.0)
    fine = one.rendered("satellite", "satellite-0.3m", satellite_gsd_m=0.3)
    noisy = one.rendered("text", "noise-0.6", anchor_noise=0.6)
    north_up = one.rendered("drone", "crop", drone="crop")

    names = one.base["satellite"].items.names
    assert coarse.items.names == noisy.items.names == north_up.items.names == names
    # The tiny recipe keeps the benchmark's 102.4 m.
    assert read_image(coarse.items.contents[0]).shape == (10, 10, 3)
    assert read_image(fine.items.contents[0]).shape == (341, 341, 3)
    texts = one.base["text"].items.contents
    assert sum(a != b for a, b in zip(noisy.items.contents, texts, strict=True)) >= 2
    assert [path.name for path in north_up.items.contents] == [f"{name}.jpg" for name in names]
    assert not (planet / "robustness-crop" / "street" / f"{names[0]}.jpg").exists()


def test_a_changed_set_has_another_salt_and_is_made_when_it_is_read(planet, model, tmp_path):
    one = Lab(model, planet, tmp_path, lambda _: lambda _done, _total: None)
    seen = []

    def change(picture, number):
        seen.append(number)
        return picture[::-1]

    turned = one.changed(one.base["drone"], "upside down", change)

    assert not seen
    assert turned.name == "world-1k drone upside down"
    made = turned.items.contents[2]()
    assert seen == [2]
    assert made.shape == (16, 16, 3)
    assert turned.salt
    assert one.measure(Direction.parse("D2S"), drone=turned).queries == 4
    assert (tmp_path / "embeddings" / "world-1k-drone-upside-down.npy").exists()


def test_any_heading_turns_each_panorama_by_its_own_angle(planet, model, tmp_path):
    one = Lab(model, planet, tmp_path, lambda _: lambda _done, _total: None)
    fields = sweeps._fields(one)

    turned = sweeps._part(one, 360, fields[360], any_heading=True)
    part = sweeps._part(one, 90, fields[90], any_heading=True)
    north = sweeps._part(one, 90, fields[90], any_heading=False)

    panoramas = [read_image(path) for path in one.base["street"].items.contents]
    shifts = set()
    for panorama, content in zip(panoramas, turned.items.contents, strict=True):
        rolled = [np.roll(panorama, shift, axis=1) for shift in range(64)]
        equal = [shift for shift in range(64) if np.array_equal(rolled[shift], content())]
        assert len(equal) == 1
        shifts |= set(equal)
    assert len(shifts) >= 3
    # The same heading at every field of view: a quarter of the turned panorama's middle.
    for whole_one, cut in zip(turned.items.contents, part.items.contents, strict=True):
        assert np.array_equal(whole_one()[:, 24:40], cut())
    assert np.array_equal(panoramas[0][:, 24:40], north.items.contents[0]())
    assert north.items.fields[0] == StreetField(90.0, 90.0)
    assert sweeps._part(one, 360, fields[360], any_heading=False) is one.base["street"]


def test_the_loss_is_told_with_both_intervals(whole):
    sweep = whole[1]["sweeps"]["regions"]

    assert sweep["x"] == [way.short for way in NINE_DIRECTIONS]
    for seen, unseen, lost in zip(*sweep["series"].values(), sweep["losses"]["loss"], strict=True):
        difference = seen["values"]["R@1"][0] - unseen["values"]["R@1"][0]
        assert lost[0] == pytest.approx(difference)
        assert lost[1] <= lost[0] <= lost[2]


def test_a_loss_of_many_queries_has_the_textbook_interval():
    rng = np.random.default_rng(1)

    class Measured:
        def __init__(self, share):
            self.per_query = {"R@1": (rng.permutation(1000) < 1000 * share).astype(float)}

    lost = sweeps.loss(Measured(0.5), Measured(0.2))

    # 1.96 times the root of the sum of both variances.
    half = 1.96 * np.sqrt(0.5 * 0.5 / 1000 + 0.2 * 0.8 / 1000)
    assert lost.value == pytest.approx(0.3)
    assert lost.low == pytest.approx(0.3 - half, abs=0.006)
    assert lost.high == pytest.approx(0.3 + half, abs=0.006)


def test_other_models_stand_beside_it(planet, model, one_eyed_checkpoint, tmp_path):
    page = run_suite(model, planet, tmp_path, sweeps=[], transfer={"no D-P": one_eyed_checkpoint})

    sweep = json.loads((tmp_path / "robustness.json").read_text())["sweeps"]["transfer"]
    assert sweep["x"] == ["one-eyed", "no D-P"]
    assert list(sweep["series"]) == ["D2S", "S2D", "D2P", "P2D", "P2S", "S2P"]
    assert all(one == other for one, other in sweep["series"].values())
    assert "Not measured" not in page.read_text()
    assert (tmp_path / "transfer" / "no-D-P" / "embeddings").is_dir()


def test_a_model_without_text_leaves_it_out(planet, blind_to_text, tmp_path):
    page = run_suite(blind_to_text, planet, tmp_path, sweeps=["captions", "missing"])

    assert "The model has no direction of captions: they are left out." in page.read_text()
    sweep = json.loads((tmp_path / "robustness.json").read_text())["sweeps"]["missing"]
    assert sweep["x"] == ["D2S", "S2D", "D2P", "P2D", "P2S", "S2P"]
    with pytest.raises(EvaluationError, match="has no direction of captions"):
        run_suite(blind_to_text, planet, tmp_path / "other", sweeps=["captions"])


def test_an_unknown_sweep_is_named(model, tmp_path):
    with pytest.raises(EvaluationError, match="no sweep 'wind' in the suite: choose of resolution"):
        run_suite(model, tmp_path, tmp_path, sweeps=["wind"])
    with pytest.raises(EvaluationError, match="no sweep is asked for"):
        run_suite(model, tmp_path, tmp_path, sweeps=[])
