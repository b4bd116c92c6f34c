import csv
import json
import os
import signal
import subprocess
import sys
import time

import geopandas
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from geobridge import __version__
from geobridge.cli.app import app, load_verb
from geobridge.geo.distance import distance_m

VERBS = ("index", "locate", "info", "train", "adapt", "import-release", "world")


def run(*arguments):
    """Run the command in this process; output and exit code."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def shell(*arguments, **options):
    """Run the command as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "geobridge.cli.app", *map(str, arguments)],
        capture_output=True, text=True, **options,
    )  # fmt: skip


@pytest.fixture(scope="session")
def crops(town_picture, tmp_path_factory):
    """Pictures of the town: `x_y.png` shows 100 m around that pixel."""
    folder = tmp_path_factory.mktemp("crops")
    for x, y in ((150, 150), (250, 150), (200, 300)):
        Image.fromarray(town_picture[y - 50 : y + 50, x - 50 : x + 50]).save(
            folder / f"{x}_{y}.png"
        )
    return folder


@pytest.fixture
def locate(town_folder, one_eyed_checkpoint):
    """Run `geobridge locate` on the town's gallery."""

    def ask(*arguments):
        return run("locate", "--gallery", town_folder, "--model", one_eyed_checkpoint, *arguments)

    return ask


# ---- the command as a whole -------------------------------------------------------------------


def test_the_version_is_the_packages():
    done = run("--version")
    assert (done.exit_code, done.stdout.strip()) == (0, f"geobridge {__version__}")


def test_help_names_every_verb_and_loads_nothing_heavy():
    code = (
        "import sys\nfrom geobridge.cli.app import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'rasterio', 'pandas', 'lance'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for verb in VERBS:
        assert f" {verb} " in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    done = run(verb, "--help")
    assert done.exit_code == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize("verb", ["index", "locate", "info", "train", "adapt", "import-release"])
def test_help_ends_with_an_example_to_paste(verb):
    assert f"Example: [b]geobridge {verb} " in load_verb(verb).epilog


def test_an_unknown_verb_is_a_usage_error():
    assert run("guess").exit_code == 2


# ---- train ------------------------------------------------------------------------------------


def test_a_configuration_is_shown_without_a_run_and_names_every_preset():
    from geobridge.training.config import preset_names

    done = run("train", "mini", "--show", "--set", "seed=7")

    assert done.exit_code == 0, done.stderr
    assert "seed: 7\n" in done.stdout
    help_text = " ".join(run("train", "--help").stdout.replace("│", " ").split())
    assert ", ".join(preset_names()) in help_text


def test_a_run_without_a_folder_is_one_sentence():
    done = run("train", "mini")

    assert done.exit_code == 2
    assert done.stderr == (
        "geobridge: a run needs a folder: name one with --out, such as --out runs/first.\n"
    )


# ---- index and info ---------------------------------------------------------------------------


def test_a_map_becomes_a_gallery_with_a_summary(town_map, one_eyed_checkpoint, tmp_path):
    out = tmp_path / "town.gallery"
    options = ("--out", out, "--model", one_eyed_checkpoint, "--stride-m", 100)
    done = run("index", town_map, "--view", "satellite", *options)
    assert done.exit_code == 0, done.stderr
    assert _row(done.stdout, "references") == "16"
    assert _row(done.stdout, "skipped") == "0"
    again = run("index", town_map, "--view", "satellite", *options)
    assert "indexed before" in again.stdout
    assert _row(again.stdout, "added by this run") == "0"


def test_one_gallery_holds_several_views_and_lists_what_it_skipped(
    town_map, one_eyed_checkpoint, crops, tmp_path
):
    table = tmp_path / "photos.csv"
    rows = [(crops / "150_150.png", 48.13, 11.55), (crops / "nowhere.png", 48.13, 11.55)]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "lat", "lon"), *rows])
    out = tmp_path / "g"
    done = run(
        "index", town_map, f"drone:{table}", "--view", "satellite", "--out", out,
        "--model", one_eyed_checkpoint, "--stride-m", 100,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert _row(done.stdout, "references") == "17"
    assert _row(done.stdout, "unreadable") == "1"
    assert str(out / "skipped.csv") in done.stdout
    described = json.loads(run("info", out, "--json").stdout)
    assert described["counts"]["by_modality"] == {"satellite": 16, "drone": 1}
    shown = run("info", out).stdout
    assert "complete" in shown
    assert str(town_map) in shown
    assert str(table) in shown


def _row(text, name):
    """The count beside a name in a printed table."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.replace("┃", "│").split("│")]
        if name in cells:
            return cells[cells.index(name) + 1]
    raise AssertionError(f"{name} is not in:\n{text}")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("{map}",), "is not said: add --view"),
        (("{map}", "--view", "sideways"), "'sideways' is not a view"),
        (("missing.tif", "--view", "drone"), "missing.tif does not exist"),
        (("{map}", "--view", "drone", "--stride-m", 0), "A stride of 0.0 m cannot be"),
        (("{map}", "--view", "drone", "--model", "nobody"), "no model 'nobody'"),
    ],
)
def test_what_cannot_be_indexed_is_one_sentence_and_exit_code_2(
    arguments, sentence, town_map, one_eyed_checkpoint, tmp_path
):
    given = [str(argument).replace("{map}", str(town_map)) for argument in arguments]
    model = () if "--model" in given else ("--model", one_eyed_checkpoint)
    done = run("index", *given, "--out", tmp_path / "g", *model)
    _is_one_sentence(done, sentence)
    assert not (tmp_path / "g" / "gallery.json").exists()


def _is_one_sentence(done, sentence):
    assert done.exit_code == 2
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("geobridge: ")
    assert sentence in lines[0]


def test_ctrl_c_says_how_to_continue_and_continuing_completes(
    one_eyed_checkpoint, tmp_path, monkeypatch
):
    import geobridge.gallery.build as build

    photos = tmp_path / "tiles"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for x in range(20):
        pixels = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(photos / f"18_{140000 + x}_90000.png")
    embed, calls = build._embed, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        embed(*arguments)

    options = ("index", photos, "--view", "satellite", "--out", tmp_path / "g",
               "--whole-tiles", "--model", one_eyed_checkpoint, "--batch-size", 4)  # fmt: skip
    monkeypatch.setattr(build, "_embed", interrupted)
    done = run(*options)
    assert done.exit_code == 130
    assert "run the same command again to continue" in done.stderr
    assert "unfinished" in run("info", tmp_path / "g").stdout
    monkeypatch.undo()
    done = run(*options)
    assert _row(done.stdout, "references") == "20"
    assert _row(done.stdout, "added by this run") == "12"


def test_info_on_something_else_is_one_sentence(tmp_path):
    _is_one_sentence(run("info", tmp_path), "is no gallery")


# ---- locate: one query ------------------------------------------------------------------------


def test_the_answer_is_a_table(locate, crops):
    done = locate("--satellite", crops / "250_150.png", "--top", 3)
    assert done.exit_code == 0, done.stderr
    assert "with probability 0.9" in done.stdout
    assert "not calibrated" not in done.stdout
    ranks = [line for line in done.stdout.splitlines() if "town.tif" in line]
    assert len(ranks) == 3
    assert "1.000" in ranks[0]
    assert "satellite" in ranks[0]


def test_json_and_geojson_hold_the_same_answer(locate, crops, town_position):
    crop = crops / "250_150.png"
    plain = json.loads(locate("--satellite", crop, "--json").stdout)
    assert distance_m(plain["lat"], plain["lon"], *town_position(250, 150)) < 2
    assert len(plain["candidates"]) == 5
    collection = json.loads(locate("--satellite", crop, "--geojson").stdout)
    assert collection["features"][0]["geometry"]["coordinates"] == [plain["lon"], plain["lat"]]
    frame = geopandas.GeoDataFrame.from_features(collection)
    assert frame["role"].tolist() == ["estimate", "radius"] + ["candidate"] * 5


def test_modalities_are_fused_and_a_heading_is_taken(locate, crops):
    done = locate("--drone", crops / "150_150.png", "--text", "red roofs", "--yaw-deg", 0, "--json")
    answer = json.loads(done.stdout)
    assert answer["modalities"] == ["drone", "text"]
    assert answer["yaw_deg"] == 0
    assert not answer["calibrated"]


def test_a_street_picture_may_be_called_a_panorama_or_not(locate, crops):
    crop = crops / "150_150.png"
    answers = [
        json.loads(locate("--street", crop, *flag, "--json").stdout)["candidates"][0]["similarity"]
        for flag in (("--panorama",), ("--no-panorama",), ("--fov-deg", 30))
    ]
    assert len(set(answers)) == 3


def test_the_search_may_be_restricted(locate, crops, town_position):
    lat, lon = town_position(300, 300)
    circle = f"{lat},{lon},0.03"
    answer = json.loads(
        locate("--satellite", crops / "150_150.png", "--within", circle, "--json").stdout
    )
    assert len(answer["candidates"]) == 1
    answer = json.loads(locate("--text", "a", "--reference", "satellite", "--json").stdout)
    assert answer["candidates"][0]["modality"] == "satellite"


def test_rotations_find_a_turned_photo(locate, crops, tmp_path):
    turned = tmp_path / "turned.png"
    Image.open(crops / "150_150.png").rotate(90).save(turned)  # counter-clockwise
    answer = json.loads(locate("--drone", turned, "--rotations", 4, "--json").stdout)
    assert answer["candidates"][0]["yaw_deg"] == 90


def test_a_map_is_drawn_and_named_on_stderr(locate, crops, tmp_path):
    for name in ("map.html", "map.png"):
        done = locate("--satellite", crops / "150_150.png", "--map", tmp_path / name, "--json")
        assert done.exit_code == 0
        assert str(tmp_path / name) in done.stderr
        assert json.loads(done.stdout)
        assert (tmp_path / name).stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "query is empty"),
        (("--drone", "missing.jpg"), "missing.jpg does not exist"),
        (("--text", "stadium " * 60), "tokens and the model takes at most 24"),
        (("--text", "a", "--json", "--geojson"), "exclude each other"),
        (("--text", "a", "--within", "48,11"), "--within takes latitude, longitude"),
        (("--text", "a", "--within", "48,11,x"), "--within takes latitude, longitude"),
        (("--text", "a", "--within", "10,11,5"), "No reference lies within 5 km"),
        (("--text", "a", "--reference", "sea"), "--reference takes one of"),
        (("--text", "a", "--reference", "drone"), "holds no drone references"),
        (("--text", "a", "--yaw-deg", 5), "yaw_deg turns a drone photo"),
        (("--text", "a", "--out", "x.csv"), "--out is for --queries"),
    ],
)
def test_what_cannot_be_located_is_one_sentence_and_exit_code_2(locate, arguments, sentence):
    _is_one_sentence(locate(*arguments), sentence)


def test_a_map_of_another_kind_is_refused_before_the_work(locate, tmp_path):
    _is_one_sentence(locate("--text", "a", "--map", tmp_path / "map.pdf"), "not as 'map.pdf'")


def test_a_gallery_of_another_model_is_refused(town_folder, one_eyed, tmp_path):
    from geobridge.model.geobridge import GeoBridge

    other = GeoBridge.from_config(one_eyed.config, seed=9, tokenizer=one_eyed.tokenizer)
    other.save(tmp_path / "other")
    done = run("locate", "--gallery", town_folder, "--model", tmp_path / "other", "--text", "a")
    _is_one_sentence(done, "was built by model 'one-eyed'")


# ---- locate: many queries ---------------------------------------------------------------------


@pytest.fixture
def table(crops, town_position, tmp_path):
    """A table with three good rows and four bad ones."""
    lat, lon = town_position(250, 150)
    frame = pd.DataFrame(
        [
            {"id": "007", "satellite": "250_150.png", "lat": lat, "lon": lon, "note": "NA"},
            {"id": "both", "drone": "150_150.png", "text": "red roofs", "yaw_deg": 0},
            {"id": "words", "text": "a stadium", "yaw_deg": 12},
            {"id": "gone", "drone": "gone.png"},
            {"id": "empty"},
            {"id": "heading", "drone": "150_150.png", "yaw_deg": "north"},
            {"id": "truth", "text": "a", "lat": 95, "lon": 200},
        ]
    )
    path = crops / f"{tmp_path.name}.csv"
    frame.to_csv(path, index=False)
    return path


def test_a_table_is_answered_row_by_row_and_bad_rows_say_why(locate, table, tmp_path):
    out = tmp_path / "answers.csv"
    done = locate("--queries", table, "--out", out)
    assert done.exit_code == 0, done.stderr
    assert "Answered 3 of 7 queries, 4 with an error" in done.stderr
    assert "100% within 25 m" in done.stderr
    answers = pd.read_csv(out, dtype={"id": str}, keep_default_na=False).set_index("id")
    assert answers.index.tolist() == ["007", "both", "words", "gone", "empty", "heading", "truth"]
    first = answers.loc["007"]
    assert float(first["error_m"]) < 2
    assert (first["note"], first["error"]) == ("NA", "")
    assert float(first["lat"]) == pytest.approx(float(first["true_lat"]), abs=1e-4)
    assert "gone.png does not exist" in answers.loc["gone", "error"]
    assert "query is empty" in answers.loc["empty", "error"]
    assert "yaw_deg holds 'north'" in answers.loc["heading", "error"]
    assert "true position in the table" in answers.loc["truth", "error"]
    assert answers.loc["gone", "lat"] == ""


def test_answers_as_geoparquet_open_with_points(locate, table, tmp_path):
    locate("--queries", table, "--out", tmp_path / "answers.parquet")
    frame = geopandas.read_parquet(tmp_path / "answers.parquet").set_index("id")
    assert frame.crs == "EPSG:4326"
    assert frame.geometry["007"].x == frame["lon"]["007"]
    assert frame.geometry["gone"] is None
    assert frame["calibrated"]["007"]


def test_answers_as_geojson_and_json_name_their_rows(locate, table, tmp_path):
    locate("--queries", table, "--out", tmp_path / "answers.geojson")
    features = json.loads((tmp_path / "answers.geojson").read_text())["features"]
    estimates = [f for f in features if f["properties"]["role"] == "estimate"]
    errors = [f for f in features if f["properties"]["role"] == "error"]
    assert [f["properties"]["id"] for f in estimates] == ["007", "both", "words"]
    assert [f["properties"]["id"] for f in errors] == ["gone", "empty", "heading", "truth"]
    assert all(f["geometry"] is None for f in errors)
    printed = json.loads(locate("--queries", table, "--json").stdout)
    assert [answer["id"] for answer in printed][:2] == ["007", "both"]
    assert "error" in printed[3]
    assert "candidates" in printed[0]


def test_without_a_file_the_answers_are_printed(locate, table):
    done = locate("--queries", table)
    assert "007" in done.stdout
    assert "gone.png does not exist" in done.stdout


def test_a_parquet_table_may_be_asked(locate, crops, tmp_path):
    pd.DataFrame({"satellite": [str(crops / "150_150.png")], "text": [None]}).to_parquet(
        tmp_path / "q.parquet"
    )
    answers = json.loads(locate("--queries", tmp_path / "q.parquet", "--json").stdout)
    assert answers[0]["id"] == "0"
    assert answers[0]["modalities"] == ["satellite"]


def test_a_table_with_no_good_row_is_written_and_fails(locate, tmp_path):
    (tmp_path / "q.csv").write_text("drone\ngone.jpg\n")
    done = locate("--queries", tmp_path / "q.csv", "--out", tmp_path / "a.csv")
    assert done.exit_code == 2
    assert "None of the 1 queries" in done.stderr
    assert "gone.jpg does not exist" in (tmp_path / "a.csv").read_text()


@pytest.mark.parametrize(
    ("content", "arguments", "sentence"),
    [
        (None, (), "q.csv does not exist"),
        ("", (), "cannot be read as a table"),
        ("text\n", (), "has no rows"),
        ("photo,lat\na,1\n", (), "has the columns photo, lat: it needs at least one of"),
        ("text\na\n", ("--map", "m.png"), "--map draws one answer"),
        ("text\na\n", ("--text", "b"), "--text describes one query"),
        ("text\na\n", ("--yaw-deg", 0), "--yaw-deg describes one query"),
        ("text\na\n", ("--out", "a.xlsx"), "--out takes a file ending in"),
        ("text\na\n", ("--out", "nowhere/a.csv"), "nowhere for --out does not exist"),
        ("text\na\n", ("--out", "a.csv", "--json"), "leave --json and --geojson out"),
    ],
)
def test_a_table_that_cannot_be_asked_is_one_sentence(
    locate, tmp_path, content, arguments, sentence
):
    if content is not None:
        (tmp_path / "q.csv").write_text(content)
    _is_one_sentence(locate("--queries", tmp_path / "q.csv", *arguments), sentence)


def test_a_table_of_another_kind_is_one_sentence(locate, tmp_path):
    (tmp_path / "q.txt").write_text("text\na\n")
    _is_one_sentence(locate("--queries", tmp_path / "q.txt"), "is not a .csv or .parquet table")


# ---- as a person runs it ----------------------------------------------------------------------


def test_a_real_process_answers_on_stdout_and_complains_on_stderr(
    town_folder, one_eyed_checkpoint, crops
):
    common = ("locate", "--gallery", town_folder, "--model", one_eyed_checkpoint)
    good = shell(*common, "--satellite", crops / "150_150.png", "--json")
    assert good.returncode == 0, good.stderr
    assert len(json.loads(good.stdout)["candidates"]) == 5
    bad = shell(*common, "--satellite", crops / "missing.png")
    assert bad.returncode == 2
    assert bad.stdout == ""
    assert bad.stderr.startswith("geobridge: ")
    assert bad.stderr.count("\n") == 1
    assert "Traceback" not in bad.stderr


def test_a_real_ctrl_c_ends_with_130_and_the_next_run_completes(one_eyed_checkpoint, tmp_path):
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    for x in range(600):
        Image.fromarray(np.roll(noise, x, axis=1)).save(tiles / f"18_{140000 + x}_90000.bmp")
    out = tmp_path / "g"
    command = [sys.executable, "-m", "geobridge.cli.app", "index", tiles, "--view", "satellite",
               "--whole-tiles", "--out", out, "--model", one_eyed_checkpoint,
               "--batch-size", "1"]  # fmt: skip
    command = [str(part) for part in command]
    # A shell's background jobs inherit an ignored SIGINT, which a person at a terminal has not.
    inherited = signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, inherited)
    while not (out / "gallery.json").exists() and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130, complaint
    assert "run the same command again to continue" in complaint
    assert "Traceback" not in complaint
    done = run(*command[3:])
    assert _row(done.stdout, "references") == "600"
