import itertools
import os
import signal
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from geobridge.errors import WorldError
from geobridge.views import MODALITIES, VIEWS
from geobridge.world import REGIONS, World, WorldDataset, world_batches
from geobridge.world.neighbours import place_pairs
from geobridge.world.seeds import BENCHMARK_SEED, generator

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    # Tests before these load lance, which warns of every fork; these workers never use it.
    pytest.mark.filterwarnings("ignore:lance is not fork-safe"),
]


def small(regions=("danube", "mesa"), **options):
    """Little of everything, so that laying out its town is nearly all that a visit costs."""
    options = {"size": 8, "places_per_visit": 4, "dates_per_visit": 3, **options}
    return WorldDataset(list(regions), **options)


def flat(batch):
    """Everything in a batch as bytes and strings, to compare with `==`."""
    tensors = ("drone", "street", "satellite", "lat", "lon")
    return (
        *(batch[name].numpy().tobytes() for name in tensors),
        *(batch["present"][name].numpy().tobytes() for name in MODALITIES),
        *(tuple(batch[name]) for name in ("text", "town", "place_id")),
    )


def first(batches, count):
    return [flat(batch) for batch in itertools.islice(batches, count)]


@pytest.fixture(scope="module")
def uninterrupted():
    """Four batches of two places of each of two towns, drawn in this process."""
    return first(world_batches(small(), 4, towns_per_batch=2, num_workers=0), 4)


def test_a_visit_holds_places_of_one_town_in_all_modalities():
    visit = small(size=16, satellite_gsd_m=2.0, satellite_m=48).visit(0)

    assert visit["drone"].shape == (4, 3, 16, 16)
    assert visit["street"].shape == (4, 3, 16, 64)
    assert visit["satellite"].shape == (4, 3, 24, 24)
    assert all(visit[view].dtype == torch.uint8 for view in VIEWS)
    assert visit["lat"].dtype == visit["lon"].dtype == torch.float64
    assert len(set(visit["town"])) == 1
    assert len(set(visit["place_id"])) == 4
    assert all(text.endswith(".") for text in visit["text"])
    assert list(visit["present"]) == list(MODALITIES)
    assert all(rows.dtype == torch.bool and rows.all() for rows in visit["present"].values())


def test_pictures_words_and_positions_are_those_of_the_town():
    dataset = small(seed=5, drone="crop")
    visit = dataset.visit(1)
    town = World(5).town(*dataset.town_of(1))
    places = town.places(4)
    # The same draws as the data set's, written out.
    rng = generator("visit", town.name)
    open_dates = rng.permutation(8)[:3]
    dates = [tuple(int(date) for date in rng.permutation(open_dates)) for _ in places]

    assert visit["town"] == [town.name] * 4
    for row, place in enumerate(places):
        drawn = town.render_all(
            place,
            generator("views", town.name, place.index),
            size=8,
            drone="crop",
            dates=dates[row],
        )
        for view in VIEWS:
            assert np.array_equal(visit[view][row].permute(1, 2, 0).numpy(), drawn[view])
        assert visit["text"][row] == town.describe(place)
        assert (visit["lat"][row], visit["lon"][row]) == (place.lat, place.lon)
        assert len(set(dates[row])) == 3


def test_each_round_visits_every_region_once_and_no_town_twice():
    dataset = WorldDataset(seed=3)
    known = {name for name, region in REGIONS.items() if not region.unseen}

    towns = [dataset.town_of(number) for number in range(5 * len(known))]

    assert len(set(towns)) == len(towns)
    for turn in range(5):
        regions, indices = zip(*towns[turn * len(known) :][: len(known)], strict=True)
        assert set(regions) == known
        assert set(indices) == {turn}
    assert [name for name, _ in towns[:8]] != [name for name, _ in towns[8:16]]


def test_workers_change_nothing(uninterrupted):
    batches = world_batches(small(), 4, towns_per_batch=2, num_workers=2, start_method="fork")

    assert first(batches, 4) == uninterrupted


@pytest.mark.parametrize("done", [1, 3])
def test_a_resumed_stream_goes_on_as_if_never_cut(uninterrupted, done):
    batches = world_batches(small(), 4, towns_per_batch=2, start=done, num_workers=0)

    assert first(batches, 4 - done) == uninterrupted[done:]


def test_a_spawned_worker_resumes_too(uninterrupted):
    batches = world_batches(small(), 4, towns_per_batch=2, start=3, num_workers=1)

    assert first(batches, 1) == uninterrupted[3:]


def test_a_plain_loader_yields_the_visits_in_order():
    dataset = small(places_per_visit=1, start=2)
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")

    assert first(loader, 2) == [flat(dataset.visit(number)) for number in (2, 3)]


def test_ranks_share_the_visits_out():
    whole = [small(places_per_visit=1).visit(number)["town"] for number in range(4)]
    shares = [small(places_per_visit=1, rank=rank, world_size=2, start=1) for rank in (0, 1)]
    # Each rank has consumed one visit, so the two of number 0 and 1 are over.
    drawn = [[visit["town"] for visit in itertools.islice(share, 1)] for share in shares]

    assert drawn == [[whole[2]], [whole[3]]]


def test_a_batch_mixes_towns_and_holds_neighbours_of_each():
    batches = world_batches(small(), 4, towns_per_batch=2, num_workers=0)
    one, two = (next(batches) for _ in range(2))

    assert one["town"] == two["town"]
    assert one["town"][0] == one["town"][1] != one["town"][2] == one["town"][3]
    assert not set(one["place_id"]) & set(two["place_id"])
    # Neighbours stand at most a town's diagonal apart (900 m, so less than 0.02 degrees).
    assert (one["lat"][0] - one["lat"][1]).abs() < 0.02 < (one["lat"][0] - one["lat"][2]).abs()


def test_pairs_are_the_neighbours_that_the_planet_knows():
    visit = small(pairs=True).visit(0)
    region, index = small().town_of(0)
    pairs = place_pairs(World(0).town(region, index), 4)

    assert visit["place_id"] == [place.place_id for place in pairs]
    assert visit["lat"].tolist() == [place.lat for place in pairs]


def test_missing_modalities_are_empty_and_marked():
    dataset = small(places_per_visit=64, missing={"drone": 0.5, "text": 1.0}, size=8)
    visit = dataset.visit(0)
    whole = small(places_per_visit=64, size=8).visit(0)
    drone = visit["present"]["drone"]

    # Binomial with 64 draws at one half: 16 to 48 is four deviations to each side.
    assert 16 <= int(drone.sum()) <= 48
    assert not visit["drone"][~drone].any()
    assert torch.equal(visit["drone"][drone], whole["drone"][drone])
    assert visit["text"] == [""] * 64
    assert not visit["present"]["text"].any()
    # What else is there does not depend on what is missing.
    assert torch.equal(visit["street"], whole["street"])
    assert visit["present"]["street"].all()


def test_a_place_keeps_two_modalities_of_those_that_are_not_always_missing():
    dataset = small(missing={"drone": 0.9, "street": 1.0, "satellite": 0.9, "text": 0.9})

    held = dataset._held(generator("test"), 500)
    counts = sum(rows.astype(int) for rows in held.values())

    assert counts.min() == 2
    assert not held["street"].any()
    assert all(held[name].any() for name in ("drone", "satellite", "text"))


def test_noise_spoils_words_only():
    clean, spoilt = small().visit(0), small(anchor_noise=1.0).visit(0)

    assert spoilt["text"] != clean["text"]
    assert torch.equal(spoilt["drone"], clean["drone"])


def test_a_small_town_has_its_places_nearer_to_each_other():
    town = World(3).town("danube", 0)
    assert len(town.places(100, at_most=True)) < 100

    visit = WorldDataset(["danube"], seed=3, places_per_visit=100, size=8).visit(0)

    assert set(visit["town"]) == {town.name}
    assert len(set(visit["place_id"])) == 100
    metres = np.stack([visit["lat"], visit["lon"]], axis=1) * 111_200
    metres[:, 1] *= np.cos(np.deg2rad(visit["lat"].numpy()))
    apart = np.hypot(*(metres[:, None] - metres[None]).transpose(2, 0, 1))
    apart[np.diag_indices(100)] = np.inf
    assert 3.9 < apart.min() < 18


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"regions": ["albion", "savanna"]}, "savanna is held back"),
        ({"regions": ["atlantis"]}, "no region 'atlantis'"),
        ({"regions": []}, "No region"),
        ({"seed": BENCHMARK_SEED}, "benchmark"),
        ({"size": 4}, "size 4"),
        ({"places_per_visit": 0}, "places_per_visit 0"),
        ({"dates_per_visit": 2}, "dates_per_visit 2"),
        ({"dates_per_visit": 9}, "dates_per_visit 9"),
        ({"anchor_noise": 1.5}, "anchor_noise 1.5"),
        ({"satellite_gsd_m": 0.0}, "satellite_gsd_m 0"),
        ({"satellite_m": 3.0}, "4 pixels"),
        ({"drone": "balloon"}, "'balloon'"),
        ({"missing": {"sonar": 0.5}}, "'sonar'"),
        ({"missing": {"text": 1.5}}, "1.5"),
        ({"missing": {"text": 1, "drone": 1, "street": 1}}, "fewer than two"),
        ({"start": -1}, "start -1"),
        ({"rank": 2, "world_size": 2}, "rank 2"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(WorldError, match=words):
        WorldDataset(**options)


@pytest.mark.parametrize(
    ("batch_size", "options"),
    [
        (5, {"towns_per_batch": 2}),
        (6, {"towns_per_batch": 2}),
        (0, {"towns_per_batch": 2}),
        (4, {"towns_per_batch": 0}),
        (4, {"start": -1}),
        (4, {"num_workers": -1}),
    ],
)
def test_batches_that_do_not_come_out_even_are_refused(batch_size, options):
    with pytest.raises(WorldError):
        world_batches(small(), batch_size, **options)


class Broken(WorldDataset):
    def visit(self, number):
        raise WorldError(f"There is no visit {number}: stay at home.")


@pytest.mark.parametrize("workers", [0, 1])
def test_the_error_of_a_worker_is_one_sentence(workers):
    dataset = Broken(places_per_visit=4)
    batches = world_batches(dataset, 4, num_workers=workers, start_method="fork")

    with pytest.raises(WorldError, match=r"^There is no visit 0: stay at home\.$"):
        next(batches)


def test_a_killed_worker_is_noticed():
    batches = world_batches(small(), 4, towns_per_batch=1, num_workers=1, start_method="fork")
    next(batches)
    for child in active_children():
        os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(WorldError, match="worker that draws the planet died"):
        first(batches, 10)
