import json

import pytest
from chat_server import ChatServer, Raw, completion, error

from geobridge.curation.chat import Chat, EndpointConfig, RefusedRequestError
from geobridge.errors import CurationError

NAMED = [{"role": "user", "content": "picture a"}]
SHOWN = [{"role": "user", "content": "data:image/jpeg;base64,AAAA"}]
FORM = {"type": "json_object"}
KEY = "sk-very-secret"


@pytest.fixture
def server():
    with ChatServer(lambda body: completion(f"about {body['messages'][0]['content']}")) as server:
        yield server


@pytest.fixture
def chat(server, tmp_path):
    def ask(named=NAMED, **settings):
        config = EndpointConfig(base_url=server.url, model="tiny-eyes", **settings)
        with Chat(config, FORM, tmp_path / "answers") as chat:
            return chat.ask(named, lambda: SHOWN)

    return ask


def test_an_answer_is_asked_for_once_and_kept_by_what_was_asked(chat, server, tmp_path):
    first = chat()
    again = chat()

    assert first == again
    assert first.content == "about data:image/jpeg;base64,AAAA"
    assert (first.finish_reason, first.prompt_tokens, first.answer_tokens) == ("stop", 900, 40)
    assert len(server.bodies) == 1
    assert server.bodies[0] == {
        "model": "tiny-eyes",
        "messages": SHOWN,
        "response_format": FORM,
        "max_tokens": 300,
    }
    assert len(list((tmp_path / "answers").iterdir())) == 1


def test_another_question_is_another_answer(chat, server):
    chat()
    chat([{"role": "user", "content": "picture b"}])
    chat(temperature=0.5)
    chat(limit_name="max_completion_tokens", answer_tokens=7)

    assert len(server.bodies) == 4
    assert server.bodies[2]["temperature"] == 0.5
    assert server.bodies[3]["max_completion_tokens"] == 7
    assert "max_tokens" not in server.bodies[3]


def test_a_damaged_answer_is_asked_for_again(chat, server, tmp_path):
    chat()
    (path,) = (tmp_path / "answers").iterdir()
    path.write_text("{")

    chat()

    assert len(server.bodies) == 2


@pytest.mark.parametrize(
    "fault",
    [
        error(429, "slow down", Retry_After="0.05"),
        error(503, "overloaded", Retry_After="0.05"),
        Raw(200, b'{"choices": [', length=500),
        Raw(200, b'{"choices": ['),
        Raw(200, b"<html>hello</html>", kind="text/html"),
        Raw(200, b'{"choices": []}'),
        Raw(200, b"null"),
    ],
    ids=["429", "503", "torn", "cut off", "html", "empty", "null"],
)
def test_what_may_pass_is_asked_for_again(chat, server, fault):
    server.faults.append(fault)

    assert chat().content.startswith("about")
    assert len(server.bodies) == 2


def test_a_server_that_stays_busy_stops_the_run(chat, server):
    server.faults += [error(429, "slow down", Retry_After="0.01")] * 3

    with pytest.raises(CurationError, match=r"slow down.*run the stage again when"):
        chat(retries=1)
    assert len(server.bodies) == 2


def test_a_wait_that_is_too_long_stops_at_once(chat, server):
    server.faults += [error(429, "come back tomorrow", Retry_After="86400")] * 3

    with pytest.raises(CurationError, match="come back tomorrow"):
        chat()
    assert len(server.bodies) == 1


def test_a_server_that_never_speaks_the_api_is_named(chat, server):
    server.faults += [Raw(200, b"hello", kind="text/plain")] * 3

    with pytest.raises(CurationError, match="no chat completion: check that `base_url`"):
        chat()


def test_a_server_that_is_not_there_is_named(tmp_path):
    config = EndpointConfig(base_url="http://127.0.0.1:9/v1", model="m", retries=0)

    with (
        Chat(config, FORM, tmp_path) as chat,
        pytest.raises(CurationError, match=r"127\.0\.0\.1:9/v1 did not answer .*Connection"),
    ):
        chat.ask(NAMED, lambda: SHOWN)


@pytest.mark.parametrize(("status", "hint"), [(404, "model's name"), (403, "key_variable")])
def test_what_a_person_has_to_change_is_said(chat, server, status, hint):
    server.faults.append(error(status, "no such thing"))

    with pytest.raises(CurationError, match=hint):
        chat()


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_refused_is_no_failure_of_the_server(chat, server, status):
    server.faults.append(error(status, "that picture is not welcome"))

    with pytest.raises(RefusedRequestError, match="that picture is not welcome"):
        chat()
    assert len(server.bodies) == 1


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    chat, server, tmp_path, monkeypatch
):
    monkeypatch.setenv("MY_KEY", KEY)
    chat(key_variable="MY_KEY")
    server.faults.append(error(401, f"wrong key {KEY}"))

    with pytest.raises(CurationError, match=r"wrong key \*\*\*.*check the key in MY_KEY") as caught:
        chat([{"role": "user", "content": "b"}], key_variable="MY_KEY")

    assert server.keys[0] == f"Bearer {KEY}"
    assert KEY not in str(caught.value)
    kept = [path.name + path.read_text() for path in (tmp_path / "answers").iterdir()]
    assert not any(KEY in text for text in kept)


def test_the_key_does_not_change_where_an_answer_is_kept(chat, server, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    chat(key_variable="MY_KEY")
    chat()

    assert len(server.bodies) == 1


def test_a_key_of_another_service_is_not_sent(chat, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    chat()

    assert server.keys == ["Bearer none"]


def test_a_key_that_is_not_set_is_asked_for(chat, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)

    with pytest.raises(CurationError, match="the environment variable MY_KEY is not set"):
        chat(key_variable="MY_KEY")
    monkeypatch.setenv("MY_KEY", " ")
    with pytest.raises(CurationError, match="the environment variable MY_KEY is not set"):
        chat(key_variable="MY_KEY")
    monkeypatch.setenv("MY_KEY", "a\nb")
    with pytest.raises(CurationError, match="MY_KEY has characters that cannot be sent"):
        chat(key_variable="MY_KEY")


def test_blanks_around_a_key_are_not_sent(chat, server, monkeypatch):
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")

    chat(key_variable="MY_KEY")

    assert server.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    "url", ["ftp://a/v1", "localhost:11434", "http://user:pass@a/v1", "https://a/v1?key=1"]
)
def test_addresses_that_are_none_or_hold_a_key_are_refused(url):
    with pytest.raises(ValueError, match=r"must begin with http|must hold no key"):
        EndpointConfig(base_url=url, model="m")


def test_a_refusal_is_an_answer(chat, server):
    server.faults.append(completion(None, refusal="I would rather not."))

    found = chat()

    assert (found.content, found.refusal) == (None, "I would rather not.")
    assert json.loads(found.model_dump_json())["finish_reason"] == "stop"
