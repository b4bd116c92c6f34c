import logging
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import provider_servers as servers
import pytest
from pydantic import ValidationError

from geobridge.curation.http import (
    ATTEMPTS,
    Client,
    Credential,
    DownloadError,
    Pace,
    PlainAddress,
    PlainKeys,
    is_below,
    is_public,
    picture_kind,
    secret_in,
    shown,
    without_secrets,
)
from geobridge.errors import CurationError
from geobridge.model.config import Settings, first_problem

PICTURE = picture_kind(1_000_000)
FAST = Pace(per_second=1e6)
SECRET = "MLY|12/34|abc def"  # noqa: S105 - opens nothing

Fault = servers.Fault
JPEG = servers.jpeg()
IS_JPEG = {"Content-Type": "image/jpeg"}


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.time = 1000.0
        self.slept = []

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds


@pytest.fixture
def server():
    shot = servers.Shot("a", 48.0, 11.0, JPEG)
    with servers.ProviderServer([shot], token=SECRET) as one:
        yield one


@pytest.fixture
def ticks():
    return Clock()


@pytest.fixture
def client(tmp_path, ticks):
    cache = tmp_path / "cache"
    with Client(cache, allow_private=True, now=ticks.now, sleep=ticks.sleep) as one:
        yield one


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_an_address_is_asked_for_once_whoever_asks(server, client, tmp_path):
    url = f"{server.origin}/pictures/a.jpg"

    path = client.fetch(url, PICTURE, pace=FAST)
    with Client(tmp_path / "cache", allow_private=True) as another:
        again = another.fetch(url, PICTURE, pace=FAST)

    assert path.read_bytes() == JPEG
    assert path.suffix == ".jpg"
    assert again == path == client.cached(url, PICTURE)
    assert server.asked == ["/pictures/a.jpg"]
    assert files(tmp_path / "cache") == [path.name]


def test_a_picture_whose_address_changes_is_kept_under_its_key(server, client):
    client.fetch(f"{server.origin}/pictures/a.jpg?e=1", PICTURE, pace=FAST, key="the picture")
    client.fetch(f"{server.origin}/pictures/a.jpg?e=2", PICTURE, pace=FAST, key="the picture")

    assert server.asked == ["/pictures/a.jpg?e=1"]


def test_what_is_asked_for_now_is_not_kept(server, client, tmp_path):
    url = f"{server.panoramax}/search?bbox=0,0,1,1&limit=5"

    assert client.ask(url, pace=FAST)["features"] == []
    assert client.ask(url, pace=FAST)["features"] == []

    assert len(server.asked) == 2
    assert files(tmp_path) == []


def test_failures_that_may_pass_are_tried_again_with_growing_pauses(server, client, ticks):
    path = "/pictures/a.jpg"
    server.faults[path].extend(
        [
            Fault(500),
            Fault(headers=IS_JPEG, body=JPEG, cut=100),
            Fault(headers=IS_JPEG, body=b""),
            Fault(502),
        ]
    )

    got = client.fetch(server.origin + path, PICTURE, pace=FAST)

    assert got.read_bytes() == JPEG
    # 0.5 s doubled each time, times 0.5 to 1.5.
    pauses = [seconds for seconds in ticks.slept if seconds > 1e-3]
    assert len(pauses) == 4
    for number, seconds in enumerate(pauses):
        assert 0.25 * 2**number <= seconds <= 0.75 * 2**number


def test_the_same_failures_wait_the_same(server, tmp_path):
    slept = []
    for run in ("one", "two"):
        server.faults["/pictures/a.jpg"].extend([Fault(500), Fault(500)])
        clock = Clock()
        with Client(tmp_path / run, allow_private=True, now=clock.now, sleep=clock.sleep) as client:
            client.fetch(f"{server.origin}/pictures/a.jpg", PICTURE, pace=Pace(1e6, 1))
        slept.append([seconds for seconds in clock.slept if seconds > 1e-3])

    assert slept[0] == slept[1]
    assert len(slept[0]) == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        (
            {
                "Date": "Wed, 21 Oct 2026 07:28:00 GMT",
                "Retry-After": "Wed, 21 Oct 2026 07:28:09 GMT",
            },
            9.0,
        ),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_to_wait_is_left_in_peace(
    server, client, ticks, status, headers, seconds
):
    # http.server sends a date of its own before; the last one counts.
    server.faults["/pictures/a.jpg"].append(Fault(status, headers))

    client.fetch(f"{server.origin}/pictures/a.jpg", PICTURE, pace=FAST)

    assert sum(ticks.slept) == pytest.approx(seconds, abs=1e-3)


def test_a_wait_that_is_too_long_ends_the_attempts(server, client, ticks):
    server.faults["/pictures/a.jpg"].append(Fault(429, {"Retry-After": "3600"}))

    with pytest.raises(DownloadError, match="asks to wait 3600 s") as caught:
        client.fetch(f"{server.origin}/pictures/a.jpg", PICTURE, pace=FAST)

    assert not caught.value.is_final
    assert ticks.slept == []


def test_attempts_end(server, client, tmp_path):
    cut = Fault(headers=IS_JPEG, body=JPEG, cut=1)
    server.faults["/pictures/a.jpg"].extend([cut] * ATTEMPTS)

    with pytest.raises(DownloadError, match=f"nothing in {ATTEMPTS} attempts.*broke off") as caught:
        client.fetch(f"{server.origin}/pictures/a.jpg", PICTURE, pace=FAST)

    assert not caught.value.is_final
    assert len(server.asked) == ATTEMPTS
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(404), "status 404: check the address"),
        (Fault(headers={"Content-Type": "text/html"}, body=b"<html>"), "text/html where a picture"),
        (Fault(body=b"x"), "no content type where a picture"),
        (Fault(headers=IS_JPEG, body=b"x" * 1_000_001), "larger than the 1,000,000 bytes"),
        (
            Fault(headers=IS_JPEG | {"Content-Encoding": "gzip"}, body=b"x"),
            "compressed, which was not asked for",
        ),
    ],
)
def test_what_would_not_become_better_is_refused_at_once(server, client, tmp_path, fault, reason):
    server.faults["/pictures/a.jpg"].append(fault)

    with pytest.raises(DownloadError, match=reason) as caught:
        client.fetch(f"{server.origin}/pictures/a.jpg", PICTURE, pace=FAST)

    assert caught.value.is_final
    assert len(server.asked) == 1
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("https://h/x.tif?sig=SECRET", "its parameter 'sig'"),
        ("https://h/{z}/{x}/{y}?style=a&Access_Token=SECRET", "its parameter 'Access_Token'"),
        ("https://h/x.tif?%6bey=SECRET", "its parameter 'key'"),
        ("s3://b/k?token=SECRET", "its parameter 'token'"),
        ("https://me:SECRET@h/x.tif", "the name before its host"),
        ("https://SECRET@h/x.tif", "the name before its host"),
        ("https://h/wmts?layer=keys&tilematrix={z}", None),
        ("data/a@b.tif", None),
        ("http://[::1/?key=1", None),
    ],
)
def test_addresses_that_hold_a_secret_are_told(address, where):
    class Some(Settings):
        url: PlainAddress
        facts: Annotated[dict[str, int], PlainKeys]

    assert secret_in(address) == where
    if where is None:
        assert Some(url=address, facts={address: 1}).url == address
        return
    assert "SECRET" not in without_secrets(address)
    for given in ({"url": address, "facts": {}}, {"url": "https://h", "facts": {address: 1}}):
        with pytest.raises(ValidationError) as caught:
            Some.model_validate(given)
        place, problem = first_problem(caught.value)
        assert f"what may be a secret in {where}: take it out" in problem
        assert "SECRET" not in place + problem


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://graph.example", True),
        ("https://graph.example/1?fields=a", True),
        ("https://GRAPH.example/1", True),
        ("https://graph.example.evil.example/1", False),
        ("https://graph.example@evil.example/1", False),
        ("http://graph.example/1", False),
        ("https://graph.example:444/1", False),
        ("", False),
    ],
)
def test_what_is_below_a_root(url, expected):
    assert is_below(url, "https://graph.example") == expected
    assert not is_below(url, "https://graph.example/v2")
    assert is_below("https://graph.example/v2/1", "https://graph.example/v2/")
    assert not is_below("https://graph.example/v21", "https://graph.example/v2")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_nothing_of_what_is_there(server, client, status):
    server.faults["/pictures/a.jpg"].append(Fault(status))
    url = f"{server.origin}/pictures/a.jpg"

    with pytest.raises(DownloadError, match=f"gave status {status}: it may want a") as caught:
        client.fetch(url, PICTURE, pace=FAST)

    assert not caught.value.is_final
    assert len(server.asked) == 1
    assert client.fetch(url, PICTURE, pace=FAST).read_bytes() == JPEG


def test_a_secret_that_is_not_accepted_stops_everything(server, client, monkeypatch):
    monkeypatch.setenv("SOME_KEY", SECRET)
    key = Credential("SOME_KEY", server.origin, parameter="key")
    server.faults["/pictures/a.jpg"].append(Fault(401))

    with pytest.raises(CurationError, match=r"not accept the secret in SOME_KEY") as caught:
        client.fetch(f"{server.origin}/pictures/a.jpg", PICTURE, pace=FAST, credential=key)

    assert not isinstance(caught.value, DownloadError)
    assert SECRET not in str(caught.value)
    assert len(server.asked) == 1


def test_a_secret_that_may_be_wrong_is_named(server, client, monkeypatch):
    monkeypatch.setenv("SOME_KEY", SECRET)
    key = Credential("SOME_KEY", server.origin, parameter="key")
    server.faults["/pictures/a.jpg"].append(Fault(403))

    with pytest.raises(DownloadError, match=r"403: check the secret in SOME_KEY") as caught:
        client.fetch(f"{server.origin}/pictures/a.jpg", PICTURE, pace=FAST, credential=key)

    assert not caught.value.is_final


def test_a_secret_that_was_not_sent_is_not_blamed(server, client, monkeypatch):
    monkeypatch.setenv("SOME_KEY", SECRET)
    key = Credential("SOME_KEY", "https://elsewhere.example", parameter="key")
    server.faults["/pictures/a.jpg"].append(Fault(401))

    with pytest.raises(DownloadError, match="it may want a secret"):
        client.fetch(f"{server.origin}/pictures/a.jpg", PICTURE, pace=FAST, credential=key)


def test_a_body_that_lies_about_its_size_is_cut_off(tmp_path, ticks):
    # Without a length nothing is announced, and it goes on until the connection closes.
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve():
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n")
            try:
                for _ in range(1000):
                    peer.sendall(b"x" * 65536)
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with (
        listener,
        Client(tmp_path, allow_private=True, now=ticks.now, sleep=ticks.sleep) as client,
        pytest.raises(DownloadError, match="larger than"),
    ):
        client.fetch(f"http://127.0.0.1:{port}/", PICTURE, pace=FAST)
    thread.join()

    assert files(tmp_path) == []


def test_a_page_that_is_no_json_is_not_kept(server, client, tmp_path):
    broken = Fault(headers={"Content-Type": "application/json"}, body=b'{"features": [')
    server.faults["/panoramax/api/search"].append(broken)

    page = client.page(f"{server.panoramax}/search?bbox=0,0,1,1&limit=5", pace=FAST)

    assert page["features"] == []
    assert len(server.asked) == 2
    assert len(files(tmp_path)) == 1


def test_a_page_that_is_nested_too_deeply_is_refused(server, client):
    deep = Fault(headers={"Content-Type": "application/json"}, body=b"[" * 200_000)
    server.faults["/panoramax/api/search"].append(deep)

    with pytest.raises(DownloadError, match="nested too deeply") as caught:
        client.page(f"{server.panoramax}/search?bbox=0,0,1,1&limit=5", pace=FAST)

    assert caught.value.is_final
    assert len(server.asked) == 1


def test_redirects_are_followed_and_counted(server, client):
    there = Fault(302, {"Location": "/pictures/a.jpg"})
    server.faults["/moved"].append(there)
    assert client.fetch(f"{server.origin}/moved", PICTURE, pace=FAST).read_bytes() == JPEG

    server.faults["/round"].extend([Fault(302, {"Location": "/round"})] * 10)
    with pytest.raises(DownloadError, match="redirected more than"):
        client.fetch(f"{server.origin}/round", PICTURE, pace=FAST)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/a.jpg",
        "http://localhost:9/a.jpg",
        "http://[::1]:9/a.jpg",
        "http://[::ffff:10.0.0.1]:9/a.jpg",
        "http://169.254.7.7:9/a.jpg",
        "http://2130706433/a.jpg",
        "http://0x7f.0.0.1:9/a.jpg",
        "http://0177.0.0.1:9/a.jpg",
        "http://127.1:9/a.jpg",
        "http://[::127.0.0.1]:9/a.jpg",
        "http://[64:ff9b::7f00:1]:9/a.jpg",
        "http://0/a.jpg",
    ],
)
def test_addresses_of_this_machine_and_its_networks_are_refused(tmp_path, url):
    with (
        Client(tmp_path) as client,
        pytest.raises(DownloadError, match=r"this machine or its networks: set allow_private"),
    ):
        client.fetch(url, PICTURE, pace=FAST)


def test_a_name_that_leads_to_a_private_address_is_refused(tmp_path, monkeypatch, server):
    port = int(server.origin.rsplit(":", 1)[1])
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)

    with (
        Client(tmp_path) as client,
        pytest.raises(DownloadError, match=r"pictures\.example/a\.jpg is an address of this"),
    ):
        client.fetch("http://pictures.example/a.jpg", PICTURE, pace=FAST)

    assert server.asked == []


def test_a_name_that_changes_between_check_and_connection_gains_nothing(
    tmp_path, monkeypatch, server
):
    # Public when it is looked up first, private ever after: the address that was checked is used.
    port = int(server.origin.rsplit(":", 1)[1])
    looked_up, connected = [], []

    def rebinding(host, *_, **__):
        looked_up.append(host)
        address = "93.184.216.34" if len(looked_up) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def create(address, *_, **__):
        connected.append(address[0])
        raise OSError("out of reach")

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket, "create_connection", create)
    with (
        Client(tmp_path, sleep=lambda _: None) as client,
        pytest.raises(DownloadError, match="an address of this machine"),
    ):
        client.fetch(f"http://rebinding.example:{port}/a.jpg", PICTURE, pace=FAST)

    assert connected == ["93.184.216.34"]
    assert len(looked_up) == 2
    assert server.asked == []


def test_one_private_address_of_several_is_enough_to_refuse(tmp_path, monkeypatch):
    answers = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 9))
        for address in ("93.184.216.34", "10.0.0.1")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with Client(tmp_path) as client, pytest.raises(DownloadError, match="set allow_private"):
        client.fetch("http://mixed.example:9/a.jpg", PICTURE, pace=FAST)


def test_a_part_is_not_kept_as_the_whole(server, client):
    said = IS_JPEG | {"Content-Range": f"bytes 0-9/{len(JPEG)}"}
    server.faults["/pictures/a.jpg"].append(Fault(206, said, JPEG[:10]))

    assert client.fetch(f"{server.origin}/pictures/a.jpg", PICTURE, pace=FAST).read_bytes() == JPEG


def test_a_redirect_to_a_private_address_is_refused(tmp_path, monkeypatch, server):
    # A public name, whose answer leads inside: only the first connection is let through.
    port = int(server.origin.rsplit(":", 1)[1])
    server.faults["/out"].append(Fault(302, {"Location": f"{server.origin}/pictures/a.jpg"}))
    true_getaddrinfo = socket.getaddrinfo
    true_create = socket.create_connection
    public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", port))]
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *a, **k: public if host == "open.example" else true_getaddrinfo(host, *a, **k),
    )
    monkeypatch.setattr(
        socket,
        "create_connection",
        lambda address, *a, **k: true_create(("127.0.0.1", address[1]), *a, **k),
    )

    with Client(tmp_path) as client, pytest.raises(DownloadError, match="set allow_private"):
        client.fetch(f"http://open.example:{port}/out", PICTURE, pace=FAST)

    assert server.asked == ["/out"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - nothing is bound
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("::ffff:192.168.1.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::c0a8:101", False),
        ("64:ff9b:1::a00:1", False),
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("fec0::1", False),
        ("2001:0:7f00:1::", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address, expected):
    assert is_public(address) == expected


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/a.jpg",
        "gopher://host/",
        "pictures/a.jpg",
        "http://",
        "http://host:99999/",
        "http://[::1/",
        "http://name:word@host/a.jpg",
        "http://" + "a" * 70 + ".example/",
    ],
)
def test_addresses_that_are_none_are_refused(client, url):
    with pytest.raises(DownloadError, match="is no http or https address"):
        client.fetch(url, PICTURE, pace=FAST)


def test_a_redirect_to_a_file_is_refused(server, client):
    server.faults["/out"].append(Fault(302, {"Location": "file:///etc/passwd"}))

    with pytest.raises(DownloadError, match="is no http or https address"):
        client.fetch(f"{server.origin}/out", PICTURE, pace=FAST)


def test_requests_keep_the_pace(server, client, ticks):
    server.shots |= dict.fromkeys("bcdef", server.shots["a"])
    for name in "abcdef":
        client.fetch(f"{server.origin}/pictures/{name}.jpg", PICTURE, pace=Pace(per_second=4))

    assert sum(ticks.slept) == pytest.approx(5 / 4)


def test_no_more_connections_than_allowed(tmp_path):
    shots = [servers.Shot(str(number), 0, 0, JPEG) for number in range(12)]
    busy, most = [0], [0]
    with servers.ProviderServer(shots) as server, Client(tmp_path, allow_private=True) as client:
        true_answer = server.answer

        def counting(path, headers):
            busy[0] += 1
            most[0] = max(most[0], busy[0])
            time.sleep(0.01)
            busy[0] -= 1
            return true_answer(path, headers)

        server.answer = counting
        with ThreadPoolExecutor(12) as pool:
            urls = [f"{server.origin}/pictures/{number}.jpg" for number in range(12)]
            list(pool.map(lambda url: client.fetch(url, PICTURE, pace=Pace(1e6, 2)), urls))

    assert 1 <= most[0] <= 2


def test_threads_that_want_one_address_ask_once(tmp_path, server):
    server.wait_s = 0.02
    url = f"{server.origin}/pictures/a.jpg"
    with Client(tmp_path, allow_private=True) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: client.fetch(url, PICTURE, pace=FAST), range(8)))

    assert server.asked == ["/pictures/a.jpg"]


def test_downloads_of_another_process_are_left_alone(tmp_path):
    # `--plan` looks into a folder that a curation is at work in.
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / ".abc.part").write_bytes(b"half")

    with Client(tmp_path):
        pass

    assert (tmp_path / "ab" / ".abc.part").exists()


def test_what_needs_no_download_is_kept_by_its_content(client):
    path = client.keep(JPEG, ".jpg")

    assert client.keep(JPEG, ".jpg") == path
    assert path.read_bytes() == JPEG


# -- secrets -------------------------------------------------------------------------------------


def in_header(server):
    return Credential("A_TOKEN", server.origin, header="Authorization", prefix="OAuth ")


def everything_written(folder):
    return b"".join(
        str(path).encode() + path.read_bytes() for path in folder.rglob("*") if path.is_file()
    )


def test_secrets_are_sent_and_written_nowhere(server, client, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("A_TOKEN", SECRET)
    caplog.set_level(logging.DEBUG)
    # The server repeats it, as the Graph API does in links to a next page.
    body = f'{{"next": "http://x/?access_token={SECRET}", "q": "MLY%7C12%2F34%7Cabc%20def"}}'
    escaped = body.replace("/", "\\/")
    server.faults["/mapillary/images"].append(
        Fault(headers={"Content-Type": "application/json"}, body=(body + " ").encode())
    )
    server.faults["/google/metadata"].append(
        Fault(headers={"Content-Type": "application/json"}, body=escaped.encode())
    )

    in_parameter = Credential("A_TOKEN", server.origin, parameter="key")
    first = client.page(f"{server.mapillary}/images", pace=FAST, credential=in_header(server))
    client.page(f"{server.google}/metadata?a=1", pace=FAST, credential=in_parameter)

    assert server.headers[0]["Authorization"] == f"OAuth {SECRET}"
    assert "key=MLY%7C12%2F34%7Cabc" in server.asked[1]
    assert first["next"] == "http://x/?access_token=SECRET"
    written = everything_written(tmp_path) + caplog.text.encode()
    for form in (b"12/34", b"12%2F34", b"12\\/34"):
        assert form not in written


def test_errors_do_not_tell_secrets(server, client, monkeypatch):
    monkeypatch.setenv("A_TOKEN", SECRET)
    credential = Credential("A_TOKEN", server.origin, parameter="key")

    with pytest.raises(DownloadError) as caught:
        client.page(f"{server.origin}/none?token=abc", pace=FAST, credential=credential)

    assert "abc" not in repr(caught.value)
    assert "12" not in str(caught.value).replace("127.0.0.1", "")
    assert caught.value.__cause__ is None
    assert SECRET not in repr(credential)


def test_another_origin_is_not_sent_the_secret(server, client, monkeypatch):
    monkeypatch.setenv("A_TOKEN", SECRET)
    with servers.ProviderServer([]) as another:
        server.faults["/mapillary/images"].append(
            Fault(302, {"Location": f"{another.panoramax}/search?bbox=0,0,1,1&limit=1"})
        )

        client.page(f"{server.mapillary}/images", pace=FAST, credential=in_header(server))

        assert "Authorization" in server.headers[0]
        assert "Authorization" not in another.headers[0]


def test_a_secret_that_is_not_set_is_named(server, client, monkeypatch):
    monkeypatch.delenv("A_TOKEN", raising=False)

    with pytest.raises(CurationError, match="A_TOKEN is not set"):
        client.page(f"{server.mapillary}/images", pace=FAST, credential=in_header(server))


def test_a_secret_with_a_line_break_is_not_quoted(server, client, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "abc\r\nHost: elsewhere")

    with pytest.raises(CurationError, match="A_TOKEN has characters that cannot be sent") as caught:
        client.page(f"{server.mapillary}/images", pace=FAST, credential=in_header(server))

    assert "elsewhere" not in str(caught.value)
    assert server.asked == []


def test_secrets_are_not_sent_unencrypted(tmp_path, monkeypatch):
    monkeypatch.setenv("A_TOKEN", SECRET)
    credential = Credential("A_TOKEN", "http://api.example", header="Authorization")

    with Client(tmp_path) as client, pytest.raises(CurationError, match="would be sent unencrypt"):
        client.page("http://api.example/images", pace=FAST, credential=credential)


def test_keys_have_no_secrets():
    assert (
        without_secrets("https://h/p?bbox=1,2&access_token=abc&Key=d&x=#frag")
        == "https://h/p?bbox=1%2C2&x="
    )
    assert shown("https://h/p?access_token=abc") == "https://h/p"
    assert shown("https://name:word@h/p") == "https://h/p"
    assert shown("http://[::1/") == "an address that is none"


def test_a_disk_that_cannot_be_written_is_named(server, client, tmp_path):
    if os.geteuid() == 0:
        (tmp_path / "cache").write_text("a file where a folder should be")
    else:
        (tmp_path / "cache").mkdir(mode=0o500)

    with pytest.raises(CurationError, match="cannot be written"):
        client.fetch(f"{server.origin}/pictures/a.jpg", PICTURE, pace=FAST)
