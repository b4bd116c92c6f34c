import os
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from gallery_fakes import FakeModel, left_out_of, noise, rows_of, write_map, write_photo

from geobridge.errors import GalleryError, ModelError, RasterError, SourceError
from geobridge.gallery import ledger, manifest, writer
from geobridge.gallery.build import build_gallery, read_ahead
from geobridge.gallery.ledger import Ledger
from geobridge.gallery.sources import open_source
from geobridge.gallery.store import GalleryStore, has_table


def map_with_holes(path):
    """5 x 5 windows of 100 m side by side: 2 without data, 1 blank, 22 to index.

    A tenth of window (row 1, column 1) has data, 60 % of window (1, 3).
    """
    pixels = noise(500, 500)
    pixels[0:100, 200:300] = 0
    pixels[110:200, 100:200] = 0
    pixels[160:200, 300:400] = 0
    pixels[400:500, 400:500] = (10, 200, 30)
    return write_map(path, pixels, nodata=0)


def open_map(path):
    return open_source(path, "satellite", footprint_m=100, stride_m=100)


def photo_folder(folder):
    """4 photos with a position, 1 without, 1 at 0, 0, 1 torn, 1 that is text, 1 of one colour."""
    for number in range(4):
        write_photo(folder / f"{number}.jpg", lat=48.0, lon=15.0 + number / 1000, seed=number)
    write_photo(folder / "nowhere.jpg")
    write_photo(folder / "null.jpg", lat=0.0, lon=0.0)
    torn = write_photo(folder / "torn.jpg", lat=48.0, lon=15.01)
    torn.write_bytes(torn.read_bytes()[:-2000])
    (folder / "readme.txt").write_text("not a picture")
    return folder


LEFT_OUT_OF_PHOTOS = {
    ("nowhere.jpg", "skipped", "no position"),
    ("null.jpg", "unreadable", "impossible position"),
    ("readme.txt", "skipped", "not a picture"),
    ("torn.jpg", "unreadable", "unreadable picture"),
}


def test_windows_without_data_are_skipped_and_counted(tmp_path, model):
    summary = build_gallery([open_map(map_with_holes(tmp_path / "map.tif"))], model, tmp_path / "g")
    assert (summary.indexed, summary.added, summary.skipped, summary.unreadable) == (22, 22, 3, 0)
    assert summary.by_reason == {"no data": 2, "no variation": 1}
    assert not summary.already_complete
    lines = left_out_of(tmp_path / "g")
    assert {(line["reason"], line["window"], line["detail"]) for line in lines} == {
        ("no data", "200 0 100 100", "0% of the window"),
        ("no data", "100 100 100 100", "10% of the window"),
        ("no variation", "400 400 100 100", ""),
    }
    assert summary.skipped_file == tmp_path / "g" / "skipped.csv"


def test_how_much_data_a_window_needs_is_ours_to_say(tmp_path, model):
    path = map_with_holes(tmp_path / "map.tif")
    for min_valid, indexed in ((0.05, 23), (0.61, 21)):
        source = open_source(path, "satellite", stride_m=100, min_valid=min_valid)
        assert build_gallery([source], model, tmp_path / f"{min_valid}").indexed == indexed


def test_one_bad_file_stops_nothing(tmp_path, model):
    source = open_source(photo_folder(tmp_path / "photos"), "drone")
    summary = build_gallery([source], model, tmp_path / "g", batch_size=3)
    assert (summary.indexed, summary.skipped, summary.unreadable) == (4, 2, 2)
    lines = left_out_of(tmp_path / "g")
    assert {(r["path"], r["outcome"], r["reason"]) for r in lines} == LEFT_OUT_OF_PHOTOS
    torn = next(line for line in lines if line["path"] == "torn.jpg")
    assert str(tmp_path / "photos" / "torn.jpg") in torn["detail"]


def test_a_folder_that_may_not_be_read_is_listed(tmp_path, model, monkeypatch):
    folder = photo_folder(tmp_path / "photos")
    (folder / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        # Whoever runs the tests may be allowed everything.
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for added in (4, 0):
        summary = build_gallery([open_source(folder, "drone")], model, tmp_path / "g")
        assert (summary.indexed, summary.added) == (4, added)
    closed = ("closed/", "unreadable", "folder may not be read")
    lines = {
        (line["path"], line["outcome"], line["reason"]) for line in left_out_of(tmp_path / "g")
    }
    assert lines == {*LEFT_OUT_OF_PHOTOS, closed}


def test_links_in_a_circle_double_nothing(tmp_path, model):
    folder = photo_folder(tmp_path / "photos")
    (folder / "again").symlink_to(folder, target_is_directory=True)
    assert build_gallery([open_source(folder, "drone")], model, tmp_path / "g").indexed == 4


def test_windows_that_cannot_be_cut_leave_a_gallery_as_it_was(tmp_path, model):
    path = map_with_holes(tmp_path / "map.tif")
    build_gallery([open_map(path)], model, tmp_path / "g")
    for footprint_m, stride_m in ((0.01, 50), (1e9, 50), (100, 1e-5)):
        with pytest.raises(RasterError, match=r"map\.tif"):
            open_source(path, "satellite", footprint_m=footprint_m, stride_m=stride_m)
    assert len(GalleryStore.open(tmp_path / "g")) == 22


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names themselves")
def test_a_name_that_is_no_text_stops_nothing(tmp_path, model):
    folder = photo_folder(tmp_path / "photos")
    bad = write_photo(folder / "bad.jpg", lat=48.0, lon=15.02)
    bad.rename(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg"))
    for added in (4, 0):
        summary = build_gallery([open_source(folder, "drone")], model, tmp_path / "g")
        assert (summary.indexed, summary.added) == (4, added)
        assert summary.by_reason["name is not UTF-8"] == 1
    with pytest.raises(SourceError, match="is not UTF-8"):
        open_source(folder.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")), "drone")


def test_a_gallery_holds_several_views_and_its_counts_add_up(tmp_path, model):
    table = tmp_path / "t.csv"
    write_photo(tmp_path / "a.jpg")
    table.write_text("path,lat,lon,text\na.jpg,48,15,a river\n,48.1,15.1,a field\n")
    sources = [
        open_map(map_with_holes(tmp_path / "map.tif")),
        open_source(photo_folder(tmp_path / "photos"), "drone"),
        open_source(table, "street", text=True),
    ]
    summary = build_gallery(sources, model, tmp_path / "g")
    assert summary.indexed == 22 + 4 + 3
    store = GalleryStore.open(tmp_path / "g")
    assert store.counts.by_modality == {"satellite": 22, "drone": 4, "street": 1, "text": 2}
    metadata = store.metadata()
    river = metadata["text"].to_pylist().index("a river")
    assert metadata["path"][river].as_py() == "a.jpg"
    texts = [i for i, m in enumerate(metadata["modality"].to_pylist()) if m == "text"]
    expected = model.embed("text", ["a river", "a field"])
    np.testing.assert_array_equal(store.vectors()[texts], expected)


def test_a_sentence_that_is_too_long_is_left_out_alone(tmp_path, model):
    table = tmp_path / "t.csv"
    table.write_text(f"text,lat,lon\nshort,48,15\n{'word ' * 30},48,15\nbrief,48,15\n")
    summary = build_gallery([open_source(table, "drone", text=True)], model, tmp_path / "g")
    assert (summary.indexed, summary.by_reason) == (2, {"text too long": 1})


def test_running_again_changes_nothing_and_says_so(tmp_path, model):
    path, photos = map_with_holes(tmp_path / "map.tif"), photo_folder(tmp_path / "photos")

    def run():
        sources = [open_map(path), open_source(photos, "drone")]
        return build_gallery(sources, model, tmp_path / "g")

    first = run()
    state = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files(tmp_path / "g")}
    embedded = model.pictures
    second = run()
    assert second.already_complete
    assert second.added == 0
    assert model.pictures == embedded
    assert (second.indexed, second.by_reason) == (first.indexed, first.by_reason)
    assert state == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files(tmp_path / "g")}


def files(folder):
    return [p for p in sorted(Path(folder).rglob("*")) if p.is_file()]


def test_new_files_and_mended_ones_extend_the_gallery(tmp_path, model):
    photos, out = photo_folder(tmp_path / "photos"), tmp_path / "g"
    build_gallery([open_source(photos, "drone")], model, out)
    before = rows_of(out)
    write_photo(photos / "torn.jpg", lat=48.0, lon=15.01)
    write_photo(photos / "new.jpg", lat=48.0, lon=15.02)
    summary = build_gallery([open_source(photos, "drone")], model, out)
    assert (summary.added, summary.indexed, summary.unreadable) == (2, 6, 1)
    after = rows_of(out)
    assert len(after) == 6
    for ref_id, vector in before.items():
        np.testing.assert_array_equal(after[ref_id], vector)
    assert {(r["path"], r["outcome"], r["reason"]) for r in left_out_of(out)} == {
        entry for entry in LEFT_OUT_OF_PHOTOS if entry[0] != "torn.jpg"
    }


def test_more_sources_extend_the_gallery(tmp_path, model):
    path, photos = map_with_holes(tmp_path / "map.tif"), photo_folder(tmp_path / "photos")
    build_gallery([open_map(path)], model, tmp_path / "g")
    summary = build_gallery([open_source(photos, "drone")], model, tmp_path / "g")
    assert (summary.indexed, summary.added, summary.skipped) == (26, 4, 5)
    sources = [open_map(path), open_source(photos, "drone")]
    build_gallery(sources, model, tmp_path / "at once")
    same_gallery(tmp_path / "g", tmp_path / "at once")


def test_a_finer_stride_adds_only_the_windows_in_between(tmp_path, model):
    path = write_map(tmp_path / "map.tif", noise(200, 200))
    build_gallery([open_map(path)], model, tmp_path / "g")
    source = open_source(path, "satellite", footprint_m=100, stride_m=50)
    summary = build_gallery([source], model, tmp_path / "g")
    assert (summary.indexed, summary.added) == (9, 5)


def test_the_same_source_twice_is_one_source(tmp_path, model):
    path = map_with_holes(tmp_path / "map.tif")
    summary = build_gallery([open_map(path), open_map(path)], model, tmp_path / "g")
    assert summary.indexed == 22
    assert len(GalleryStore.open(tmp_path / "g").settings) == 1


def same_gallery(one, other):
    """Same references, same vectors, same items left out."""
    rows, expected = rows_of(one), rows_of(other)
    assert rows.keys() == expected.keys()
    for ref_id, vector in expected.items():
        np.testing.assert_array_equal(rows[ref_id], vector)
    keys = [tuple(line.values()) for line in left_out_of(one)]
    assert len(set(keys)) == len(keys), "an item was left out twice"
    assert set(keys) == {tuple(line.values()) for line in left_out_of(other)}
    counts, expected_counts = (GalleryStore.open(g).counts.model_dump() for g in (one, other))
    assert counts == expected_counts


class Crash(BaseException):
    """Stands for kill -9: nothing after it may tidy up."""


STEPS = [
    (writer.GalleryWriter, "add"),
    (writer.GalleryWriter, "leave_out"),
    (Ledger, "flush"),
    (manifest, "write_manifest"),
    (writer, "_write_copy"),
    (Ledger, "finish"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A map and photos, and the gallery of an uninterrupted build."""
    folder = tmp_path_factory.mktemp("world")
    map_with_holes(folder / "map.tif")
    photo_folder(folder / "photos")
    build_gallery(world_sources(folder), FakeModel(), folder / "expected")
    return folder


def world_sources(folder):
    return [open_map(folder / "map.tif"), open_source(folder / "photos", "drone")]


def crash_at(monkeypatch, step):
    """Crash before or after the `step`-th call of anything in `STEPS` and of Lance's write."""
    import lance

    events = count()

    def crashing(function):
        def wrapped(*arguments, **options):
            if next(events) == step:
                raise Crash
            result = function(*arguments, **options)
            if next(events) == step:
                raise Crash
            return result

        return wrapped

    for owner, name in [*STEPS, (lance, "write_dataset")]:
        monkeypatch.setattr(owner, name, crashing(getattr(owner, name)))

    def die(self, *_):
        path = self._ledger.path
        size = path.stat().st_size if path.exists() else 0
        self._ledger.close()
        if path.exists():
            # What was not handed to the operating system dies with the process.
            os.truncate(path, size)
        self._lock.release()

    monkeypatch.setattr(writer.GalleryWriter, "__exit__", die)
    monkeypatch.setattr(writer, "_COMMIT_ROWS", 5)


def test_a_build_killed_at_any_step_is_continued_to_the_same_gallery(world, tmp_path, monkeypatch):
    for step in count():
        out = tmp_path / str(step)
        with monkeypatch.context() as patch:
            crash_at(patch, step)
            try:
                build_gallery(world_sources(world), FakeModel(), out, batch_size=4)
                break
            except Crash:
                pass
        if (out / "gallery.json").exists() and not manifest.read_manifest(out).complete:
            with pytest.raises(GalleryError, match="half-written"):
                GalleryStore.open(out)
        build_gallery(world_sources(world), FakeModel(), out, batch_size=4)
        same_gallery(out, world / "expected")
    assert step > 50, "the crashes missed most of the build"


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import lance  # not while the clock runs
from gallery_fakes import FakeModel
from geobridge.gallery import writer
from geobridge.gallery.build import build_gallery
from geobridge.gallery.sources import open_source

writer._COMMIT_ROWS = 4
folder = Path({folder!r})
sources = [open_source(folder / "map.tif", "satellite", footprint_m=100, stride_m=100),
           open_source(folder / "photos", "drone")]
model = FakeModel(seconds=0.03)
said = lambda done, total: print(done, flush=True)
build_gallery(sources, model, {out!r}, batch_size=2, progress=said)
"""


def test_kill_9_at_random_moments_loses_and_doubles_nothing(world, tmp_path):
    out = tmp_path / "g"
    tests = str(Path(__file__).parent)
    script = KILLED.format(tests=tests, folder=str(world), out=str(out))
    rng = np.random.default_rng()
    for batches, wait_s in zip([4, *rng.integers(1, 4, 4)], rng.uniform(0, 0.05, 5), strict=True):
        run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(batches):
            run.stdout.readline()
        time.sleep(wait_s)
        run.kill()
        run.communicate()
        if batches == 4:
            assert has_table(out)
            assert not manifest.read_manifest(out).complete
    build_gallery(world_sources(world), FakeModel(), out)
    same_gallery(out, world / "expected")


def test_ctrl_c_keeps_what_was_embedded(world, tmp_path):
    def interrupt(done, _total):
        if done >= 12:
            raise KeyboardInterrupt

    out = tmp_path / "g"
    model = FakeModel()
    with pytest.raises(KeyboardInterrupt):
        build_gallery(world_sources(world), model, out, batch_size=4, progress=interrupt)
    embedded = model.pictures
    assert 0 < embedded < 26
    with pytest.raises(GalleryError, match=r"half-written.*map\.tif"):
        GalleryStore.open(out)
    build_gallery(world_sources(world), model, out, batch_size=4)
    assert model.pictures == 26, "a picture was embedded twice"
    same_gallery(out, world / "expected")


def test_progress_counts_every_item_once_also_when_continuing(world, tmp_path):
    seen = []

    def stop_halfway(done, total):
        seen.append((done, total))
        if done >= 12:
            raise KeyboardInterrupt

    out = tmp_path / "g"
    with pytest.raises(KeyboardInterrupt):
        build_gallery(world_sources(world), FakeModel(), out, batch_size=4, progress=stop_halfway)
    assert {total for _, total in seen} == {25}
    seen.clear()
    build_gallery(
        world_sources(world),
        FakeModel(),
        out,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[-1] == (25 + 8, 25 + 8)


def test_another_source_cannot_bury_an_unfinished_one(world, tmp_path):
    out = tmp_path / "g"
    interrupted(world, out)
    with pytest.raises(GalleryError, match=r"unfinished index of .*map\.tif.*stride_m 100"):
        build_gallery([open_source(world / "photos", "drone")], FakeModel(), out)


def interrupted(world, out):
    def interrupt(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_gallery(world_sources(world), FakeModel(), out, batch_size=4, progress=interrupt)


def test_a_gallery_belongs_to_one_model(world, tmp_path):
    class Other(FakeModel):
        name = "other"
        fingerprint = "0" * 40

    interrupted(world, tmp_path / "g")
    with pytest.raises(GalleryError, match=r"built by model 'fake'.*'other'"):
        build_gallery(world_sources(world), Other(), tmp_path / "g")


def test_a_second_writer_is_refused_and_a_dead_one_is_not_waited_for(world, tmp_path):
    out = tmp_path / "g"
    script = (
        f"import sys, time; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nfrom gallery_fakes import FakeModel\n"
        "from geobridge.gallery.writer import GalleryWriter\n"
        f"with GalleryWriter(Path({str(out)!r}), FakeModel(), []):\n"
        "    print('writing', flush=True)\n    time.sleep(60)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert run.stdout.readline() == "writing\n"
        with pytest.raises(GalleryError, match="being written by another process"):
            build_gallery(world_sources(world), FakeModel(), out)
    finally:
        run.kill()
        run.communicate()
    build_gallery(world_sources(world), FakeModel(), out)
    same_gallery(out, world / "expected")


def test_a_folder_with_other_things_in_it_is_left_alone(world, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(GalleryError, match=r"other files in it \(thesis\.txt\)"):
        build_gallery(world_sources(world), FakeModel(), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(GalleryError, match="cannot be written"):
        build_gallery(world_sources(world), FakeModel(), tmp_path / "file")


def test_a_gallery_without_its_description_is_not_guessed_at(world, tmp_path):
    out = tmp_path / "g"
    build_gallery(world_sources(world), FakeModel(), out)
    (out / "gallery.json").unlink()
    with pytest.raises(GalleryError, match=r"has lost its gallery\.json"):
        build_gallery(world_sources(world), FakeModel(), out)


def test_nothing_to_index_is_an_error_and_leaves_the_reasons(tmp_path, model):
    path = write_map(tmp_path / "map.tif", np.zeros((200, 200, 3), np.uint8), nodata=0)
    out = tmp_path / "g"
    with pytest.raises(SourceError, match=r"Nothing in .*map\.tif.*4 no data.*skipped\.csv"):
        build_gallery([open_map(path)], model, out)
    assert len(left_out_of(out)) == 4
    write_map(path, noise(200, 200))
    assert build_gallery([open_map(path)], model, out).indexed == 4
    assert left_out_of(out) == []


def test_no_sources(tmp_path, model):
    with pytest.raises(SourceError, match="no source"):
        build_gallery([], model, tmp_path / "g")


def test_a_modality_the_model_lacks_is_said_before_anything_is_written(tmp_path, model):
    model.modalities = ("satellite", "text")
    source = open_source(photo_folder(tmp_path / "photos"), "drone")
    with pytest.raises(ModelError, match="embeds satellite, text and not drone"):
        build_gallery([source], model, tmp_path / "g")
    assert not (tmp_path / "g").exists()


class Broken(FakeModel):
    """Refuses, as `GeoBridge` does, every batch with a picture it cannot embed."""

    def __init__(self, refused):
        super().__init__()
        self.refused = refused

    def embed_prepared(self, view, batch):
        if any(np.array_equal(picture, self.refused) for picture in batch):
            raise ModelError("the embedding is not finite: the weights are damaged.")
        return super().embed_prepared(view, batch)


def test_a_picture_the_model_cannot_embed_is_left_out_alone(tmp_path):
    pixels = noise(300, 300)
    path = write_map(tmp_path / "map.tif", pixels)
    refused = FakeModel().prepare("satellite", pixels[100:200, 100:200])
    summary = build_gallery([open_map(path)], Broken(refused), tmp_path / "g", batch_size=3)
    assert (summary.indexed, summary.by_reason) == (8, {"cannot be embedded": 1})
    assert left_out_of(tmp_path / "g")[0]["window"] == "100 100 100 100"


def test_a_model_that_embeds_nothing_of_a_batch_stops_the_build(tmp_path, model):
    path = write_map(tmp_path / "map.tif", np.tile(noise(100, 100), (3, 3, 1)))
    refused = model.prepare("satellite", noise(100, 100))
    with pytest.raises(ModelError, match="not finite"):
        build_gallery([open_map(path)], Broken(refused), tmp_path / "g", batch_size=3)


def test_the_gallery_itself_takes_no_vectors_that_are_not_finite(tmp_path, model):
    path = write_map(tmp_path / "map.tif", noise(300, 300))
    model.embed_prepared = lambda _view, batch: np.full((len(batch), 48), np.nan, np.float32)
    with pytest.raises(GalleryError, match="takes 9 finite vectors of 48 dimensions"):
        build_gallery([open_map(path)], model, tmp_path / "g")


def test_readers_stay_a_bounded_number_of_items_ahead():
    started = []
    out = read_ahead(range(1000), lambda i: started.append(i) or i, workers=2, depth=5)
    assert next(out) == 0
    time.sleep(0.3)
    # One handed out, 5 waiting, one being put: nothing more has been begun.
    assert len(started) <= 7
    assert list(out) == list(range(1, 1000))


def test_what_a_source_raises_reaches_the_caller_and_closing_stops_the_threads():
    def items():
        yield 1
        raise SourceError("no more")

    out = read_ahead(items(), lambda i: i, workers=2, depth=5)
    assert next(out) == 1
    with pytest.raises(SourceError, match="no more"):
        next(out)
    out = read_ahead(count(), lambda i: i, workers=2, depth=5)
    assert next(out) == 0
    out.close()
    names = {thread.name.partition("_")[0] for thread in threading.enumerate()}
    assert not names & {"feeder", "reader"}


def test_reading_overlaps_the_forward_pass(tmp_path):
    """While the model holds a batch, the readers begin on the next one."""
    path = write_map(tmp_path / "map.tif", noise(400, 400))
    source = open_map(path)
    prepared_during_forward = []

    class Watching(FakeModel):
        prepared = 0

        def prepare(self, view, image, field=None):
            Watching.prepared += 1
            return super().prepare(view, image, field)

        def embed_prepared(self, view, batch):
            before = Watching.prepared
            deadline = time.monotonic() + 2
            while Watching.prepared < min(16, before + 1) and time.monotonic() < deadline:
                time.sleep(0.01)
            prepared_during_forward.append(Watching.prepared)
            return super().embed_prepared(view, batch)

    build_gallery([source], Watching(), tmp_path / "g", batch_size=4)
    assert prepared_during_forward[0] > 4


def test_a_torn_line_of_the_ledger_is_cut_off(tmp_path):
    noted = Ledger(tmp_path)
    entries = [
        ledger.Entry(str(n), "skipped", "no, data", 'a "b"', "text", "s", "p", "", "x")
        for n in range(3)
    ]
    assert all(noted.add(entry) for entry in entries)
    assert not noted.add(entries[0])
    noted.close()
    whole = noted.path.read_bytes()
    for cut in range(len(whole) + 1):
        noted.path.write_bytes(whole[:cut])
        again = Ledger(tmp_path)
        survivors = whole[:cut].count(b"\n") - 1
        assert len(again) == max(0, survivors)
        for entry in entries:
            again.add(entry)
        again.close()
        assert noted.path.read_bytes() == whole
