"""The command in a process of its own that is killed where its watcher says.

Before the process opens a file of its folder for writing, flushes one or renames one, it tells its
watcher and waits for leave; its servers tell of each request. All that is a list of events in one
order, and a SIGKILL can come at any of them, on a machine of any speed.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from chat_server import ChatServer
from ground_stage import ImageryServer
from provider_servers import ProviderServer

# Children are forked from a process that has all this loaded already: that saves seconds each.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["geobridge.curation.pipeline", "openai", "typer.testing"])


class Watcher:
    """Runs `geobridge curate`, notes what happens, and kills it.

    Attributes:
        events: of the last run, in order, requests among them.
        asked: all requests of all runs, as often as they came.
        in_flight: requests that a kill has kept from being answered, one entry for each.
        repeated: requests that should not have been sent: a second time in one run, or for
            something that was on the disk when the run began.
    """

    def __init__(self):
        self.events: list[str] = []
        self.asked: Counter[str] = Counter()
        self.in_flight: list[str] = []
        self.repeated: list[str] = []
        self._answers: dict[str, str] = {}
        self._lock = threading.Lock()
        self._process = None
        self._fatal: set[str] = set()
        self._had: set[str] = set()

    def curate(self, config, out, fatal=()):
        """Run to the end, or until one of the events `fatal` is about to happen.

        Returns:
            Whether it ended by itself, which it then did without an error.
        """
        self.events, self._fatal, self._had = [], set(fatal), self._kept(out)
        ours, theirs = _FORKS.Pipe()
        log = Path(out).with_suffix(".log")
        process = _FORKS.Process(target=_curate, args=(str(config), str(out), log, theirs))
        process.start()
        theirs.close()
        self._process = process
        try:
            while True:
                name = ours.recv_bytes().decode()
                self.saw(name)
                if name not in self._fatal:
                    ours.send_bytes(b"go on")
        except (EOFError, ConnectionError):
            process.join()
        self._process = None
        ours.close()
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode == 0, log.read_text()
            return True
        now = self._kept(out)
        self.in_flight += [name for name in self.events if _is_request(name) and name not in now]
        return False

    def saw(self, name):
        """Note an event, and kill the process if it is the last one."""
        with self._lock:
            self.events.append(name)
            if _is_request(name):
                self.asked[name] += 1
                if name in self._had or self.events.count(name) > 1:
                    self.repeated.append(name)
            if name in self._fatal:
                self._process.kill()

    def answered(self, name, data):
        """Note the answer to a request, to be found again on the disk."""
        self._answers[hashlib.sha256(data).hexdigest()] = name

    def _kept(self, out):
        """Requests whose answers are on the disk."""
        cache = Path(out) / "cache"
        files = [path for path in cache.rglob("*") if path.is_file()]
        data = [_content(path) for path in files if not path.name.startswith(".")]
        found = {self._answers.get(hashlib.sha256(content).hexdigest()) for content in data}
        # Mapillary is asked for the address of a picture that is not there yet, and only then.
        ids = {name.rpartition("/")[2] for name in found if name and "/pictures/" in name}
        return found | {f"GET /mapillary/{name.removesuffix('.jpg')}" for name in ids}


class WatchedProvider(ProviderServer):
    """Tells a watcher what it is asked."""

    def __init__(self, watcher, shots, **options):
        super().__init__(shots, **options)
        self._server.handle_error = _broken_off
        self._watcher = watcher

    def answer(self, path, headers):
        # What comes after the question mark of a picture's address is another each time.
        short = urlsplit(path).path if "/pictures/" in path else path
        name = "GET " + short.replace(f"access_token={self.token}&", "")
        if short.startswith("/mapillary/") and "/images" not in short:
            name = "GET " + urlsplit(path).path
        self._watcher.saw(name)
        given = super().answer(path, headers)
        secret = self.token.encode()
        self._watcher.answered(
            name, given.body.replace(secret, b"SECRET") if secret else given.body
        )
        return given


class WatchedImagery(ImageryServer):
    """Tells a watcher what it is asked."""

    def __init__(self, watcher, folder):
        super().__init__(folder)
        self._server.handle_error = _broken_off
        self._watcher = watcher

    def answer(self, path):
        self._watcher.saw(f"GET {path}")
        given = super().answer(path)
        self._watcher.answered(f"GET {path}", given[2])
        return given


def watched_chat(watcher, respond):
    """A chat server that tells a watcher what it is asked."""

    def answer(body):
        name = f"POST {hashlib.sha256(json.dumps(body).encode()).hexdigest()[:16]}"
        watcher.saw(name)
        given = respond(body)
        watcher.answered(name, given["choices"][0]["message"]["content"].encode())
        return given

    server = ChatServer(answer)
    server._server.handle_error = _broken_off
    return server


def _broken_off(*_):
    """A process that was killed has left its connections as they were."""
    if not isinstance(sys.exception(), ConnectionError):
        traceback.print_exc()


def _is_request(name):
    return name.startswith(("GET ", "POST "))


def _content(path):
    """What a file of the cache holds of an answer."""
    data = path.read_bytes()
    return json.loads(data)["content"].encode() if path.parent.name == "describe" else data


def _curate(config, out, log, wire):
    """Run the command in this process, asking for leave before every step."""
    from typer.testing import CliRunner

    from geobridge.cli.app import app

    _ask_for_leave(Path(out), wire)
    result = CliRunner().invoke(app, ["curate", config, "--out", out])
    log.write_text(f"{result.output}\n{result.exception!r}")
    sys.exit(result.exit_code)


def _ask_for_leave(folder, wire):
    lock = threading.Lock()
    flush = os.fsync

    def tell(what, path):
        try:
            relative = Path(os.fspath(path)).relative_to(folder)
        except (TypeError, ValueError):
            return
        # What is opened is as some run before has left it.
        version = "" if what == "open" else _version(Path(path))
        with lock:
            wire.send_bytes(f"{what} {relative.as_posix()}{version}".encode())
            wire.recv_bytes()

    def hook(event, args):
        if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
            tell("open", args[0])
        elif event == "os.rename":
            tell("rename", args[0])

    def told_flush(descriptor):
        tell("flush", Path(f"/proc/self/fd/{descriptor}").readlink())
        flush(descriptor)

    sys.addaudithook(hook)
    os.fsync = told_flush


def _version(path):
    """How far a file is that is written more than once."""
    if path.suffix == ".jsonl":
        lines = path.read_bytes().splitlines()
        return f" line {len(lines)}"
    if path.name.startswith(".curate.json"):
        stages = json.loads(path.read_bytes())["stages"]
        return f" {[name for name, note in stages.items() if note['whose']]} of {list(stages)}"
    return ""
