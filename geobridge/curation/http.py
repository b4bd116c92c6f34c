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
import re
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
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator

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
    (
        *("access_token", "api_key", "apikey", "auth", "client_secret", "key", "password"),
        *("secret", "sig", "signature", "subscription-key", "token"),
        *("x-amz-security-token", "x-amz-signature", "x-goog-signature"),
    )
)
"""Parameters of an address that may hold a secret: no key of the cache has them, no table, no
recipe; settings that do are refused."""

_T = TypeVar("_T")

_REDIRECTS = (301, 302, 303, 307, 308)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
# All that is handed out; beyond lie forms that carry an IPv4 address to who knows where
# (https://www.iana.org/assignments/ipv6-address-space).
_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")
_PASSING = (408, 425, 429, 500, 502, 503, 504)
# Of who asks (RFC 9110, sections 15.5.2 and 15.5.4), and not of what is there: another secret, or
# another day, gives another answer.
_REFUSALS = (401, 403)
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
    except RecursionError:
        raise DownloadError(
            "the answer is nested too deeply: report it there", is_final=True
        ) from None


JSON_TYPES = {"application/json": ".json", "application/geo+json": ".json"}
PICTURE_TYPES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}

PAGE = Kind("answer", JSON_TYPES, 64 << 20, _check_json)
"""A page of an API."""


def picture_kind(max_bytes: int) -> Kind:
    """A picture of at most so many bytes."""
    return Kind("picture", PICTURE_TYPES, max_bytes)


@dataclass(frozen=True)
class Part:
    """Some bytes of a file.

    Attributes:
        data: the bytes, from where they were asked for; fewer where the file ends.
        size: of the whole file in bytes.
        version: what the server says to tell one content of the file from another, perhaps empty.
    """

    data: bytes
    size: int
    version: str


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


def read_secret(variable: str) -> str:
    """The secret that a variable of the environment holds.

    Raises:
        CurationError: it is not set, or has characters that cannot be sent.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise CurationError(
            f"the environment variable {variable} is not set: put the provider's secret into it, "
            f"or leave out of the configuration what needs it."
        )
    if not (value.isascii() and value.isprintable()):
        raise CurationError(
            f"{variable} has characters that cannot be sent: copy the secret again."
        )
    return value


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

    def is_for(self, url: str) -> bool:
        """Whether it is sent to an address."""
        return origin(url) == self.origin

    def value(self) -> str:
        """The secret; raises as `read_secret` does."""
        return read_secret(self.variable)


def clear_torn(cache: Path) -> None:
    """Remove what killed downloads have left; for who alone works in the cache."""
    for torn in cache.glob("*/.*.part"):
        torn.unlink(missing_ok=True)


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
            CurationError: the credential is not set or not accepted, or the file cannot be
                written.
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

    def part(self, url: str, start: int, length: int, *, pace: Pace) -> Part:
        """Some bytes of a file, which are not kept (RFC 9110, section 14: range requests).

        Args:
            url: http or https.
            start: first byte, from 0, which the file must have.
            length: how many, from 1.
            pace: for its host.

        Raises:
            DownloadError: they did not come, or the server gives no parts of files.
        """
        asked = {"Range": f"bytes={start}-{start + length - 1}", "Accept": "*/*"}

        def attempt() -> Part:
            with self._answer(url, asked, pace, None) as answer:
                return _read_part(answer, start, length)

        return self._attempts(url, pace, f"{url} {start}", attempt)

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

        def attempt() -> Path:
            with self._answer(url, {"Accept": ", ".join(kind.suffixes)}, pace, credential) as got:
                return self._store(got, kind, stem, credential)

        try:
            return self._attempts(url, pace, stem.name, attempt)
        except OSError as error:
            raise CurationError(
                f"{stem.parent} cannot be written ({error.strerror}): make room or choose "
                f"another folder with --out."
            ) from error

    def _attempts(self, url: str, pace: Pace, name: str, attempt: Callable[[], _T]) -> _T:
        """What an attempt gives, tried again after failures that may pass; waits go by the name."""
        reason = ""
        for number in range(ATTEMPTS):
            try:
                return attempt()
            except TryAgainError as error:
                reason, after_s = str(error), error.after_s
            wait_s = _backoff_s(name, number) if after_s is None else after_s
            if wait_s > LONGEST_WAIT_S:
                raise DownloadError(
                    f"{shown(url)} asks to wait {wait_s:.0f} s ({reason}): run again later, it "
                    f"goes on where it stopped.",
                    is_final=False,
                )
            if after_s is not None:
                self._gate(url, pace).pause(after_s)
            elif number + 1 < ATTEMPTS:
                self._sleep(wait_s)
        raise DownloadError(
            f"{shown(url)} gave nothing in {ATTEMPTS} attempts ({reason}): run again later, it "
            f"goes on where it stopped.",
            is_final=False,
        )

    @contextmanager
    def _answer(
        self, url: str, asked: Mapping[str, str], pace: Pace, credential: Credential | None
    ) -> Iterator["_Answer"]:
        """The answer at the end of all redirects, whose body has not been read yet.

        Raises:
            TryAgainError, DownloadError: there is none, or one that tells of a failure.
            CurationError: the credential is not accepted.
        """
        for _ in range(MAX_REDIRECTS + 1):
            with self._gate(url, pace).turn(), self._response(url, asked, credential) as response:
                headers = _headers(response.headers)
                if response.status not in _REDIRECTS or "location" not in headers:
                    _check_status(response.status, headers, url, credential)
                    if headers.get("content-encoding", "identity").lower() != "identity":
                        raise DownloadError(
                            f"{shown(url)} is compressed, which was not asked for: use another "
                            f"server.",
                            is_final=True,
                        )
                    yield _Answer(url, response.status, headers, self._chunks(response))
                    return
                url = _joined(url, headers["location"])
        raise DownloadError(
            f"{shown(url)} is redirected more than {MAX_REDIRECTS} times: check the address.",
            is_final=True,
        )

    @contextmanager
    def _response(
        self, url: str, asked: Mapping[str, str], credential: Credential | None
    ) -> Iterator[httpcore2.Response]:
        """The answer to one request, with everything that can go wrong on the wire named."""
        headers = {
            "User-Agent": f"geobridge/{geobridge.__version__}",
            # Sizes are checked against what the server announces, which is the size it sends.
            "Accept-Encoding": "identity",
            **asked,
        }
        if credential and credential.is_for(url):
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

    def _chunks(self, response: httpcore2.Response) -> Iterator[bytes]:
        """The body, piece by piece, for as long as it may take."""
        begin = self._now()
        for chunk in response.iter_stream():
            if self._now() - begin > LONGEST_DOWNLOAD_S:
                raise TryAgainError(f"it took longer than {LONGEST_DOWNLOAD_S:.0f} s")
            yield chunk

    def _store(
        self, answer: "_Answer", kind: Kind, stem: Path, credential: Credential | None
    ) -> Path:
        """Keep a whole and fitting answer under its name, or raise."""
        if answer.status != 200:
            raise TryAgainError("a part came where the whole was asked for")
        content_type = answer.headers.get("content-type", "").split(";")[0].strip().lower()
        if content_type not in kind.suffixes:
            raise DownloadError(
                f"{shown(answer.url)} gave {content_type or 'no content type'} where a "
                f"{kind.name} was expected: check the address in a browser.",
                is_final=True,
            )
        announced = answer.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > kind.max_bytes:
            raise _too_large(answer.url, kind)
        path = stem.with_suffix(kind.suffixes[content_type])
        path.parent.mkdir(parents=True, exist_ok=True)
        part = stem.with_name(f".{stem.name}.part")
        try:
            _write(answer, part, kind)
            _finish(part, announced, kind, credential)
            part.replace(path)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return path

    def _gate(self, url: str, pace: Pace) -> "_Gate":
        host = origin(url)
        with self._lock:
            if host not in self._gates:
                self._gates[host] = _Gate(pace, self._now, self._sleep)
            return self._gates[host]


def without_secrets(url: str) -> str:
    """An address of any scheme without its fragment, user and parameters that may hold a secret.

    Raises:
        DownloadError: it is none.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _no_address(url) from None
    kept = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name.lower() not in SECRET_PARAMETERS
    ]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, urlencode(kept), ""))


def secret_in(address: str) -> str | None:
    """Where an address may hold a secret ("its parameter 'token'"), or None where nowhere."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if "@" in parts.netloc:
        return "the name before its host"
    names = (name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    found = next((name for name in names if name.lower() in SECRET_PARAMETERS), None)
    return f"its parameter {found!r}" if found else None


def _free_of_secrets(address: str) -> str:
    where = secret_in(address)
    if where:
        # Without the address: what is refused here is printed.
        raise ValueError(
            f"an address holds what may be a secret in {where}: take it out. Settings are noted "
            f"and published, so secrets come from the environment alone: tiles name the variable "
            f"in `key_variable`; other sources have to be open, or downloaded before"
        )
    return address


PlainAddress = Annotated[str, AfterValidator(_free_of_secrets)]
"""An address, or a path, of the settings: one that holds a secret is refused."""


def _with_plain_keys(value: Any) -> Any:
    for key in value if isinstance(value, Mapping) else ():
        _free_of_secrets(str(key))
    return value


PlainKeys = BeforeValidator(_with_plain_keys)
"""For settings by patterns of addresses. Of the whole, as a key would be part of its message."""


def shown(url: str) -> str:
    """An address as messages show it: without parameters, which may hold secrets."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an address that is none"
    return f"{parts.scheme}://{host}{parts.path}"


@dataclass(frozen=True)
class _Answer:
    """What came: from where, with which status and headers (lower case), and the body to come."""

    url: str
    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


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
        if inner is None and ip not in _GLOBAL_IPV6:
            return False
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


def _check_status(
    status: int, headers: Mapping[str, str], url: str, credential: Credential | None
) -> None:
    if status in (200, 206):
        return
    if status in _PASSING:
        raise TryAgainError(f"status {status}", _retry_after_s(headers))
    sent = credential.variable if credential and credential.is_for(url) else None
    if status == 401 and sent:
        # Of every address behind it the server would say the same.
        raise CurationError(
            f"{shown(url)} does not accept the secret in {sent} (status 401): put a valid one into "
            f"this environment variable and run again, it goes on where it stopped."
        )
    if status in _REFUSALS:
        advice = f"check the secret in {sent}" if sent else "it may want a secret, or ask for less"
        raise DownloadError(
            f"{shown(url)} gave status {status}: {advice}, and run the stage again.", is_final=False
        )
    raise DownloadError(f"{shown(url)} gave status {status}: check the address.", is_final=True)


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


def _write(answer: _Answer, part: Path, kind: Kind) -> None:
    size = 0
    with part.open("wb") as file:
        for chunk in answer.chunks:
            size += len(chunk)
            if size > kind.max_bytes:
                raise _too_large(answer.url, kind)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _read_part(answer: _Answer, start: int, length: int) -> Part:
    """The bytes of an answer to a range request.

    Raises:
        TryAgainError: it was cut off.
        DownloadError: it is of other bytes than those asked for.
    """
    found = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if answer.status != 206 or found is None:
        raise DownloadError(
            f"{shown(answer.url)} cannot be read in parts: download the file and name it in place "
            f"of its address.",
            is_final=True,
        )
    first, last, size = (int(number) for number in found.groups())
    if (first, last) != (start, min(start + length, size) - 1):
        raise DownloadError(
            f"{shown(answer.url)} gave bytes {first} to {last} of {size} where {length} from "
            f"{start} were asked for: use another server.",
            is_final=True,
        )
    data = bytearray()
    for chunk in answer.chunks:
        data += chunk
        if len(data) > length:
            break
    if len(data) != last - first + 1:
        raise TryAgainError(f"{len(data)} of {last - first + 1} bytes came")
    version = answer.headers.get("etag") or answer.headers.get("last-modified", "")
    return Part(bytes(data), size, version)


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


def origin(url: str) -> str:
    """Scheme and host of an address, as a `Credential` has it.

    Raises:
        DownloadError: it is none of http or https.
    """
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def is_below(url: str, root: str) -> bool:
    """Whether an address is that of a root, or of something below it."""
    try:
        path, base = _split(url).path, _split(root).path.rstrip("/")
        return origin(url) == origin(root) and (path == base or path.startswith(f"{base}/"))
    except DownloadError:
        return False


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
