"""A small server that speaks the chat completions API, faults included."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from geobridge.imagery.decode import read_image


def answer(text, **extra):
    """The content of a proper answer."""
    return json.dumps({"description": text, **extra})


def completion(content, finish_reason="stop", refusal=None):
    """The body of a chat completion."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "tiny-eyes",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 40, "total_tokens": 940},
    }


class Raw:
    """A response that is no completion: status, headers and body as they are."""

    def __init__(self, status, body=b"", length=None, kind="application/json", **headers):
        self.status, self.body, self.kind = status, body, kind
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.length = len(body) if length is None else length


def error(status, message, **headers):
    """An error as the API words it."""
    body = json.dumps({"error": {"message": message, "type": "x", "code": None}}).encode()
    return Raw(status, body, **headers)


class ChatServer:
    """Answers every chat with what `respond(body)` gives, unless a fault is queued.

    Attributes:
        bodies: of all requests, as they came.
        keys: the Authorization headers that came with them.
        faults: responses that are given first.
    """

    def __init__(self, respond):
        self.respond = respond
        self.bodies, self.keys, self.faults = [], [], []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, body, key):
        with self._lock:
            self.bodies.append(body)
            self.keys.append(key)
            if self.faults:
                return self.faults.pop(0)
        return self.respond(body)

    def _handler(chat):  # noqa: N805 - the handler's own self is another
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path != "/v1/chat/completions":
                    found = error(404, f"no {self.path}")
                else:
                    found = chat._take(json.loads(data), self.headers.get("Authorization"))
                if not isinstance(found, Raw):
                    found = Raw(200, json.dumps(found).encode())
                try:
                    self._send(found)
                except OSError:
                    # The client was killed.
                    self.close_connection = True

            def _send(self, found):
                self.send_response(found.status)
                for name, value in found.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", found.kind)
                self.send_header("Content-Length", str(found.length))
                self.end_headers()
                self.wfile.write(found.body)
                if found.length != len(found.body):
                    self.close_connection = True

            def log_message(self, *_):
                pass

        return Handler


def pictures_in(body):
    """The pictures of a request, uint8, in their order."""
    parts = body["messages"][1]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [read_image(base64.b64decode(url.partition(",")[2])) for url in urls]
