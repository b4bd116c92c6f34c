"""A curation that is killed at any moment goes on without asking twice or losing a row.

GEOBRIDGE_KILLS=200 pytest tests/curation/test_curation_kills.py -s      # more points than 20
"""

import hashlib
import os
from collections import Counter

import numpy as np
import pytest
import yaml
from chat_server import answer, completion, pictures_in
from ground_stage import offsets, paint, write_tiles
from kill_stage import WatchedImagery, WatchedProvider, Watcher, watched_chat
from provider_servers import Shot, jpeg

from geobridge.curation.state import read_notes
from geobridge.curation.workspace import Workspace

KILLS = int(os.environ.get("GEOBRIDGE_KILLS", "20"))
SECRET = "secret-of-the-test"  # noqa: S105

# Metres east and north of the middle. Two lie so near another that their footprints overlap.
POSITIONS = [
    *((east, north) for east in (-180, -60, 60, 180) for north in (-150, 0, 150)),
    *((-150, 0), (60, 30)),
]


def shots():
    """Panoramas of noise; one is flat, so that a gate has something to reject."""
    flat = jpeg(0, width=64, height=32)
    made = [
        Shot(f"p{index:02d}", lat, lon, jpeg(index), captured=f"2024-05-{index + 1:02d}T10:00:00Z")
        for index, (lat, lon) in enumerate(offsets(POSITIONS))
    ]
    return [*made, Shot("small", *offsets([(0, 60)])[0], flat, is_360=False)]


def describe(body):
    """What is described depends on the pictures alone; some answers are too long at first."""
    seen = hashlib.sha256(b"".join(p.tobytes() for p in pictures_in(body))).hexdigest()
    asked = len(body["messages"])
    if int(seen[0], 16) < 6 and asked == 2:
        return completion(answer("wave " * 60 + seen[:12]))
    return completion(
        answer(
            f"Waves of colour over flat ground, numbered {int(seen[:12], 16)} in answer {asked}."
        )
    )


def settings(folder, panoramax, mapillary, imagery, chat):
    providers = [
        {"kind": "panoramax", "url": panoramax.panoramax, "requests_per_second": 10_000},
        {"kind": "mapillary", "url": mapillary.mapillary, "requests_per_second": 10_000},
    ]
    facts = {"licence": "CC0-1.0", "attribution": "the test", "date": "2024-04-01"}
    return {
        "seeds": {
            "rasters": [str(folder / "drone.tif")],
            "side_m": 180,
            "max_gsd_m": 2,
            "facts": {"*": facts},
        },
        "street": {"providers": providers, "per_seed": 4, "allow_private": True},
        "crop": {"sides_m": [60, 80], "size": 128, "max_upsampling": 3},
        # Painted waves are smooth: so that some pass, and some do not.
        "clean": {"drone": {"bh": 6.7}},
        "satellite": {
            "size": 64,
            "tiles": {
                "url": f"{imagery.origin}/files/{{z}}/{{x}}/{{y}}.png",
                "max_zoom": 17,
                "requests_per_second": 10_000,
                "allow_private": True,
                "facts": {"date": "2022-05-01", "source": "a web map"},
            },
        },
        "describe": {"endpoint": {"base_url": chat.url, "model": "tiny-eyes"}},
        "publish": {
            "splits": {"shares": {"train": 0.5, "test": 0.5}, "apart_m": 50},
            "only_redistributable": True,
        },
    }


class Town:
    """A town, its servers, and a curation of it that nothing has interrupted."""

    def __init__(self, folder, config, watcher):
        self.folder, self.config, self.watcher = folder, config, watcher
        assert watcher.curate(config, folder / "whole")
        self.events = list(dict.fromkeys(watcher.events))
        self.asked = dict(watcher.asked)
        self.bytes = contents(folder / "whole")


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    paint(folder / "drone.tif")
    (folder / "served").mkdir()
    write_tiles(folder / "served", 17)
    some, watcher = shots(), Watcher()
    patch = pytest.MonkeyPatch()
    patch.setenv("MAPILLARY_TOKEN", SECRET)
    with (
        WatchedProvider(watcher, some[::2], page=3) as panoramax,
        WatchedProvider(watcher, some[1::2], page=3, token=SECRET) as mapillary,
        WatchedImagery(watcher, folder / "served") as imagery,
        watched_chat(watcher, describe) as chat,
    ):
        config = folder / "town.yaml"
        config.write_text(yaml.safe_dump(settings(folder, panoramax, mapillary, imagery, chat)))
        yield Town(folder, config, watcher)
    patch.undo()


def contents(out):
    """Digests of everything a curation leaves but its lock, its journals' order and its cache."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    shown = {path.relative_to(out).as_posix(): path for path in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in shown.items()
        if not name.startswith(("journal/", "cache/", ".lock"))
    }


def points(events):
    """Events to be killed at: one by chance out of each of as many equal parts of the run."""
    count = min(KILLS, events)
    edges = np.linspace(0, events, count + 1).astype(int)
    return np.random.default_rng(6).integers(edges[:-1], edges[1:]).tolist()


def under_way(out):
    """The stage that a folder's notes say is not finished."""
    begun = read_notes(out).items()
    return next((name for name, note in begun if not note["whose"]), "between stages")


def test_the_town_has_something_of_everything(town):
    workspace = Workspace(town.folder / "whole")
    kept = {name: workspace.read(name)["kept"] for name in
            ("street", "crops", "clean", "satellite", "describe", "publish")}  # fmt: skip

    assert not kept["street"].all()
    assert not kept["clean"].all()
    assert kept["publish"].sum() >= 6
    assert workspace.read("describe")["attempts"].max() == 2
    kinds = {name.split("/")[0] for name in town.bytes if "/" in name}
    assert kinds == {"pictures", "places", "reports", "sheets"}
    for beginning in ("GET /panoramax", "GET /mapillary/images", "GET /pictures", "GET /files/17"):
        assert any(name.startswith(beginning) for name in town.asked), beginning
    assert set(town.asked.values()) == {1}


def test_two_runs_that_nothing_interrupts_leave_the_same_bytes(town):
    watcher = town.watcher
    watcher.asked.clear()

    assert watcher.curate(town.config, town.folder / "again")

    assert contents(town.folder / "again") == town.bytes
    assert dict(watcher.asked) == town.asked
    assert watcher.repeated == []


def test_a_run_killed_at_many_points_asks_for_nothing_twice_and_loses_no_row(town, capsys):
    watcher, out = town.watcher, town.folder / "killed"
    watcher.asked.clear()
    killed = Counter()

    for point in points(len(town.events)):
        # Threads may have brought what comes next about already: then it is the one after that.
        ended = watcher.curate(town.config, out, fatal=town.events[point:])
        assert not ended, town.events[point]
        killed[under_way(out)] += 1
    assert watcher.curate(town.config, out)
    # By the servers' own count: twice is only what was under way when the process died.
    again = {name: count - 1 for name, count in watcher.asked.items() if count > 1}
    with capsys.disabled():
        print(
            f"\n{killed.total()} kills in {len(town.events)} events ("
            + ", ".join(f"{name} {count}" for name, count in killed.items())
            + f"); {sum(watcher.asked.values())} requests of {len(town.asked)} answers, "
            f"{sum(again.values())} of them again, {len(watcher.in_flight)} in flight when killed"
        )

    assert watcher.repeated == []
    assert set(watcher.asked) == set(town.asked)
    assert all(count <= watcher.in_flight.count(name) for name, count in again.items())
    assert contents(out) == town.bytes
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]

    watcher.asked.clear()
    assert watcher.curate(town.config, out)
    assert not watcher.asked
    assert contents(out) == town.bytes
