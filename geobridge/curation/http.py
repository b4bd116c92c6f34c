"""Everything the pipeline downloads: politely, within bounds, and once.

Synchronous, called from a few threads: a stage reads from top to bottom, what limits it is the
pace a server allows, and a dozen threads are enough for that. Under it is httpcore, the engine of
httpx, since its public interface lets a connection be made to the very address that was checked:
checking a name first and letting a client resolve it again would leave a gap between the two.
Proxies of the environment are not used, for the same reason.
"""

import datetime as clock
import hashlib
import ipaddress
import json
import os
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

import geobridge
from geobridge.errors import CurationError, MissingExtraError
from geobridge.files import write_atomically

try:
    import httpcore2
except ImportError as error:
    raise MissingExtraError("Curation", "httpcore2", "curate") from error

ATTEMPTS = 6
"""How often one address is asked before it is given up."""

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 120.0
"""Longest pause between two attempts; a server that wants a longer one is left in peace."""

LONGEST_DOWNLOAD_S = 600.0
MAX_REDIRECTS = 5
TIMEOUT_S = 30.0
"""For connecting, and for the next bytes to come."""

SECRET_PARAMETERS = frozenset(
    ("access_token", "api_key", "apikey", "client_secret", "key", "sig", "signature", "token")
)
"""Parameters of an address that may hold a secret: no key of the cache has them."""

_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_STRIPES = 64


class DownloadError(CurationError):
    """An address gave nothing that can be used.

    Attributes:
        is_final: whether asking again would give the same; False after failures that may pass.
    """

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


class TryAgainError(Exception):
    """The answer is of no use now, and may be after a while; the message says why.

    Attributes:
        after_s: how long the server asked to wait, where it did.
    """

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


@dataclass(frozen=True)
class Kind:
    """What may come from an address.

    Attributes:
        name: for messages ("picture").
        suffixes: from the content types that are taken to the suffix of their files.
        max_bytes: the largest that is taken.
        check: is given the whole content before it is kept; raises `TryAgainError` or
            `DownloadError`. None takes whatever comes.
    """

    name: str
    suffixes: Mapping[str, str]
    max_bytes: int
    check: Callable[[bytes], None] | None = None


def _check_json(data: bytes) -> None:
    try:
        json.loads(data)
    except ValueError:
        raise TryAgainError("the answer is not JSON") from None


JSON_TYPES = {"application/json": ".json", "application/geo+json": ".json"}
PICTURE_TYPES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}

PAGE = Kind("answer", JSON_TYPES, 64 << 20, _check_json)
"""A page of an API."""


def picture_kind(max_bytes: int) -> Kind:
    """A picture of at most so many bytes."""
    return Kind("picture", PICTURE_TYPES, max_bytes)


@dataclass(frozen=True)
class Pace:
    """What one host is asked to bear; the first pace it is met with holds.

    Attributes:
        per_second: requests a second.
        connections: requests at once.
    """

    per_second: float = 5.0
    connections: int = 4


def is_set(variable: str) -> bool:
    """Whether a variable of the environment holds a secret."""
    return bool(os.environ.get(variable, "").strip())


@dataclass(frozen=True)
class Credential:
    """A secret of the environment: sent to one origin, over TLS, and written nowhere.

    Attributes:
        variable: of the environment.
        origin: `https://host`; no other is sent the secret, whatever redirects or links say.
        header: name of the header that carries it, or None.
        prefix: what stands before it in the header.
        parameter: name of the parameter that carries it, or None.
    """

    variable: str
    origin: str
    header: str | None = None
    prefix: str = ""
    parameter: str | None = None

    def value(self) -> str:
        """The secret.

        Raises:
            CurationError: it is not set, or has characters that cannot be sent.
        """
        value = os.environ.get(self.variable, "").strip()
        if not value:
            raise CurationError(
                f"{self.variable} is not set: put the provider's secret into this environment "
                f"variable, or leave the provider out of the configuration."
            )
        if not (value.isascii() and value.isprintable()):
            raise CurationError(
                f"{self.variable} has characters that cannot be sent: copy the secret again."
            )
        return value


class Client:
    """Downloads into a cache, each address once; to be used in a `with`, from any thread.

    Args:
        cache: folder the files are kept in, by the digest of their address without secrets.
        allow_private: whether addresses of this machine and its networks may be asked, which
            answers of a provider must not lead to.
        now: seconds of a steady clock.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        cache: Path,
        *,
        allow_private: bool = False,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cache = cache
        self._allow_private = allow_private
        self._now = now
        self._sleep = sleep
        self._gates: dict[str, _Gate] = {}
        self._lock = threading.Lock()
        # Of two threads that want one address, the second finds what the first has kept.
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        self._pool = httpcore2.ConnectionPool(
            ssl_context=_ssl_context(),
            max_connections=None,
            network_backend=httpcore2.SyncBackend() if allow_private else _PublicBackend(),
        )
        for torn in cache.glob("*/.*.part"):
            torn.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.close()

    def cached(self, key: str, kind: Kind) -> Path | None:
        """The file an address was kept in, or None where it was not downloaded yet."""
        stem = self._stem(key)
        files = (stem.with_suffix(suffix) for suffix in sorted(set(kind.suffixes.values())))
        return next((path for path in files if path.is_file()), None)

    def fetch(
        self,
        url: str,
        kind: Kind,
        *,
        pace: Pace,
        key: str | None = None,
        credential: Credential | None = None,
    ) -> Path:
        """The file of an address, downloaded unless it was before.

        Args:
            url: http or https.
            kind: what is taken.
            pace: for its host.
            key: what the file is kept under, where the address changes from day to day; by
                default the address without parameters that may hold secrets.
            credential: is sent along, where the address is of its origin.

        Raises:
            DownloadError: nothing that can be used came.
            CurationError: the credential is not set, or the file cannot be written.
        """
        key = key or without_secrets(url)
        stem = self._stem(key)
        with self._stripes[int(stem.name[:4], 16) % _STRIPES]:
            return self.cached(key, kind) or self._download(url, kind, stem, pace, credential)

    def page(
        self, url: str, *, pace: Pace, key: str | None = None, credential: Credential | None = None
    ) -> Any:
        """The JSON of an address, kept like a file; arguments and errors are those of `fetch`."""
        path = self.fetch(url, PAGE, pace=pace, key=key, credential=credential)
        return json.loads(path.read_bytes())

    def ask(self, url: str, *, pace: Pace, credential: Credential | None = None) -> Any:
        """The JSON of an address as it is now, which is not kept; raises as `fetch` does."""
        with tempfile.TemporaryDirectory() as folder:
            stem = Path(folder) / "answer"
            return json.loads(self._download(url, PAGE, stem, pace, credential).read_bytes())

    def keep(self, data: bytes, suffix: str) -> Path:
        """Keep what needs no download, by the digest of its content."""
        path = self._stem_of(hashlib.sha256(data).hexdigest()).with_suffix(suffix)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
        return path

    def _stem(self, key: str) -> Path:
        return self._stem_of(hashlib.sha256(key.encode()).hexdigest())

    def _stem_of(self, digest: str) -> Path:
        return self._cache / digest[:2] / digest

    def _download(
        self, url: str, kind: Kind, stem: Path, pace: Pace, credential: Credential | None
    ) -> Path:
        if credential:
            _check_secure(credential, self._allow_private)
        reason = ""
        for attempt in range(ATTEMPTS):
            try:
                return self._follow(url, kind, stem, pace, credential)
            except TryAgainError as error:
                reason, after_s = str(error), error.after_s
            except OSError as error:
                raise CurationError(
                    f"{stem.parent} cannot be written ({error.strerror}): make room or choose "
                    f"another folder with --out."
                ) from error
            wait_s = _backoff_s(stem.name, attempt) if after_s is None else after_s
            if wait_s > LONGEST_WAIT_S:
                raise DownloadError(
                    f"{shown(url)} asks to wait {wait_s:.0f} s ({reason}): run again later, it "
                    f"goes on where it stopped.",
                    is_final=False,
                )
            if after_s is not None:
                self._gate(url, pace).pause(after_s)
            elif attempt + 1 < ATTEMPTS:
                self._sleep(wait_s)
        raise DownloadError(
            f"{shown(url)} gave nothing in {ATTEMPTS} attempts ({reason}): run again later, it "
            f"goes on where it stopped.",
            is_final=False,
        )

    def _follow(
        self, url: str, kind: Kind, stem: Path, pace: Pace, credential: Credential | None
    ) -> Path:
        """One attempt, through all redirects."""
        for _ in range(MAX_REDIRECTS + 1):
            with self._gate(url, pace).turn(), self._response(url, kind, credential) as response:
                headers = _headers(response.headers)
                if response.status not in _REDIRECTS or "location" not in headers:
                    return self._store(response, headers, url, kind, stem, credential)
                url = _joined(url, headers["location"])
        raise DownloadError(
            f"{shown(url)} is redirected more than {MAX_REDIRECTS} times: check the address.",
            is_final=True,
        )

    @contextmanager
    def _response(
        self, url: str, kind: Kind, credential: Credential | None
    ) -> Iterator[httpcore2.Response]:
        """The answer to one request, with everything that can go wrong on the wire named."""
        headers = {
            "User-Agent": f"geobridge/{geobridge.__version__}",
            "Accept": ", ".join(kind.suffixes),
            # Sizes are checked against what the server announces, which is the size it sends.
            "Accept-Encoding": "identity",
        }
        if credential and _origin(url) == credential.origin:
            url, headers = _with_secret(url, headers, credential)
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
        try:
            with self._pool.stream(
                "GET", _encoded(url), headers=list(headers.items()), extensions={"timeout": timeout}
            ) as response:
                yield response
        except _PrivateAddressError:
            raise DownloadError(
                f"{shown(url)} is an address of this machine or its networks: set allow_private "
                f"if the provider is yours.",
                is_final=True,
            ) from None
        except (httpcore2.TimeoutException, httpcore2.NetworkError) as error:
            raise TryAgainError(f"the connection failed: {type(error).__name__}") from None
        except httpcore2.RemoteProtocolError:
            raise TryAgainError("the answer broke off or is not HTTP") from None
        except (httpcore2.LocalProtocolError, httpcore2.UnsupportedProtocol):
            # Without the cause: it may quote a header.
            raise _no_address(url) from None

    def _store(
        self,
        response: httpcore2.Response,
        headers: Mapping[str, str],
        url: str,
        kind: Kind,
        stem: Path,
        credential: Credential | None,
    ) -> Path:
        """Keep a whole and fitting answer under its name, or raise."""
        _check_status(response.status, headers, url)
        content_type = headers.get("content-type", "").split(";")[0].strip().lower()
        if content_type not in kind.suffixes:
            raise DownloadError(
                f"{shown(url)} gave {content_type or 'no content type'} where a {kind.name} was "
                f"expected: check the address in a browser.",
                is_final=True,
            )
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise DownloadError(
                f"{shown(url)} is compressed, which was not asked for: use another server.",
                is_final=True,
            )
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > kind.max_bytes:
            raise _too_large(url, kind)
        path = stem.with_suffix(kind.suffixes[content_type])
        path.parent.mkdir(parents=True, exist_ok=True)
        part = stem.with_name(f".{stem.name}.part")
        try:
            self._write(response.iter_stream(), part, url, kind)
            _finish(part, announced, kind, credential)
            part.replace(path)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return path

    def _write(self, chunks: Iterable[bytes], part: Path, url: str, kind: Kind) -> None:
        size, begin = 0, self._now()
        with part.open("wb") as file:
            for chunk in chunks:
                size += len(chunk)
                if size > kind.max_bytes:
                    raise _too_large(url, kind)
                if self._now() - begin > LONGEST_DOWNLOAD_S:
                    raise TryAgainError(f"it took longer than {LONGEST_DOWNLOAD_S:.0f} s")
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    def _gate(self, url: str, pace: Pace) -> "_Gate":
        host = _origin(url)
        with self._lock:
            if host not in self._gates:
                self._gates[host] = _Gate(pace, self._now, self._sleep)
            return self._gates[host]


def without_secrets(url: str) -> str:
    """An address without its fragment and without parameters that may hold a secret."""
    parts = _split(url)
    kept = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name.lower() not in SECRET_PARAMETERS
    ]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(kept), ""))


def shown(url: str) -> str:
    """An address as messages show it: without parameters, which may hold secrets."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an address that is none"
    return f"{parts.scheme}://{host}{parts.path}"


class _Gate:
    """Lets requests to one host pass one after the other, at its pace."""

    def __init__(
        self, pace: Pace, now: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._free = threading.BoundedSemaphore(pace.connections)
        self._interval_s = 1 / pace.per_second
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and count as a connection while inside."""
        with self._free:
            while wait_s := self._wait_s():
                self._sleep(wait_s)
            yield

    def _wait_s(self) -> float:
        """How long it is to the next turn; 0 takes it."""
        with self._lock:
            now = self._now()
            if self._next > now:
                return self._next - now
            self._next = now + self._interval_s
            return 0.0

    def pause(self, seconds: float) -> None:
        """Let no request pass for so long."""
        with self._lock:
            self._next = max(self._next, self._now() + seconds)


class _PrivateAddressError(Exception):
    pass


class _PublicBackend(httpcore2.SyncBackend):
    """Connects to public addresses alone, and to none but those it has checked."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(str(error)) from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not all(is_public(address) for address in addresses):
            raise _PrivateAddressError
        for address in addresses[:-1]:
            with suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                return super().connect_tcp(address, port, timeout, local_address, socket_options)
        return super().connect_tcp(addresses[-1], port, timeout, local_address, socket_options)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open internet, in whatever way it is written.

    Not private, loopback, link-local, reserved or multicast.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # An IPv6 address that carries an IPv4 one leads where that leads.
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    return ip.is_global and not ip.is_multicast


def _ssl_context() -> ssl.SSLContext:
    return httpcore2.default_ssl_context()


def _check_secure(credential: Credential, allow_private: bool) -> None:
    if not (credential.origin.startswith("https://") or allow_private):
        raise CurationError(
            f"{credential.variable} would be sent unencrypted to {credential.origin}: give the "
            f"provider's address with https."
        )


def _with_secret(
    url: str, headers: Mapping[str, str], credential: Credential
) -> tuple[str, dict[str, str]]:
    value = credential.value()
    if credential.parameter:
        url += ("&" if urlsplit(url).query else "?") + urlencode({credential.parameter: value})
    if credential.header:
        return url, {**headers, credential.header: credential.prefix + value}
    return url, dict(headers)


def _check_status(status: int, headers: Mapping[str, str], url: str) -> None:
    if status == 200:
        return
    if status in _PASSING:
        raise TryAgainError(f"status {status}", _retry_after_s(headers))
    advice = "check the provider's secret" if status in (401, 403) else "check the address"
    raise DownloadError(f"{shown(url)} gave status {status}: {advice}.", is_final=True)


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds a server asks to wait (RFC 9110, section 10.2.3: seconds or a date), or None."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    until = _date(text)
    if until is None:
        return None
    # By the server's own clock where it tells it: ours may go wrong.
    now = _date(headers.get("date", "")) or clock.datetime.now(clock.UTC)
    return max(0.0, (until - now).total_seconds())


def _date(text: str) -> clock.datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=clock.UTC)


def _backoff_s(digest: str, attempt: int) -> float:
    """Doubles with each attempt, times 0.5 to 1.5 by what is asked for.

    The digest in place of chance: of many addresses that failed together no two come back
    together, and yet a run waits the same each time.
    """
    spread = int(hashlib.sha256(f"{digest} {attempt}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**attempt * (0.5 + spread))


def _finish(part: Path, announced: str, kind: Kind, credential: Credential | None) -> None:
    """Check a downloaded file, and take out of it a secret that the server repeats."""
    size = part.stat().st_size
    if not size or (announced.isdecimal() and size != int(announced)):
        raise TryAgainError(f"{size} of {announced or 'some'} bytes came")
    if kind.check is None:
        return
    data = part.read_bytes()
    if credential:
        # Links to a next page repeat it, and pages are kept.
        value = credential.value()
        for form in {value, quote(value, safe=""), value.replace("/", "\\/")}:
            data = data.replace(form.encode(), b"SECRET")
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    kind.check(data)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def _too_large(url: str, kind: Kind) -> DownloadError:
    return DownloadError(
        f"{shown(url)} is larger than the {kind.max_bytes:,} bytes a {kind.name} may have: allow "
        f"more in the configuration.",
        is_final=True,
    )


def _no_address(url: str) -> DownloadError:
    return DownloadError(
        f"{shown(url)} is no http or https address that can be asked: check it.", is_final=True
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise _no_address(url) from None
    # A name and password in an address would end up in tables.
    if not is_address or "@" in parts.netloc:
        raise _no_address(url)
    return parts


def _origin(url: str) -> str:
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise _no_address(location) from None


def _encoded(url: str) -> str:
    """An address in ASCII: names by IDNA, everything else in per cent."""
    parts = _split(url)
    try:
        host = parts.netloc.encode("idna").decode()
    except UnicodeError:
        raise _no_address(url) from None
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?|")
    return urlunsplit((parts.scheme, host, path, query, ""))
