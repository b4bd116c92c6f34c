import base64
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from chat_server import ChatServer, answer, completion, error, pictures_in
from PIL import Image

from geobridge.curation.describe import DescribeConfig, PriceConfig, image_tokens, plan, run
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError

STEP = 10
PLACES = 4


def quiet(_):
    return lambda *_: None


def text_of(number):
    return f"House {number} of red brick stands by a pond with a hedge north of it."


def place_in(body):
    """Which place a request is about: its drone picture is that red."""
    return round(float(pictures_in(body)[0][:, :, 0].mean()) / STEP)


def good(body):
    return completion(answer(text_of(place_in(body))))


def write_places(folder, count=PLACES, satellite=True):
    """A workspace whose drone pictures are red by the number of the place."""
    workspace = Workspace(folder)
    rows = []
    for number in range(count):
        row = {"place_id": f"p{number:02d}", "kept": True}
        for view, size in (("drone", (64, 64)), ("street", (128, 32)), ("satellite", (40, 40))):
            colour = (number * STEP, 20, len(view))
            row[view] = workspace.picture(f"{view}/{number}.png", png(size, colour))
        rows.append(row)
    table = pd.DataFrame(rows)
    workspace.write("crops", table.drop(columns="satellite"))
    if satellite:
        workspace.write("satellite", table[["place_id", "satellite", "kept"]])
    return workspace


def png(size, colour):
    import io

    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def workspace(tmp_path):
    return write_places(tmp_path / "work")


@pytest.fixture
def server():
    with ChatServer(good) as server:
        yield server


@pytest.fixture
def describe(workspace, server):
    def described(**settings):
        return run(workspace, settings_for(server, **settings), quiet).set_index("place_id")

    return described


def settings_for(server, endpoint=None, **settings):
    where = {"base_url": server.url, "model": "tiny-eyes", **(endpoint or {})}
    return DescribeConfig(endpoint=where, **settings)


def test_every_place_gets_the_text_of_its_pictures(describe, workspace, server):
    found = describe()

    assert found["text"].tolist() == [text_of(number) for number in range(PLACES)]
    assert found["kept"].all()
    assert found["reason"].isna().all()
    assert (found["attempts"] == 1).all()
    assert (found["model"] == "tiny-eyes").all()
    assert found["prompt_digest"].str.fullmatch("[0-9a-f]{16}").all()
    assert found["similarity_drone"].isna().all()
    assert len(server.bodies) == PLACES
    again = workspace.read("describe").set_index("place_id")
    assert again["text"].tolist() == found["text"].tolist()
    assert again.columns.tolist() == found.columns.tolist()


def test_all_views_go_into_one_request_reduced(describe, server):
    describe(side_px=32, street_px=64)

    body = min(server.bodies, key=place_in)
    assert [image.shape for image in pictures_in(body)] == [(32, 32, 3), (16, 64, 3), (32, 32, 3)]
    titles = [part["text"] for part in body["messages"][1]["content"] if part["type"] == "text"]
    assert titles == ["From a drone, looking down:", "From the street:", "From a satellite:"]
    assert "at most 50 words" in body["messages"][0]["content"]
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["required"] == ["description"]


def test_places_that_a_stage_before_left_out_are_not_asked_for(describe, workspace, server):
    workspace.write("clean", pd.DataFrame({"place_id": ["p00", "p01"], "kept": [True, False]}))

    assert describe().index.tolist() == ["p00"]
    assert len(server.bodies) == 1


def test_without_satellite_pictures_the_others_are_shown(tmp_path, server):
    workspace = write_places(tmp_path / "two", 1, satellite=False)

    run(workspace, settings_for(server), quiet)

    assert len(pictures_in(server.bodies[0])) == 2


def test_an_answer_that_cannot_be_taken_goes_back_with_the_complaint(describe, server):
    wrong = {
        0: completion("A house by a pond."),
        1: completion(answer("Cars pass under a cloudy sky beside a house of brick by a pond.")),
        2: completion(answer("A very")[:12], finish_reason="length"),
        3: completion(None, refusal="Faces might be seen."),
    }

    def respond(body):
        return wrong[place_in(body)] if len(body["messages"]) == 2 else good(body)

    server.respond = respond

    found = describe()

    assert (found["attempts"] == 2).all()
    assert found["kept"].all()
    complaints = {
        place_in(body): (body["messages"][2]["content"], body["messages"][3]["content"])
        for body in server.bodies
        if len(body["messages"]) == 4
    }
    assert complaints[0][0] == "A house by a pond."
    assert "not a JSON object" in complaints[0][1]
    assert "it says 'cars', 'cloudy', 'sky'" in complaints[1][1]
    assert "it was cut off" in complaints[2][1]
    assert complaints[3] == (
        "Faces might be seen.",
        "That cannot be taken: you declined (Faces might be seen.). Describe the place again, in "
        "the same form.",
    )


def test_after_the_last_attempt_a_place_is_left_out_with_the_reason(describe, server):
    def respond(body):
        return completion(answer("Too short.")) if place_in(body) == 2 else good(body)

    server.respond = respond

    found = describe(attempts=2)

    assert found["kept"].tolist() == [True, True, False, True]
    assert found["reason"]["p02"] == "it has 2 words, which is too few to tell a place by"
    assert found["attempts"]["p02"] == 2
    assert len(server.bodies) == PLACES + 1


def test_a_picture_that_the_server_does_not_take_leaves_out_its_place(describe, server):
    def respond(body):
        return error(400, "unwelcome") if place_in(body) == 1 else good(body)

    server.respond = respond

    found = describe()

    assert found["kept"].tolist() == [True, False, True, True]
    assert "unwelcome" in found["reason"]["p01"]
    assert found["text"]["p01"] is None


def test_a_server_that_takes_nothing_stops_the_run(describe, server):
    server.respond = lambda _: error(400, "unknown field response_format")

    with pytest.raises(CurationError, match=r"takes none of our requests .*response_format"):
        describe()


def test_nothing_is_asked_for_twice_and_the_bytes_are_the_same(describe, workspace, server):
    describe()
    first = workspace.path("describe").read_bytes()
    page = (workspace.folder / "reports" / "describe.html").read_bytes()
    workspace.path("describe").unlink()
    server.respond = None

    describe()

    assert len(server.bodies) == PLACES
    assert workspace.path("describe").read_bytes() == first
    assert (workspace.folder / "reports" / "describe.html").read_bytes() == page


def test_a_changed_picture_prompt_or_model_is_asked_for_again(
    describe, workspace, server, tmp_path
):
    describe()
    workspace.picture("drone/1.png", png((64, 64), (STEP, 21, 6)))
    describe()
    assert len(server.bodies) == PLACES + 1
    (tmp_path / "mine.txt").write_text("Describe it.")
    describe(prompt=tmp_path / "mine.txt")
    assert len(server.bodies) == 2 * PLACES + 1
    describe(endpoint={"model": "other"})
    assert len(server.bodies) == 3 * PLACES + 1


def test_a_failing_server_loses_no_answer(describe, workspace, server):
    def respond(body):
        return error(403, "quota") if place_in(body) == 3 else good(body)

    server.respond = respond
    with pytest.raises(CurationError, match="quota"):
        describe(endpoint={"concurrency": 1})
    assert not workspace.has("describe")
    server.respond = good

    found = describe()

    assert found["kept"].all()
    assert len(server.bodies) == PLACES + 1


def test_the_key_is_in_no_file(describe, workspace, server, monkeypatch):
    monkeypatch.setenv("EYES_KEY", "sk-very-secret")

    describe(endpoint={"key_variable": "EYES_KEY"})

    assert server.keys == ["Bearer sk-very-secret"] * PLACES
    files = [path for path in workspace.folder.rglob("*") if path.is_file()]
    assert not any(b"sk-very-secret" in path.read_bytes() for path in files)


_KILLED = """
import sys
sys.path[:0] = [{tests!r}]
from test_curation_describe import quiet
from geobridge.curation.describe import DescribeConfig, run
from geobridge.curation.workspace import Workspace
endpoint = {{"base_url": {url!r}, "model": "tiny-eyes", "concurrency": 1}}
run(Workspace({folder!r}), DescribeConfig(endpoint=endpoint), quiet)
"""


def test_a_killed_run_asks_again_for_what_was_under_way_only(tmp_path, server):
    workspace = write_places(tmp_path / "work", 6)

    def slow(body):
        time.sleep(0.1)
        return good(body)

    server.respond = slow
    code = _KILLED.format(
        tests=os.path.dirname(__file__),  # noqa: PTH120
        url=server.url,
        folder=str(workspace.folder),
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while len(server.bodies) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    asked = len(server.bodies)

    found = run(workspace, settings_for(server), quiet)

    assert found["kept"].all()
    assert len(server.bodies) - asked in (6 - asked, 6 - asked + 1)


# The check by a model


class StubModel:
    """Finds a text and a picture of the same number alike; others by chance, always the same."""

    name, modalities, tokenizer = "stub", ("drone", "street", "satellite", "text"), None
    config = type("Config", (), {"text": None})

    @staticmethod
    def embed(modality, items, _):
        if modality == "text":
            numbers = [int(re.search(r"\d+", text).group()) for text in items]
        else:
            numbers = [int(path.stem) for path in items]
        rows = [np.random.default_rng(number).normal(size=64) for number in numbers]
        return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


@pytest.fixture
def many(tmp_path):
    return write_places(tmp_path / "many", 25)


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr("geobridge.curation.fit.GeoBridge.load", staticmethod(lambda *_: StubModel))
    return {"model": "stub"}


def test_a_description_that_fits_another_place_is_asked_for_again(many, server, stub):
    def respond(body):
        number = place_in(body)
        first = len(body["messages"]) == 2
        return completion(answer(text_of(24 if first and number == 3 else number)))

    server.respond = respond

    found = run(many, settings_for(server, fit=stub), quiet).set_index("place_id")

    assert found["attempts"].tolist() == [2 if number == 3 else 1 for number in range(25)]
    assert found["kept"].all()
    # What p03 was told first is the very text of p24: a tie counts half.
    agreement = [1.0] * 24 + [round(23.5 / 24, 4)]
    assert found["agreement_street"].tolist() == agreement
    assert (found["similarity_drone"] == 1).all()
    (again,) = (body for body in server.bodies if len(body["messages"]) == 4)
    assert (
        "does not fit the drone and street and satellite picture"
        in (again["messages"][3]["content"])
    )


def test_a_description_that_never_fits_is_left_out_and_leads_the_report(many, server, stub):
    def respond(body):
        number = place_in(body)
        return completion(answer(text_of(900 if number == 7 else number)))

    server.respond = respond

    found = run(many, settings_for(server, fit=stub, shown=3), quiet).set_index("place_id")

    assert found.index[~found["kept"]].tolist() == ["p07"]
    assert found["text"]["p07"] == text_of(900)
    assert found["attempts"]["p07"] == 3
    assert min(found.loc["p07", ["agreement_drone", "agreement_street"]]) < 0.7
    page = (many.folder / "reports" / "describe.html").read_text()
    assert re.findall(r"<h2>(\w+)</h2>", page) == ["p07", "p00", "p01"]


def test_among_few_places_nothing_is_judged(describe, stub):
    found = describe(fit=stub)

    assert found["kept"].all()
    assert found["agreement_drone"].isna().all()
    assert (found["similarity_drone"] == 1).all()


def test_a_true_model_judges(describe, one_eyed_checkpoint):
    found = describe(fit={"model": str(one_eyed_checkpoint)})

    assert found[["similarity_drone", "similarity_satellite"]].notna().all(axis=None)
    assert found["similarity_street"].abs().max() <= 1


def test_a_model_that_reads_no_text_is_refused(describe, stub, monkeypatch):
    monkeypatch.setattr(StubModel, "modalities", ("drone",))

    with pytest.raises(CurationError, match="reads no text"):
        describe(fit=stub)


def test_the_report_escapes_what_a_model_writes(describe, workspace, server):
    text = "A <script>alert(1)</script> & house $model stands by a pond with a hedge."
    server.respond = lambda _: completion(answer(text))

    describe()

    page = (workspace.folder / "reports" / "describe.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; house $model stands" in page
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == 3 * PLACES
    assert base64.b64decode(pictures[0]).startswith(b"\xff\xd8")
    assert "http" not in page


# What it costs


@pytest.mark.parametrize(
    ("size", "tokens"),
    # The first two are examples of the API's own guide.
    [((1024, 1024), 765), ((2048, 4096), 1105), ((512, 512), 255), ((1024, 512), 425)],
)
def test_pictures_are_counted_in_tiles(size, tokens):
    assert image_tokens(*size) == tokens


def test_pictures_are_counted_in_patches():
    price = PriceConfig(
        prompt_per_million=1, answer_per_million=1, rule="patches", patch_px=28, patch_factor=1.5
    )

    # 512 px are 18.3 patches of 28 px, 256 px are 9.1.
    assert image_tokens(512, 256, price) == round(19 * 10 * 1.5)


def test_the_plan_tells_what_a_run_will_ask_for(workspace, server, describe, tmp_path):
    (tmp_path / "mine.txt").write_text("x" * 400)
    settings = {
        "prompt": tmp_path / "mine.txt",
        "most_words": 40,
        "attempts": 2,
        "price": {"prompt_per_million": 2.0, "answer_per_million": 10.0},
        "endpoint": {"answer_tokens": 100},
    }

    told = plan(workspace, settings_for(server, **settings))

    assert (told.places, told.kept, told.requests, told.most_requests) == (4, 0, 4, 8)
    # Three small pictures of one tile each; 100 tokens of prompt; 40 words of 1.5 tokens.
    assert told.image_tokens == 4 * 3 * 255
    assert (told.text_tokens, told.answer_tokens) == (4 * 100, 4 * 60)
    assert told.cost == pytest.approx((2 * (3060 + 400) + 10 * 240) / 1e6)
    # Twice the pictures and longest answers, and the first answer once more.
    most = 2 * (2 * (3060 + 400) + 10 * 4 * 100) + 2 * 4 * 100
    assert told.most_cost == pytest.approx(most / 1e6)
    assert "4 of 4 places" in str(told)
    assert "USD" in str(told)
    assert not server.bodies

    describe(**settings)
    told = plan(workspace, settings_for(server, **settings))

    assert (told.kept, told.requests, told.cost) == (4, 0, 0)


def test_a_run_that_costs_too_much_does_not_begin(describe, server):
    price = {"prompt_per_million": 1e6, "answer_per_million": 1e6}

    with pytest.raises(CurationError, match=r"more than the 1\.00 of `most_cost`"):
        describe(price=price, most_cost=1.0)
    assert not server.bodies


def test_a_bound_of_costs_without_prices_is_refused():
    endpoint = {"base_url": "http://localhost:1/v1", "model": "m"}
    with pytest.raises(ValueError, match="`most_cost` bounds nothing without `price`"):
        DescribeConfig.model_validate({"endpoint": endpoint, "most_cost": 0.0})


def test_nothing_to_describe_is_an_error(describe, workspace):
    workspace.write("clean", pd.DataFrame({"place_id": ["p00"], "kept": [False]}))

    with pytest.raises(CurationError, match="has no place to describe"):
        describe()


def test_a_picture_that_is_gone_is_named(describe, workspace):
    (workspace.folder / "pictures/drone/2.png").unlink()

    with pytest.raises(CurationError, match=r"drone/2\.png cannot be read"):
        describe()


def test_on_land_that_the_judge_does_not_know_most_places_stay(many, server, stub, monkeypatch):
    """Every picture looks like that of another place: what does not fit is the judge's fault."""
    known = StubModel.embed

    def blind(modality, items, size):
        if modality == "text":
            return known(modality, items, size)
        return known(modality, [path.with_stem(str(int(path.stem) + 500)) for path in items], size)

    monkeypatch.setattr(StubModel, "embed", staticmethod(blind))

    found = run(many, settings_for(server, fit=stub, attempts=1), quiet)

    agreements = found[[f"agreement_{view}" for view in ("drone", "street", "satellite")]]
    assert (agreements.min(axis=1) < 0.7).sum() > 10
    assert 1 <= (~found["kept"]).sum() <= 2
    page = (many.folder / "reports" / "describe.html").read_text()
    assert re.search(r"At least 0\.\d\d was asked for", page)

    run(many, settings_for(server, fit={**stub, "most_rejected": 1}, attempts=1), quiet)
    assert (~many.read("describe")["kept"]).sum() > 10
