import re
import socket
import threading

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from ground_stage import LAT, LON, expected_crop, north_up, paint, write_raster
from provider_servers import Fault, ProviderServer

from geobridge.curation import remote
from geobridge.curation.http import ATTEMPTS, Client, DownloadError
from geobridge.curation.rasters import opened
from geobridge.curation.remote import BLOCK_BYTES, RemoteFile, RemoteFiles, remote_files
from geobridge.errors import RasterError


class FileServer(ProviderServer):
    """Serves the files of a folder, whole or in parts, and gives the faults of a path before.

    Attributes:
        version: the entity tag of every file.
        lie: what its Content-Range says in place of the truth, or None.
        parts: whether it gives parts of files.
    """

    def __init__(self, folder):
        super().__init__([])
        self.folder = folder
        self.version = '"1"'
        self.lie = None
        self.parts = True

    def answer(self, path, headers):
        with self._lock:
            self.asked.append((path, headers.get("Range")))
            if self.faults.get(path):
                return self.faults[path].popleft()
        file = self.folder / path.lstrip("/").partition("?")[0]
        if not file.is_file():
            return Fault(404)
        data = file.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("Range", ""))
        if wanted is None or not self.parts:
            return Fault(headers={"Content-Type": "image/tiff"}, body=data)
        first, last = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
        said = {
            "Content-Type": "image/tiff",
            "Content-Range": self.lie or f"bytes {first}-{last}/{len(data)}",
            "ETag": self.version,
        }
        return Fault(206, said, data[first : last + 1])


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    with FileServer(tmp_path / "served") as one:
        yield one


@pytest.fixture
def client(tmp_path):
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    cache = tmp_path / "cache"
    with Client(cache, allow_private=True, now=lambda: now[0], sleep=sleep) as one:
        yield one


@pytest.fixture
def files(client):
    return RemoteFiles(client)


def url_of(server, name="town.tif"):
    return f"{server.origin}/{name}"


@pytest.fixture(scope="module")
def town_bytes(tmp_path_factory):
    """A tiled raster with overviews, many blocks large."""
    folder = tmp_path_factory.mktemp("town")
    plain = paint(folder / "plain.tif", px=600)
    rasterio.shutil.copy(plain, folder / "town.tif", driver="COG", compress="NONE", blocksize=128)
    return (folder / "town.tif").read_bytes()


@pytest.fixture
def town(server, town_bytes):
    path = server.folder / "town.tif"
    path.write_bytes(town_bytes)
    return path


def test_a_window_is_read_of_a_few_parts(server, files, town):
    size = town.stat().st_size

    with opened(url_of(server), files) as raster:
        picture, has_data = raster.read_north_up(LAT, LON, 100, 100)

    assert has_data.all()
    assert np.abs(picture.astype(int) - expected_crop(LAT, LON, 100, 100)).mean() < 6
    asked = [wanted for _, wanted in server.asked]
    lengths = [int(b) - int(a) + 1 for a, b in (w.removeprefix("bytes=").split("-") for w in asked)]
    assert len(asked) < 10
    assert sum(lengths) < size / 2
    assert all(length % BLOCK_BYTES == 0 for length in lengths)
    assert {path for path, _ in server.asked} == {"/town.tif"}


@pytest.mark.usefixtures("town")
def test_what_was_read_is_remembered_over_openings(server, files):
    for _ in range(2):
        with opened(url_of(server), files) as raster:
            raster.read_north_up(LAT, LON, 100, 100)
        count = len(server.asked)

    assert len(server.asked) == count
    assert len(set(server.asked)) == len(server.asked)


def test_bytes_are_those_of_the_file(server, files):
    data = b"II*\0" + np.random.default_rng(0).bytes(5 * BLOCK_BYTES + 77)
    (server.folder / "town.tif").write_bytes(data)
    failures = []
    file = RemoteFile(files, url_of(server), failures)

    for start, length in [(0, 3), (BLOCK_BYTES - 2, 5), (3 * BLOCK_BYTES, BLOCK_BYTES), (10, 0)]:
        file.seek(start)
        assert file.read(length) == data[start : start + length]
        assert file.tell() == start + length
    assert file.seek(0, 2) == len(data)
    assert file.read(10) == b""
    file.seek(-5, 2)
    assert file.read() == data[-5:]
    file.seek(len(data) + 10)
    assert file.read(10) == b""
    file.seek(0)
    assert file.read() == data
    assert failures == []


def test_memory_is_bounded(server, client, monkeypatch):
    monkeypatch.setattr(remote, "_REMEMBERED_BLOCKS", 2)
    (server.folder / "town.tif").write_bytes(b"II*\0" + b"x" * 4 * BLOCK_BYTES)
    files = RemoteFiles(client)
    for number in (0, 1, 2, 3, 3, 0):
        files.read(url_of(server), number * BLOCK_BYTES, 4)

    assert [int(wanted[6:].split("-")[0]) // BLOCK_BYTES for _, wanted in server.asked] == [
        *(0, 1, 2, 3, 0),
    ]


@pytest.mark.usefixtures("town")
def test_redirects_are_followed_by_our_own_rules(server, files):
    there = [Fault(302, {"Location": "/town.tif?signed=1"})] * 100
    server.faults["/moved.tif"].extend(there)

    with opened(url_of(server, "moved.tif"), files) as raster:
        assert raster.read_north_up(LAT, LON, 100, 100)[1].all()

    server.faults["/round.tif"].extend([Fault(302, {"Location": "/round.tif"})] * 100)
    with pytest.raises(RasterError, match="redirected more than"):
        opened(url_of(server, "round.tif"), files).__enter__()


@pytest.mark.usefixtures("town")
def test_a_redirect_from_a_public_to_a_private_address_is_refused(server, tmp_path, monkeypatch):
    # The name is public when it is looked up; what it answers leads inside.
    port = int(server.origin.rsplit(":", 1)[1])
    server.faults["/moved.tif"].append(Fault(302, {"Location": url_of(server)}))
    true_getaddrinfo, true_create = socket.getaddrinfo, socket.create_connection
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

    with (
        remote_files(tmp_path / "cache", allow_private=False) as files,
        pytest.raises(RasterError, match="this machine or its networks: set allow_private"),
    ):
        opened(f"http://open.example:{port}/moved.tif", files).__enter__()

    assert [path for path, _ in server.asked] == ["/moved.tif"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/a.tif",
        "http://2130706433:9/a.tif",
        "http://0177.0.0.1:9/a.tif",
        "http://[::ffff:10.0.0.1]:9/a.tif",
    ],
)
def test_private_addresses_are_refused(tmp_path, url):
    with (
        remote_files(tmp_path, allow_private=False) as files,
        pytest.raises(RasterError, match="this machine or its networks"),
    ):
        opened(url, files).__enter__()


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a.tif",
        "zip+https://open.example/a.zip!a.tif",
        "/vsizip/vsicurl/http://open.example/a.zip/a.tif",
        "file:///etc/passwd",
        "https://name:word@open.example/a.tif",
    ],
)
def test_other_kinds_of_addresses_are_refused(files, url):
    with pytest.raises(RasterError, match=r"no http or https address|cannot be opened"):
        opened(url, files).__enter__()


def test_a_file_that_was_missing_is_found_when_it_is_there(server, files, town_bytes):
    with pytest.raises(RasterError, match=r"town\.tif gave status 404: check the address"):
        opened(url_of(server), files).__enter__()

    (server.folder / "town.tif").write_bytes(town_bytes)

    with opened(url_of(server), files) as raster:
        assert raster.read_north_up(LAT, LON, 100, 100)[1].all()


def test_a_body_that_is_cut_off_is_asked_for_again(server, files, town):
    data, end = town.read_bytes(), BLOCK_BYTES - 1
    said = {"Content-Range": f"bytes 0-{end}/{len(data)}", "Content-Length": str(end + 1)}
    server.faults["/town.tif"].extend(
        [
            Fault(206, said, data[: end + 1], cut=100),
            Fault(206, said | {"Content-Length": "50"}, data[:50]),
            Fault(503),
        ]
    )

    with opened(url_of(server), files) as raster:
        assert raster.read_north_up(LAT, LON, 100, 100)[1].all()


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_what_did_not_come_is_an_error_and_no_picture(server, client, monkeypatch, failing, town):
    # Whatever part fails for good - header, offsets or pixels - nothing is read of the rest.
    monkeypatch.setattr(remote, "BLOCK_BYTES", 4096)
    true_part, count = Client.part, [0]

    def part(self, url, start, length, *, pace):
        count[0] += 1
        if count[0] >= failing:
            raise DownloadError("nothing came, run again later", is_final=False)
        return true_part(self, url, start, length, pace=pace)

    with monkeypatch.context() as patch:
        patch.setattr(Client, "part", part)
        files = RemoteFiles(client)
        with (
            pytest.raises(RasterError, match="nothing came, run again later"),
            opened(url_of(server), files) as raster,
        ):
            raster.read_north_up(LAT, LON, 100, 100)

    assert count[0] == failing
    assert town.is_file()


@pytest.mark.usefixtures("town")
def test_a_reader_goes_on_after_a_failure_that_passes(server, files):
    with opened(url_of(server), files) as raster:
        server.faults["/town.tif"].extend([Fault(500)] * ATTEMPTS)
        with pytest.raises(RasterError, match=f"nothing in {ATTEMPTS} attempts"):
            raster.read_north_up(LAT, LON, 100, 100)

        picture, has_data = raster.read_north_up(LAT, LON, 100, 100)

    assert has_data.all()
    assert np.abs(picture.astype(int) - expected_crop(LAT, LON, 100, 100)).mean() < 6


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ("bytes 5-9/100", "gave bytes 5 to 9 of 100 where"),
        ("bytes 0-65535/*", "cannot be read in parts"),
        ("no", "cannot be read in parts"),
    ],
)
@pytest.mark.usefixtures("town")
def test_servers_that_give_other_bytes_are_refused(server, files, lie, reason):
    server.lie = lie
    with pytest.raises(RasterError, match=reason):
        opened(url_of(server), files).__enter__()
    assert len(server.asked) == 1


@pytest.mark.usefixtures("town")
def test_a_server_that_gives_no_parts_is_refused(server, files):
    server.parts = False
    with pytest.raises(RasterError, match="cannot be read in parts: download the file"):
        opened(url_of(server), files).__enter__()


@pytest.mark.usefixtures("town")
def test_a_file_that_changes_while_it_is_read_is_refused(server, files):
    with opened(url_of(server), files) as raster:
        server.version = '"2"'
        with pytest.raises(RasterError, match="was changed while it was read"):
            raster.read_north_up(LAT, LON, 100, 100)


def test_what_is_no_geotiff_is_refused_by_its_content(server, files):
    (server.folder / "trap.tif").write_text("<VRTDataset/>")
    with pytest.raises(RasterError, match=r"trap\.tif is no GeoTIFF"):
        opened(url_of(server, "trap.tif"), files).__enter__()


def test_a_geotiff_that_names_another_file_is_refused(server, files, tmp_path):
    # GDAL takes overviews from the file that is named there, of any format and on any machine.
    secret = write_raster(
        tmp_path / "secret.tif", np.full((300, 300, 3), 250, np.uint8), "EPSG:32632",
        north_up("EPSG:32632", 300, 300, 2.0, 2.0),
    )  # fmt: skip
    trap = paint(server.folder / "trap.tif")
    with rasterio.open(trap, "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(secret))
    # Such is GDAL: if one day it no longer is, the check may go.
    with rasterio.open(trap) as dataset:
        assert dataset.read(1, out_shape=(150, 150)).min() == 250

    with pytest.raises(RasterError, match=r"trap\.tif names another file"):
        opened(url_of(server, "trap.tif"), files).__enter__()


def test_a_geotiff_of_one_huge_block_is_refused(server, files):
    # Few bytes on the wire, a gigabyte in memory.
    with rasterio.open(
        server.folder / "bomb.tif", "w", driver="GTiff", width=16384, height=16384, count=3,
        dtype="uint8", crs="EPSG:32632", transform=north_up("EPSG:32632", 16384, 16384, 0.1, 0.1),
        compress="DEFLATE", tiled=True, blockxsize=16384, blockysize=16384, sparse_ok=True,
    ):  # fmt: skip
        pass
    with pytest.raises(RasterError, match="blocks too large"):
        opened(url_of(server, "bomb.tif"), files).__enter__()


def test_a_reading_of_too_much_at_once_is_refused(server, files, monkeypatch):
    monkeypatch.setattr(remote, "MOST_BYTES", 1000)
    (server.folder / "town.tif").write_bytes(b"II*\0" + b"x" * 10_000)
    assert len(files.read(url_of(server), 0, 1000)) == 1000
    with pytest.raises(DownloadError, match=r"parts of less than 1,001 bytes"):
        files.read(url_of(server), 0, 1001)


def test_files_beside_it_are_not_looked_for(server, files):
    paint(server.folder / "town.tif")
    for name in ("town.tif.ovr", "town.tif.aux.xml", "town.tif.msk", "town.tfw"):
        (server.folder / name).write_bytes(b"no")

    with opened(url_of(server), files) as raster:
        raster.read_mask(50)
        raster.read_north_up(LAT, LON, 100, 20)
        assert raster.tags["AREA_OR_POINT"] == "Area"

    assert {path for path, _ in server.asked} == {"/town.tif"}


@pytest.mark.usefixtures("town")
def test_it_is_opened_in_any_thread(server, files):
    shares = []

    def read():
        with opened(url_of(server), files) as raster:
            shares.append(raster.read_north_up(LAT, LON, 100, 100)[1].mean())

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()

    assert shares == [1.0]


@pytest.mark.usefixtures("town")
def test_it_is_read_from_several_threads(server, files):
    pictures = []
    with opened(url_of(server), files) as raster:
        first, _ = raster.read_north_up(LAT, LON, 100, 100)
        threads = [
            threading.Thread(
                target=lambda: pictures.append(raster.read_north_up(LAT, LON, 100, 100)[0])
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(pictures) == 4
    assert all((picture == first).all() for picture in pictures)
