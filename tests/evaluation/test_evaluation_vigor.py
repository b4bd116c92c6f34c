import shutil

import numpy as np
import pytest
from pydantic import ValidationError
from trees_street import GOLDEN_LINE, GOLDEN_PANORAMA, GOLDEN_TILE, VIGOR_TILES, plant_vigor

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.vigor import BENCHMARK, Label, pixel_in_tile
from geobridge.geo.distance import offset_m


@pytest.fixture
def root(tmp_path):
    plant_vigor(tmp_path)
    return tmp_path


def read(root, **options):
    return BENCHMARK.read(root, BENCHMARK.configure(options))


def lists(relevance):
    return [rows.tolist() for rows in map(relevance.__getitem__, range(len(relevance)))]


def test_the_golden_line_is_read():
    label = Label.parse(GOLDEN_LINE)

    assert label.panorama == GOLDEN_PANORAMA
    assert label.tiles == tuple(VIGOR_TILES["Chicago"][:4])
    assert label.offsets_px == ((23, -29), (20, 300), (-304, -32), (-307, 297))
    assert label.inside
    # The tile's centre is 23 px north and 29 px west of the panorama.
    assert pixel_in_tile(*label.offsets_px[0]) == (349, 343)


def test_offsets_are_the_way_from_the_panorama_to_the_tile(root):
    sets = read(root, labels="corrected").sets
    street, satellite = sets["street"], sets["satellite"]
    row = street.names.index(f"Chicago/{GOLDEN_PANORAMA}")
    tile = satellite.names.index(f"Chicago/{GOLDEN_TILE}")

    east_m, north_m = offset_m(
        street.lon[row], street.lat[row], satellite.lon[tile], satellite.lat[tile]
    )

    # Tiles of Chicago have 0.1113 m a pixel (CCVPE); labels are rounded.
    assert north_m / 0.1113 == pytest.approx(23.0, abs=0.5)
    assert east_m / 0.1113 == pytest.approx(-29.0, abs=0.5)


@pytest.mark.parametrize("snapshot", [False, True])
def test_the_same_area_looks_up_test_panoramas_in_all_tiles(tmp_path, snapshot):
    plant_vigor(tmp_path, snapshot=snapshot)
    loaded = read(tmp_path)
    street, satellite = loaded.sets["street"], loaded.sets["satellite"]

    assert street.names[:4] == [
        f"Chicago/{GOLDEN_PANORAMA}",
        "Chicago/Chicago-out,1.5,2.5,.jpg",
        "NewYork/NewYork-in,1.5,2.5,.jpg",
        "NewYork/NewYork-out,1.5,2.5,.jpg",
    ]
    assert satellite.names == [
        f"{city}/{tile}" for city, tiles in VIGOR_TILES.items() for tile in tiles
    ]
    assert all(path.is_file() for path in (*street.contents, *satellite.contents))
    assert (street.lat[0], street.lon[0]) == (41.877949, -87.689396)
    assert (satellite.lat[-1], satellite.lon[-1]) == (47.7, -122.3)
    assert street.regions[-1] == "Seattle"


def test_the_first_tile_is_right_and_the_others_are_forgiven_by_hit_rates(root):
    forward, back = read(root).tasks

    assert (forward.name, back.name) == ("P2S", "S2P")
    # Tiles 0 to 4 are Chicago's, then two a city.
    assert lists(forward.positives) == [[0], [0], [5], [5], [7], [7], [9], [9]]
    # Elsewhere the second tile is named twice, and a third is in no list.
    assert lists(forward.semipositives) == [[1, 2, 3], [1], [6], [6], [8], [8], [10], [10]]
    assert forward.geodesy == "cosines-6371.004"
    assert forward.headline == ("R@1", "R@5", "R@10", "R@1% (int+1)", "hit rate (code)")
    # In each city one of two panoramas is 321 px from its tile's centre, whose side is 640.
    assert "4 of 8 panoramas lie outside" in forward.remarks[0]
    assert back.query_rows.tolist() == [0, 5, 7, 9]
    assert lists(back.positives) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert back.remarks == ("7 of 11 satellite items belong to no street item and are not asked.",)


def test_the_cross_area_asks_all_panoramas_of_two_cities(root):
    loaded = read(root, area="cross")

    assert set(loaded.sets["street"].regions) == {"Chicago", "SanFrancisco"}
    assert len(loaded.sets["street"]) == 8
    assert len(loaded.sets["satellite"]) == 5 + 2
    # Training panoramas come first in the planted list; theirs is the second tile.
    assert lists(loaded.tasks[0].positives) == [[1], [1], [0], [0], [6], [6], [5], [5]]


def test_corrected_labels_are_read_from_their_own_folder(root):
    path = root / "splits__corrected/Seattle/same_area_balanced_test__corrected.txt"
    path.write_text(path.read_text().splitlines()[0])

    assert len(read(root, labels="corrected").sets["street"]) == 7
    assert len(read(root).sets["street"]) == 8
    shutil.rmtree(root / "splits")
    assert len(read(root, labels="corrected").sets["street"]) == 7
    with pytest.raises(EvaluationError, match=r"looked for splits/Chicago/satellite_list\.txt"):
        read(root)


def test_panoramas_and_tiles_without_a_file_are_left_out_and_counted(root):
    (root / "Chicago/panorama" / GOLDEN_PANORAMA).unlink()
    (root / "NewYork/satellite/satellite_40.7_-74.0.png").unlink()

    loaded = read(root)

    # Chicago keeps one panorama; those of NewYork had that tile as their positive.
    cities = ["Chicago", "SanFrancisco", "SanFrancisco", "Seattle", "Seattle"]
    assert list(loaded.sets["street"].regions) == cities
    assert len(loaded.sets["satellite"]) == 10
    assert lists(loaded.tasks[0].positives) == [[0], [6], [6], [8], [8]]
    assert [remark.split(" are left")[0] for remark in loaded.remarks] == [
        "1 of 11 listed satellite pictures",
        "1 of 8 listed street pictures",
        "2 of 7 panoramas",
    ]
    assert len(BENCHMARK.faults(root)) == 2


def test_splits_are_of_the_same_area_and_the_whole_gallery(root):
    found = BENCHMARK.splits(root)

    assert {name: len(items) for name, items in found.items()} == {
        "train/street": 8,
        "test/street": 8,
        "gallery/satellite": 11,
    }
    assert set(found) == set(BENCHMARK.counts)
    assert not set(found["train/street"].names) & set(found["test/street"].names)
    assert BENCHMARK.overlap


def test_a_city_that_is_not_unpacked_is_named(root):
    shutil.rmtree(root / "Seattle")

    with pytest.raises(EvaluationError, match="missing are Seattle/satellite"):
        read(root)
    assert len(read(root, area="cross").tasks) == 2


@pytest.mark.parametrize(
    "line",
    ["a,1.0,2.0,.jpg tile.png 1 2", GOLDEN_LINE.replace("23.0", "north"), GOLDEN_LINE + " 1"],
)
def test_a_damaged_label_is_named(root, line):
    path = root / "splits/Chicago/same_area_balanced_test.txt"
    path.write_text(path.read_text() + line)

    with pytest.raises(EvaluationError, match=r"line 3 of .*same_area_balanced_test\.txt"):
        read(root)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("satellite_list.txt", "tile.png"),
        ("same_area_balanced_test.txt", GOLDEN_LINE.replace("golden,41.877949,", "golden,")),
    ],
)
def test_a_name_without_a_position_is_refused(root, file, line):
    path = root / "splits/Chicago" / file
    path.write_text(path.read_text() + line)

    with pytest.raises(EvaluationError, match="no latitude and longitude"):
        read(root)


def test_positions_are_finite(root):
    for items in BENCHMARK.splits(root).values():
        assert np.isfinite(items.lat).all()
        assert np.isfinite(items.lon).all()


def test_an_area_that_is_none_is_refused():
    with pytest.raises(ValidationError):
        BENCHMARK.configure({"area": "all"})
