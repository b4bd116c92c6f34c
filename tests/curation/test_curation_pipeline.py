import hashlib
import io
import json
import threading
from dataclasses import replace

import geopandas
import numpy as np
import pandas as pd
import pytest
import yaml
from chat_server import ChatServer, answer, completion, pictures_in
from PIL import Image
from planet_stage import SATELLITE_GSD_M, difference, write_planet
from provider_servers import ProviderServer
from typer.testing import CliRunner

from geobridge.cli.app import app
from geobridge.curation import pipeline
from geobridge.curation.config import CurateConfig, read_curate_config
from geobridge.curation.pipeline import STAGE_NAMES, STAGES, curate, plans
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError
from geobridge.geo.distance import distance_m
from geobridge.imagery.decode import read_image
from geobridge.places.table import read_places

# The order of stages, and which are run again


class Stages:
    """Stages that write a word, and what was run of them."""

    def __init__(self, monkeypatch):
        self.ran = []
        self.says = dict.fromkeys(STAGE_NAMES, "something")
        fakes = tuple(replace(stage, run=self._run(stage)) for stage in STAGES)
        monkeypatch.setattr(pipeline, "STAGES", fakes)
        monkeypatch.setenv("MAPILLARY_TOKEN", SECRET)

    def _run(self, stage):
        def run(workspace, _, step):
            step(stage.name)(1, 1)
            self.ran.append(stage.name)
            if self.says[stage.name] is None:
                raise CurationError("the power went out: run it again.")
            product = workspace.folder / stage.product
            if not product.exists():
                product.parent.mkdir(exist_ok=True)
                product.write_text("places")
            return workspace.write(stage.table, pd.DataFrame({"word": [self.says[stage.name]]}))

        return run

    def __call__(self, config, out, *names, **options):
        """Run, and give what was run."""
        self.ran = []
        curate(config, out, names or None, **options)
        return self.ran


@pytest.fixture
def stages(monkeypatch):
    return Stages(monkeypatch)


@pytest.fixture
def raster(tmp_path):
    path = tmp_path / "town.tif"
    path.write_bytes(b"not read here")
    return path


def config_of(raster, **tables):
    return CurateConfig.model_validate(
        {
            "seeds": {"rasters": [str(raster)]},
            "satellite": {"rasters": [str(raster)]},
            "describe": {"endpoint": {"base_url": "http://localhost:1/v1", "model": "m"}},
            **tables,
        }
    )


def test_stages_run_in_their_order_and_once(stages, raster, tmp_path):
    config = config_of(raster)

    assert stages(config, tmp_path / "out") == list(STAGE_NAMES)
    assert stages(config, tmp_path / "out") == []


def test_stages_that_are_not_configured_are_not_run(stages, raster, tmp_path):
    config = config_of(raster, satellite=None, describe=None)

    assert stages(config, tmp_path / "out") == ["seeds", "street", "crop", "clean", "publish"]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"publish": {"whole": False}}, ["publish"]),
        ({"describe": {"endpoint": {"base_url": "http://a/v1", "model": "m"}}},
         ["describe", "publish"]),
        ({"clean": {"overlap": 0.3}}, ["clean", "publish"]),
        ({"street": {"per_seed": 2}}, ["street", "publish"]),
    ],
)  # fmt: skip
def test_a_changed_setting_runs_its_stage_again(stages, raster, tmp_path, tables, expected):
    stages(config_of(raster), tmp_path / "out")

    # Tables stay the same, so that stages between need nothing.
    assert stages(config_of(raster, **tables), tmp_path / "out") == expected


def test_a_changed_table_runs_the_stages_after_it_again(stages, raster, tmp_path):
    stages(config_of(raster), tmp_path / "out")
    stages.says["clean"] = "something else"

    again = stages(config_of(raster, clean={"overlap": 0.3}), tmp_path / "out")

    assert again == ["clean", "satellite", "describe", "publish"]


def test_a_changed_raster_runs_the_stages_that_read_it_again(stages, raster, tmp_path):
    config = config_of(raster)
    stages(config, tmp_path / "out")
    raster.write_bytes(b"another one altogether")

    # Their tables stay the same here; in `test_curation_endtoend_changes.py` they do not.
    assert stages(config, tmp_path / "out") == ["seeds", "crop", "satellite"]


def test_a_changed_model_runs_the_stages_that_ask_it_again(stages, raster, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"not read here")
    endpoint = {"base_url": "http://localhost:1/v1", "model": "m"}
    config = config_of(
        raster,
        clean={"ground": {"model": str(model)}},
        describe={"endpoint": endpoint, "fit": {"model": str(model)}},
    )
    stages(config, tmp_path / "out")
    (model / "model.safetensors").write_bytes(b"trained for longer")

    assert stages(config, tmp_path / "out") == ["clean", "describe"]


def test_a_table_edited_by_hand_stays_and_what_follows_is_run_again(stages, raster, tmp_path):
    config = config_of(raster)
    stages(config, tmp_path / "out")
    Workspace(tmp_path / "out").write("clean", pd.DataFrame({"word": ["edited"]}))

    assert stages(config, tmp_path / "out") == ["satellite", "describe", "publish"]
    assert Workspace(tmp_path / "out").read("clean")["word"].tolist() == ["edited"]


def test_an_edited_table_is_written_over_only_if_its_stage_is_named(stages, raster, tmp_path):
    config, out = config_of(raster), tmp_path / "out"
    stages(config, out)
    Workspace(out).write("clean", pd.DataFrame({"word": ["edited"]}))
    other = config_of(raster, clean={"overlap": 0.3})

    with pytest.raises(CurationError, match=r"clean\.parquet was edited since .* --stage clean"):
        stages(other, out)
    assert stages.ran == []
    assert Workspace(out).read("clean")["word"].tolist() == ["edited"]
    # As it was configured when it was edited.
    assert stages(config, out) == ["satellite", "describe", "publish"]
    assert stages(other, out, "clean") == ["clean"]
    assert Workspace(out).read("clean")["word"].tolist() == ["something"]
    assert stages(other, out) == ["satellite", "describe", "publish"]


def test_an_edited_table_that_was_taken_away_is_made_again(stages, raster, tmp_path):
    config, out = config_of(raster), tmp_path / "out"
    stages(config, out)
    Workspace(out).write("clean", pd.DataFrame({"word": ["edited"]}))
    Workspace(out).path("clean").unlink()

    assert stages(config, out) == ["clean"]


def test_notes_of_former_versions_do_not_tell_edits(stages, raster, tmp_path):
    config, out = config_of(raster), tmp_path / "out"
    stages(config, out)
    notes = json.loads((out / "curate.json").read_text())
    del notes["stages"]["clean"]["table"]
    (out / "curate.json").write_text(json.dumps(notes))

    assert stages(config, out) == []
    assert stages(config_of(raster, clean={"overlap": 0.3}), out) == ["clean", "publish"]


def test_what_is_gone_is_made_again(stages, raster, tmp_path):
    config = config_of(raster)
    stages(config, tmp_path / "out")

    (tmp_path / "out" / "crops.parquet").unlink()
    assert stages(config, tmp_path / "out") == ["crop"]
    (tmp_path / "out" / "places" / "places.parquet").unlink()
    assert stages(config, tmp_path / "out") == ["publish"]


def test_a_stage_that_stopped_is_the_next_one_to_run(stages, raster, tmp_path):
    config = config_of(raster)
    stages.says["satellite"] = None
    with pytest.raises(CurationError, match="power"):
        stages(config, tmp_path / "out")
    assert stages.ran == ["seeds", "street", "crop", "clean", "satellite"]

    stages.says["satellite"] = "something"
    assert stages(config, tmp_path / "out") == ["satellite", "describe", "publish"]


def test_a_finished_stage_that_stops_when_run_again_is_unfinished(stages, raster, tmp_path):
    config = config_of(raster)
    stages(config, tmp_path / "out")
    stages.says["street"] = None
    with pytest.raises(CurationError, match="power"):
        stages(config, tmp_path / "out", "street")

    stages.says["street"] = "something"
    assert stages(config, tmp_path / "out") == ["street"]


def test_named_stages_are_run_even_if_finished_and_alone(stages, raster, tmp_path):
    config = config_of(raster)

    assert stages(config, tmp_path / "out", "seeds") == ["seeds"]
    assert stages(config, tmp_path / "out", "seeds") == ["seeds"]
    assert stages(config, tmp_path / "out", "street", "crop") == ["street", "crop"]
    assert stages(config, tmp_path / "out") == ["clean", "satellite", "describe", "publish"]


def test_a_stage_needs_those_before_it_with_these_settings(stages, raster, tmp_path):
    config = config_of(raster)
    with pytest.raises(CurationError, match=r"crop needs the stage seeds.*--stage seeds"):
        stages(config, tmp_path / "out", "crop")
    stages(config, tmp_path / "out", "seeds", "street")

    other = config_of(raster, street={"per_seed": 1})
    with pytest.raises(CurationError, match="crop needs the stage street"):
        stages(other, tmp_path / "out", "crop")
    assert stages(config, tmp_path / "out", "crop") == ["crop"]


def test_unknown_and_unconfigured_stages_are_refused(stages, raster, tmp_path):
    with pytest.raises(CurationError, match="no stage 'crops': choose one of seeds, street"):
        stages(config_of(raster), tmp_path / "out", "crops")
    with pytest.raises(CurationError, match="describe is not configured"):
        stages(config_of(raster, describe=None), tmp_path / "out", "describe")


def test_a_stage_that_is_configured_no_more_leaves_no_table_behind(stages, raster, tmp_path):
    stages(config_of(raster), tmp_path / "out")
    assert Workspace(tmp_path / "out").has("describe")

    again = stages(config_of(raster, describe=None), tmp_path / "out")

    assert again == ["publish"]
    assert not Workspace(tmp_path / "out").has("describe")
    assert stages(config_of(raster), tmp_path / "out") == ["describe", "publish"]


def test_resume_goes_on_only_with_the_same_settings(stages, raster, tmp_path):
    config, out = config_of(raster), tmp_path / "out"
    with pytest.raises(CurationError, match="holds no curation to resume"):
        stages(config, out, resume=True)
    assert not out.exists()

    stages.says["clean"] = None
    with pytest.raises(CurationError, match="power"):
        stages(config, out)
    stages.says["clean"] = "something"
    # Also of the stage that was under way, and of those before it.
    for tables, name in (
        ({"clean": {"overlap": 0.3}}, "clean"),
        ({"street": {"per_seed": 1}}, "street"),
    ):
        with pytest.raises(CurationError, match=rf"other settings of the stage {name} \("):
            stages(config_of(raster, **tables), out, resume=True)
    # A stage that was not begun may still change.
    changed = config_of(raster, publish={"whole": False})
    assert stages(changed, out, resume=True) == ["clean", "satellite", "describe", "publish"]
    with pytest.raises(CurationError, match="stage describe, which is not configured now"):
        stages(config_of(raster, publish={"whole": False}, describe=None), out, resume=True)


def test_resume_goes_on_after_a_setting_has_come_to_the_program(stages, raster, tmp_path):
    config, out = config_of(raster), tmp_path / "out"
    stages(config, out)
    notes = out / "curate.json"
    noted = json.loads(notes.read_text())
    # As a version wrote them that did not know these.
    del noted["stages"]["clean"]["settings"]["ground"]
    del noted["stages"]["crop"]["settings"]["street_width"]
    notes.write_text(json.dumps(noted))

    assert stages(config, out, resume=True) == []
    with pytest.raises(CurationError, match=r"stage crop \(street_width\)"):
        stages(config_of(raster, crop={"street_width": 100}), out, resume=True)

    noted["stages"]["crop"]["settings"]["of_old"] = 1
    notes.write_text(json.dumps(noted))
    with pytest.raises(CurationError, match=r"stage crop \(of_old, street_width\)"):
        stages(config, out, resume=True)


@pytest.mark.usefixtures("stages")
def test_two_processes_do_not_work_in_one_folder(raster, tmp_path, monkeypatch):
    config, out = config_of(raster), tmp_path / "out"
    inside, go_on = threading.Event(), threading.Event()
    (first, *rest) = pipeline.STAGES

    def waits(workspace, settings, step):
        inside.set()
        go_on.wait(30)
        return first.run(workspace, settings, step)

    monkeypatch.setattr(pipeline, "STAGES", (replace(first, run=waits), *rest))
    other = threading.Thread(target=curate, args=(config, out))
    other.start()
    try:
        assert inside.wait(30)
        with pytest.raises(CurationError, match="worked on by another process"):
            curate(config, out)
    finally:
        go_on.set()
        other.join()
    assert Workspace(out).has("publish")


def test_damaged_notes_are_told(stages, raster, tmp_path):
    config = config_of(raster)
    stages(config, tmp_path / "out")
    (tmp_path / "out" / "curate.json").write_text("{")

    with pytest.raises(CurationError, match=r"curate\.json is damaged"):
        stages(config, tmp_path / "out")


def test_outcomes_count_reasons_without_their_numbers(stages, raster, tmp_path):
    config, out = config_of(raster), tmp_path / "out"
    stages(config, out)
    reasons = ["drone: blur or haze (bh 3 below 40)", "drone: blur or haze (bh 5 below 40)"]
    reasons += ["overlaps 13.1_52.2 by more than 50%", None]
    kept = [reason is None for reason in reasons]
    Workspace(out).write("clean", pd.DataFrame({"kept": kept, "reason": reasons}))

    outcomes = {outcome.stage: outcome for outcome in curate(config, out)}

    assert (outcomes["clean"].rows, outcomes["clean"].kept) == (4, 1)
    assert outcomes["clean"].reasons == (
        ("drone: blur or haze", 2),
        ("overlaps ... by more than ...", 1),
    )
    assert not outcomes["clean"].was_run
    assert outcomes["publish"].was_run


NEEDING = [
    ("street", {"providers": [{"kind": "mapillary"}]}, "MAPILLARY_TOKEN"),
    (
        "satellite",
        {"tiles": {"url": "https://a.org/{z}/{x}/{y}.jpg", "key_variable": "TILES_KEY"}},
        "TILES_KEY",
    ),
    (
        "describe",
        {"endpoint": {"base_url": "http://a/v1", "model": "m", "key_variable": "CHAT_KEY"}},
        "CHAT_KEY",
    ),
]


@pytest.mark.parametrize(("stage", "table", "variable"), NEEDING)
def test_secrets_are_missed_before_the_first_stage(
    stages, raster, tmp_path, monkeypatch, stage, table, variable
):
    config, out = config_of(raster, **{stage: table}), tmp_path / "out"
    monkeypatch.delenv(variable, raising=False)

    with pytest.raises(CurationError, match=rf"stage {stage} needs {variable}, which is not set"):
        stages(config, out)
    assert stages.ran == []
    assert stages(config, out, "seeds") == ["seeds"]
    monkeypatch.setenv(variable, "secret")
    assert stages(config, out) == list(STAGE_NAMES[1:])
    # Nothing is left to do that would need it.
    monkeypatch.delenv(variable)
    assert stages(config, out) == []
    with pytest.raises(CurationError, match=variable):
        stages(config, out, stage)


def keeping_nothing(monkeypatch, name):
    """The stage of a name leaves out both of its rows."""

    def run(workspace, *_):
        reasons = ["nowhere near (12 m)", "nowhere near (13 m)"]
        table = next(stage.table for stage in STAGES if stage.name == name)
        return workspace.write(table, pd.DataFrame({"kept": [False] * 2, "reason": reasons}))

    fakes = [replace(one, run=run) if one.name == name else one for one in pipeline.STAGES]
    monkeypatch.setattr(pipeline, "STAGES", tuple(fakes))


@pytest.mark.parametrize("name", ["street", "crop", "clean", "satellite"])
def test_nothing_follows_a_stage_that_keeps_nothing(stages, raster, tmp_path, monkeypatch, name):
    keeping_nothing(monkeypatch, name)
    told = rf"{name} keeps none of 2 rows \(nowhere near: 2\).*again with --stage {name}"

    with pytest.raises(CurationError, match=told):
        stages(config_of(raster), tmp_path / "out")
    assert stages.ran == list(STAGE_NAMES[: STAGE_NAMES.index(name)])
    with pytest.raises(CurationError, match=told):
        stages(config_of(raster), tmp_path / "out")


def test_places_that_need_not_be_whole_go_on_without_satellites(
    stages, raster, tmp_path, monkeypatch
):
    keeping_nothing(monkeypatch, "satellite")
    config = config_of(raster, publish={"whole": False})

    assert stages(config, tmp_path / "out")[-2:] == ["describe", "publish"]


@pytest.mark.usefixtures("stages")
def test_the_command_shows_what_was_done_before_it_stopped(raster, tmp_path, monkeypatch):
    keeping_nothing(monkeypatch, "street")
    config = tmp_path / "town.yaml"
    config.write_text(yaml.safe_dump({"seeds": {"rasters": [str(raster)]}}))

    shown = CliRunner().invoke(app, ["curate", str(config), "--out", str(tmp_path / "out")])

    assert shown.exit_code == 2
    assert "2 nowhere near" in shown.output
    assert "keeps none of 2 rows" in shown.output


# The whole pipeline, where the truth is known

PLACES = 12
SECRET = "secret-of-the-test"  # noqa: S105


@pytest.fixture(scope="module")
def planet(tmp_path_factory):
    return write_planet(tmp_path_factory.mktemp("planet"), PLACES)


def flat_picture():
    buffer = io.BytesIO()
    Image.new("RGB", (512, 256), (120, 130, 140)).save(buffer, "JPEG")
    return buffer.getvalue()


def planted(planet, shots):
    """Bad panoramas beside the good ones, and what a provider says of them."""
    free = planet.town.places(PLACES + 5)[PLACES:]
    at = {
        name: replace(shots[index], id=name, lat=place.lat, lon=place.lon)
        for index, (name, place) in enumerate(
            zip(("flat", "swapped", "elsewhere", "misplaced", "plain"), free, strict=True)
        )
    }
    bad = {
        # Nothing to see.
        "flat": replace(at["flat"], jpeg=flat_picture()),
        # Latitude for longitude.
        "swapped": at["swapped"],
        # Far from every orthophoto.
        "elsewhere": at["elsewhere"],
        # Where it says another panorama's EXIF says it was not.
        "misplaced": at["misplaced"],
        # Not all the way round.
        "plain": replace(at["plain"], is_360=False),
        # One that is there already, under another name.
        "copy": replace(shots[0], id="p0-again"),
    }
    lies = {
        "swapped": {"lat": at["swapped"].lon, "lon": at["swapped"].lat},
        "elsewhere": {"lat": at["elsewhere"].lat + 1.0, "lon": at["elsewhere"].lon},
    }
    return list(bad.values()), lies


def described(body):
    """A description that holds what the drone picture that was sent looks like."""
    colour = pictures_in(body)[0].mean(axis=(0, 1)).round().astype(int).tolist()
    told = " and ".join(str(value) for value in colour)
    return completion(answer(f"A block of houses on ground of tone {told} beside a street."))


@pytest.fixture(scope="module")
def town(planet, tmp_path_factory):
    """The curation of a town, and what its servers were asked."""
    folder = tmp_path_factory.mktemp("town")
    shots = planet.shots()
    bad, lies = planted(planet, shots)
    patch = pytest.MonkeyPatch()
    patch.setenv("MAPILLARY_TOKEN", SECRET)
    with (
        ProviderServer([*shots[: PLACES // 2], *bad]) as first,
        ProviderServer(shots[PLACES // 2 :], token=SECRET) as second,
        ChatServer(described) as chat,
    ):
        first.lies.update(lies)
        config = folder / "town.yaml"
        config.write_text(yaml.safe_dump(settings_of(planet, first, second, chat)))
        yield Curation(config, folder / "out", first, second, chat, planet)
    patch.undo()


def settings_of(planet, panoramax, mapillary, chat):
    facts = {"licence": "CC0-1.0", "attribution": "the simulated planet"}
    return {
        "seeds": {
            "rasters": [str(planet.drone)],
            "side_m": 180,
            "facts": {"*": {**facts, "date": "2024-04-01"}},
        },
        "street": {
            "providers": [
                {"kind": "panoramax", "url": panoramax.panoramax, "requests_per_second": 500},
                {"kind": "mapillary", "url": mapillary.mapillary, "requests_per_second": 500},
            ],
            "per_seed": 10,
            "allow_private": True,
        },
        "crop": {"sides_m": [60, 80], "gsd_m": 0.6},
        "satellite": {
            "rasters": [str(planet.satellite)],
            "gsd_m": SATELLITE_GSD_M,
            "facts": {"*": {**facts, "date": "2022-08-01", "source": "orthophoto"}},
        },
        "describe": {"endpoint": {"base_url": chat.url, "model": "tiny-eyes"}},
        "publish": {"splits": {"shares": {"train": 0.5, "test": 0.5}, "apart_m": 100}},
    }


class Curation:
    """A town's curation, run once."""

    def __init__(self, config, out, panoramax, mapillary, chat, planet):
        self.config, self.out, self.planet = config, out, planet
        self.panoramax, self.mapillary, self.chat = panoramax, mapillary, chat
        self.estimates = dict(plans(read_curate_config(config), out))
        self.outcomes = {
            outcome.stage: outcome for outcome in curate(read_curate_config(config), out)
        }

    def table(self, name):
        return Workspace(self.out).read(name)

    def asked(self):
        return (
            len(self.panoramax.asked),
            len(self.mapillary.asked),
            len(self.chat.bodies),
        )

    def bytes(self):
        files = [*self.out.glob("*.parquet"), *(self.out / "places").rglob("*")]
        return {
            path.relative_to(self.out): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(files)
            if path.is_file()
        }


def test_every_stage_leaves_its_table(town):
    assert list(town.outcomes) == list(STAGE_NAMES)
    assert all(outcome.was_run for outcome in town.outcomes.values())
    for stage in STAGES:
        table = town.table(stage.table)
        assert len(table) == town.outcomes[stage.name].rows
        if "kept" in table:
            assert table.loc[~table["kept"], "reason"].notna().all()
            assert table.loc[table["kept"], "reason"].isna().all()


def test_every_published_quadruple_is_one_place(town):
    places = read_places(town.out / "places")
    crops = town.table("crops").set_index("place_id")
    truths = {}

    assert len(places) >= PLACES // 2
    for place in places.to_dict("records"):
        crop = crops.loc[place["place_id"]]
        index = int(crop["pano_id"].partition(":p")[2].removesuffix("-again"))
        true = town.planet.places[index]
        assert distance_m(place["point"].y, place["point"].x, true.lat, true.lon) < 0.1
        for view in ("drone", "street", "satellite"):
            shown = read_image(town.out / "places" / place[view])
            for other in town.planet.places:
                key = (view, other.index, crop["side_m"])
                if key not in truths:
                    truths[key] = town.planet.truth(view, other, crop["side_m"], 48)
            apart = {
                other.index: difference(shown, truths[view, other.index, crop["side_m"]])
                for other in town.planet.places
            }
            assert min(apart, key=apart.get) == true.index, (place["place_id"], view)
        # The description was written in front of this place's pictures.
        numbers = [int(word) for word in place["text"].split() if word.isdigit()]
        drone = read_image(town.out / "places" / place["drone"]).mean(axis=(0, 1))
        assert np.abs(drone - numbers).max() < 2


def test_what_was_planted_is_left_out_and_told(town):
    street = town.table("street").set_index("pano_id")
    reasons = street["reason"].to_dict()

    assert reasons["panoramax:swapped"] == "latitude and longitude are swapped"
    assert "outside" in reasons["panoramax:elsewhere"]
    assert "EXIF puts it" in reasons["panoramax:misplaced"]
    assert reasons["panoramax:plain"] == "it does not go all the way round"
    crops = town.table("crops")
    clean = town.table("clean").set_index("place_id")
    flat = crops.loc[crops["pano_id"] == "panoramax:flat", "place_id"]
    assert len(flat) == 2
    assert not clean.loc[flat, "kept"].any()
    assert clean.loc[flat, "reason"].str.startswith("street: ").all()
    again = crops.loc[crops["pano_id"] == "panoramax:p0-again", "reason"]
    assert again.tolist() == ["another panorama was taken at the same spot"] * 2
    assert crops.loc[crops["pano_id"] == "panoramax:p0", "kept"].all()


def test_pictures_say_whose_they_are(town):
    pictures = pd.read_parquet(town.out / "places" / "pictures.parquet").set_index("view")

    assert set(pictures.loc["drone", "licence"]) == {"CC0-1.0"}
    assert set(pictures.loc["street", "provider"]) == {"panoramax", "mapillary"}
    assert set(pictures.loc["street", "licence"]) == {"etalab-2.0", "CC-BY-SA-4.0"}
    assert set(pictures.loc["satellite", "captured"]) == {"2022-08-01"}
    places = geopandas.read_parquet(town.out / "places" / "places.parquet")
    assert set(places["country"]) == {"United Kingdom"}


def test_running_again_does_nothing(town):
    before, asked = town.bytes(), town.asked()

    outcomes = curate(read_curate_config(town.config), town.out, resume=True)

    assert not any(outcome.was_run for outcome in outcomes)
    assert [(o.rows, o.kept) for o in outcomes] == [
        (o.rows, o.kept) for o in town.outcomes.values()
    ]
    assert town.bytes() == before
    assert town.asked() == asked


def test_stages_that_are_run_again_ask_for_nothing_and_write_the_same_bytes(town):
    before, asked = town.bytes(), town.asked()

    curate(read_curate_config(town.config), town.out, STAGE_NAMES)

    assert town.bytes() == before
    assert town.asked() == asked


def test_secrets_are_in_no_table_and_no_note(town):
    for path in town.out.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_estimates_are_told_before_anything_is_asked_for(town):
    assert list(town.estimates) == ["seeds"]
    assert "run `geobridge curate ... --stage seeds` first" in town.estimates["seeds"]
    asked = town.asked()

    estimates = dict(plans(read_curate_config(town.config), town.out))

    seeds = len(town.table("seeds"))
    assert estimates["street"].startswith(f"{seeds} seeds in ")
    places = len(town.table("satellite"))
    assert estimates["satellite"] == (f"at most, by clean: {places} pictures, read from the disk")
    assert estimates["describe"].startswith("0 of ")
    assert town.asked() == asked


def test_the_command_runs_plans_and_resumes(town, tmp_path):
    words = ["curate", str(town.config), "--out", str(town.out)]

    again = CliRunner().invoke(app, [*words, "--resume"])
    planned = CliRunner().invoke(app, [*words, "--plan"])
    stage = CliRunner().invoke(app, [*words, "--stage", "publish"])
    fresh = CliRunner().invoke(
        app, ["curate", str(town.config), "--out", str(tmp_path / "new"), "--resume"]
    )

    assert again.exit_code == planned.exit_code == stage.exit_code == 0, again.output
    assert again.output.count("as before") == len(STAGE_NAMES)
    assert stage.output.count("as before") == len(STAGE_NAMES) - 1
    assert "requests or more to search" in planned.output
    assert fresh.exit_code == 2
    assert "holds no curation to resume" in fresh.output
    assert not (tmp_path / "new").exists()


def test_what_may_not_be_passed_on_can_be_left_out(town, tmp_path):
    settings = yaml.safe_load(town.config.read_text())
    settings["publish"]["only_redistributable"] = True
    settings["satellite"]["facts"]["*"]["licence"] = "proprietary"
    config = tmp_path / "free.yaml"
    config.write_text(yaml.safe_dump(settings))
    asked = town.asked()
    try:
        curate(read_curate_config(config), town.out)

        places = read_places(town.out / "places")
        assert places["satellite"].isna().all()
        assert places["street"].notna().all()
        recipe = json.loads((town.out / "places" / "recipe.json").read_text())
        assert {row["view"] for row in recipe["pictures"]} == {"satellite"}
        assert [raster["name"] for raster in recipe["rasters"]] == ["satellite.tif"]
        assert town.asked() == asked
    finally:
        curate(read_curate_config(town.config), town.out)
