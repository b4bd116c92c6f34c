import json
from dataclasses import replace

import provider_servers as servers
import pytest

from geobridge.curation.http import Client, DownloadError, picture_kind
from geobridge.curation.providers import (
    ELSEWHERE,
    OUTSIDE,
    SWAPPED,
    Bounds,
    Panorama,
    located,
)
from geobridge.curation.providers.folder import Folder, FolderConfig
from geobridge.curation.providers.google import Google, GoogleConfig
from geobridge.curation.providers.mapillary import Mapillary, MapillaryConfig
from geobridge.curation.providers.panoramax import Panoramax, PanoramaxConfig
from geobridge.errors import CurationError

PICTURE = picture_kind(1_000_000)
FAST = 1e6
TOKEN = "MLY|1|abc"  # noqa: S105 - opens nothing

# Half a kilometre around 48 N, 11 E, and a grid of shots in it, in more than one part.
BOUNDS = Bounds(10.995, 47.995, 11.015, 48.005)
SHOTS = [
    servers.Shot(f"p{row}{column}", 47.996 + row * 0.002, 10.996 + column * 0.003, servers.jpeg())
    for row in range(4)
    for column in range(6)
]


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("MAPILLARY_TOKEN", TOKEN)
    monkeypatch.setenv("GOOGLE_MAPS_KEY", TOKEN)
    with Client(tmp_path / "cache", allow_private=True) as one:
        yield one


def panoramax(server, client, **settings):
    config = PanoramaxConfig(url=server.panoramax, requests_per_second=FAST, **settings)
    return Panoramax(config, client, PICTURE)


def mapillary(server, client):
    config = MapillaryConfig(url=server.mapillary, requests_per_second=FAST)
    return Mapillary(config, client, PICTURE)


def google(server, client):
    config = GoogleConfig(url=server.google, requests_per_second=FAST, i_accept_the_terms=True)
    return Google(config, client, PICTURE)


def ids(panoramas):
    return sorted({panorama.id for panorama in panoramas})


# -- boxes ---------------------------------------------------------------------------------------


def test_bounds_are_split_into_equal_parts():
    parts = Bounds(0.0, 0.0, 0.025, 0.01).split(0.01)

    assert len(parts) == 3
    assert parts[0].west == 0.0
    assert parts[-1].east == 0.025
    assert all(part.east - part.west == pytest.approx(0.025 / 3) for part in parts)
    assert [part.east for part in parts[:-1]] == [part.west for part in parts[1:]]
    assert Bounds(0.0, 0.0, 0.01, 0.01).split(0.01) == [Bounds(0.0, 0.0, 0.01, 0.01)]
    assert len(Bounds(0.0, 0.0, 1.0, 1.0).quarters()) == 4


@pytest.mark.parametrize(
    ("lat", "lon", "fault"),
    [
        (48.0, 11.0, None),
        (None, 11.0, "the provider gives no position"),
        ("48", 11.0, "the provider gives no position"),
        (True, 11.0, "the provider gives no position"),
        (float("nan"), 11.0, "the provider gives no position"),
        (10**400, 11.0, "the provider gives no position"),
        (0, 0, "the position is lat 0, lon 0, which devices write when they have no position"),
        (120.0, 30.0, "the position is lat 120.0, lon 30.0, which is no latitude"),
        (95.0, 200.0, "the position is lat 95.0, lon 200.0"),
    ],
)
def test_positions_are_checked(lat, lon, fault):
    panorama = located(Panorama("a", "p"), lat, lon)

    assert panorama.fault == fault
    assert (panorama.lat is None) == (fault is not None)


# -- the APIs ------------------------------------------------------------------------------------


def test_what_panoramax_says_of_a_picture(client):
    with servers.ProviderServer(SHOTS[:1]) as server:
        (found,) = panoramax(server, client).search(Bounds(10.995, 47.995, 11.0, 48.0))

    assert found == Panorama(
        id="p00",
        provider="panoramax",
        lat=47.996,
        lon=10.996,
        captured="2024-05-01T10:00:00Z",
        heading_deg=90.0,
        url=f"{server.origin}/pictures/p00.jpg",
        width=128,
        height=64,
        size_bytes=len(SHOTS[0].jpeg),
        licence="etalab-2.0",
        attribution="A. Surveyor",
        is_360=True,
    )
    assert found.pano_id == "panoramax:p00"


def test_what_mapillary_says_of_a_picture(client):
    shot = replace(SHOTS[0], captured="2024-05-01T12:00:00+02:00", is_360=False, heading_deg=-90.0)
    with servers.ProviderServer([shot], token=TOKEN) as server:
        (found,) = mapillary(server, client).search(Bounds(10.995, 47.995, 11.0, 48.0))

    assert found == Panorama(
        id="p00",
        provider="mapillary",
        lat=47.996,
        lon=10.996,
        captured="2024-05-01T10:00:00Z",
        heading_deg=270.0,
        url=f"{server.mapillary}/p00?fields=thumb_original_url",
        width=128,
        height=64,
        licence="CC-BY-SA-4.0",
        attribution="Mapillary, a_surveyor",
        is_360=False,
    )


def test_what_google_says_of_a_picture(client):
    with servers.ProviderServer(SHOTS[:1], token=TOKEN) as server:
        found = list(google(server, client).search(Bounds(10.9955, 47.9955, 10.9965, 47.9965)))

    assert ids(found) == ["p00"]
    assert found[0].captured == "2024-05"
    assert found[0].licence == "Google Maps Platform Terms of Service"
    assert found[0].attribution == "© A. Surveyor"
    assert not found[0].is_360
    assert TOKEN not in found[0].url


@pytest.mark.parametrize("link_pages", [True, False])
@pytest.mark.parametrize("page", [5, 1000])
@pytest.mark.parametrize("make", [panoramax, mapillary])
def test_everything_is_found_whatever_fits_into_an_answer(client, make, page, link_pages):
    with servers.ProviderServer(SHOTS, page=page, link_pages=link_pages, token=TOKEN) as server:
        provider = make(server, client)
        provider.limits = replace(provider.limits, page=page)
        found = list(provider.search(BOUNDS))
        asked = len(server.asked)
        again = list(provider.search(BOUNDS))

    assert ids(found) == sorted(shot.id for shot in SHOTS)
    assert again == found
    assert len(server.asked) == asked
    assert provider.search_requests(BOUNDS) <= asked


def test_google_finds_what_lies_between_the_points_of_its_grid(client):
    with servers.ProviderServer(SHOTS[:3], token=TOKEN) as server:
        provider = google(server, client)
        found = list(provider.search(Bounds(10.9955, 47.9957, 11.0025, 47.9963)))

    assert ids(found) == ["p00", "p01", "p02"]
    assert len(server.asked) == provider.search_requests(Bounds(10.9955, 47.9957, 11.0025, 47.9963))


@pytest.mark.parametrize("make", [panoramax, mapillary])
def test_positions_that_cannot_be_are_faults(client, make):
    with servers.ProviderServer(SHOTS[:5], token=TOKEN) as server:
        server.lies = {
            "p00": {"lat": 12.0, "lon": 48.0},
            "p01": {"lat": 40.0, "lon": 20.0},
            "p02": {"lat": 120.0, "lon": 20.0},
            "p03": {"lat": None},
        }
        found = {p.id: p for p in make(server, client).search(Bounds(10.995, 47.995, 11.004, 48.0))}

    assert found["p00"].fault == ELSEWHERE
    assert found["p01"].fault == ELSEWHERE
    assert found["p02"].fault == "the position is lat 120.0, lon 20.0, which is no latitude"
    assert found["p03"].fault == "the provider gives no position"
    assert "p04" not in found


def test_swapped_coordinates_are_told_from_others(client):
    # Where the swapped position is one of the box, seen from the diagonal.
    with servers.ProviderServer(SHOTS[:1]) as server:
        server.lies = {"p00": {"lat": SHOTS[0].lon, "lon": SHOTS[0].lat}}
        (found,) = panoramax(server, client).search(Bounds(10.995, 47.995, 11.0, 48.0))

    assert found.fault == SWAPPED


def test_an_api_that_answers_everything_the_same_is_not_asked_for_ever(client):
    with servers.ProviderServer(SHOTS[:6], page=6, link_pages=False) as server:
        server.lies = {shot.id: {"lat": 10.0, "lon": 10.0} for shot in SHOTS[:6]}
        provider = panoramax(server, client)
        provider.limits = replace(provider.limits, page=6)
        found = list(provider.search(Bounds(10.995, 47.995, 11.0, 48.0)))

    assert len(server.asked) == 1
    assert {panorama.fault for panorama in found} == {ELSEWHERE}


def test_more_on_one_spot_than_an_answer_holds_is_said(client):
    shots = [replace(SHOTS[0], id=f"s{number}") for number in range(5)]
    with servers.ProviderServer(shots, page=5, link_pages=False) as server:
        provider = panoramax(server, client)
        provider.limits = replace(provider.limits, page=5)
        with pytest.raises(CurationError, match=r"more than 5 pictures at 47\.99"):
            list(provider.search(Bounds(10.99595, 47.99595, 10.9961, 47.9961)))


@pytest.mark.parametrize(
    ("make", "path", "page"),
    [
        (panoramax, "/panoramax/api/search", {"features": [{}], "links": [{"rel": "next"}]}),
        (mapillary, "/mapillary/images", {"data": [{}], "paging": {}}),
    ],
)
def test_pages_in_a_circle_end(client, make, path, page):
    with servers.ProviderServer([], token=TOKEN) as server:
        link = f"{server.origin}{path}?again"
        if "links" in page:
            page["links"][0]["href"] = link
        else:
            page["paging"]["next"] = link
        body = json.dumps(page).encode()
        server.faults[path].extend(
            [servers.Fault(headers={"Content-Type": "application/json"}, body=body)] * 3
        )
        with pytest.raises(CurationError, match="links its pages in a circle"):
            list(make(server, client).search(Bounds(10.995, 47.995, 11.0, 48.0)))


@pytest.mark.parametrize("make", [panoramax, mapillary])
@pytest.mark.parametrize("page", [[], {}, {"features": 3, "data": None}, "no"])
def test_an_answer_of_another_form_is_said(client, make, page):
    body = json.dumps(page).encode()
    fault = servers.Fault(headers={"Content-Type": "application/json"}, body=body)
    with servers.ProviderServer([], token=TOKEN) as server:
        server.faults["/panoramax/api/search"].append(fault)
        server.faults["/mapillary/images"].append(fault)
        with pytest.raises(CurationError, match="answered without a list"):
            list(make(server, client).search(Bounds(10.995, 47.995, 11.0, 48.0)))


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"id": None, "geometry": None, "properties": None, "assets": None},
        {"id": {}, "geometry": {"coordinates": "no"}, "properties": [], "assets": {"hd": 3}},
        {"geometry": {"coordinates": [1]}, "computed_geometry": {"coordinates": {}}},
        {"properties": {"datetime": 3, "pers:interior_orientation": {"field_of_view": "360"}}},
        {"captured_at": 1e300, "width": -1, "compass_angle": "north", "creator": "me"},
        {"properties": {"providers": [3]}, "providers": [{"roles": None}]},
    ],
)
def test_items_of_any_form_become_faults(client, item):
    with servers.ProviderServer([], token=TOKEN) as server:
        for path, name in (("/panoramax/api/search", "features"), ("/mapillary/images", "data")):
            server.faults[path].append(
                servers.Fault(
                    headers={"Content-Type": "application/json"},
                    body=json.dumps({name: [item]}).encode(),
                )
            )
        for make in (panoramax, mapillary):
            (found,) = make(server, client).search(Bounds(10.995, 47.995, 11.0, 48.0))
            assert found.fault is not None
            assert found.lat is None


def test_a_panoramax_picture_whose_address_holds_a_secret_is_a_fault(client):
    with servers.ProviderServer([]) as server:
        feature = {
            "id": "a",
            "geometry": {"coordinates": [10.996, 47.996]},
            "assets": {"hd": {"href": "https://s.example/x.jpg?token=SECRET&w=2"}},
        }
        body = json.dumps({"features": [feature]}).encode()
        fault = servers.Fault(headers={"Content-Type": "application/json"}, body=body)
        server.faults["/panoramax/api/search"].append(fault)
        (found,) = panoramax(server, client).search(Bounds(10.995, 47.995, 11.0, 48.0))

    assert found.fault == "its address is not open: it holds a secret in its parameter 'token'"
    assert found.url == "https://s.example/x.jpg?w=2"


def test_a_panoramax_item_without_a_picture_is_a_fault(client):
    with servers.ProviderServer(SHOTS[:1]) as server:
        (found,) = panoramax(server, client, asset="sd").search(Bounds(10.995, 47.995, 11.0, 48.0))

    assert found.fault == "the provider gives no sd picture"


def test_pictures_come_once_though_mapillarys_addresses_change(client):
    with servers.ProviderServer(SHOTS[:1], token=TOKEN) as server:
        for make in (panoramax, mapillary, google):
            provider = make(server, client)
            found = next(iter(provider.search(Bounds(10.9955, 47.9955, 10.9965, 47.9965))))
            assert not provider.has_picture(found)
            path = provider.picture(found)
            asked = len(server.asked)

            assert path.read_bytes() == SHOTS[0].jpeg
            assert provider.picture(found) == path
            assert provider.has_picture(found)
            assert len(server.asked) == asked

    assert sum(path.startswith("/mapillary/p00") for path in server.asked) == 1


def test_a_withdrawn_picture_is_said(client):
    with servers.ProviderServer([], token=TOKEN) as server:
        gone = Panorama("x", "mapillary", url=f"{server.mapillary}/x?fields=thumb_original_url")
        with pytest.raises(DownloadError, match="status 400"):
            mapillary(server, client).picture(gone)
        server.faults["/mapillary/x"].append(
            servers.Fault(headers={"Content-Type": "application/json"}, body=b"{}")
        )
        with pytest.raises(DownloadError, match="may have been withdrawn"):
            mapillary(server, client).picture(gone)


def test_google_wants_its_terms_accepted(client):
    with pytest.raises(CurationError, match="forbid to store Street View pictures"):
        Google(GoogleConfig(), client, PICTURE)


def test_a_wrong_key_is_said_without_the_key(client, monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_MAPS_KEY", "wrong-key")
    with servers.ProviderServer(SHOTS[:1], token=TOKEN) as server:
        provider = google(server, client)
        with pytest.raises(DownloadError, match="answered REQUEST_DENIED") as caught:
            list(provider.search(Bounds(10.9955, 47.9955, 10.9965, 47.9965)))

    assert "wrong-key" not in str(caught.value)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_googles_passing_faults_are_not_kept(client):
    busy = json.dumps({"status": "OVER_QUERY_LIMIT"}).encode()
    with servers.ProviderServer(SHOTS[:1], token=TOKEN) as server:
        server.faults["/google/metadata"].append(
            servers.Fault(headers={"Content-Type": "application/json"}, body=busy)
        )
        found = list(google(server, client).search(Bounds(10.9958, 47.9958, 10.9961, 47.9961)))

    assert ids(found) == ["p00"]


def test_the_token_is_not_kept_with_the_pages(client, tmp_path):
    with servers.ProviderServer(SHOTS, page=5, token=TOKEN) as server:
        list(mapillary(server, client).search(BOUNDS))

    assert any("after=5" in path for path in server.asked)
    assert all(TOKEN not in path and "MLY" not in path for path in server.asked)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*.json"))
    assert b"access_token" in kept
    assert TOKEN.encode() not in kept


# -- a folder ------------------------------------------------------------------------------------


def plant(folder):
    (folder / "sub").mkdir(parents=True)
    (folder / "pano.jpg").write_bytes(servers.jpeg(1, exif_lat=48.0, exif_lon=11.0))
    (folder / "sub" / "plain.JPEG").write_bytes(
        servers.jpeg(2, width=96, height=64, exif_lat=48.001, exif_lon=11.001)
    )
    (folder / "nowhere.jpg").write_bytes(servers.jpeg(3))
    (folder / "swapped.jpg").write_bytes(servers.jpeg(4, exif_lat=11.0, exif_lon=48.0))
    (folder / "far.jpg").write_bytes(servers.jpeg(5, exif_lat=10.0, exif_lon=50.0))
    (folder / "null.jpg").write_bytes(servers.jpeg(6, exif_lat=0.0, exif_lon=0.0))
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not looked at")


def test_a_folder_of_photos(client, tmp_path):
    plant(tmp_path / "photos")
    config = FolderConfig(folder=tmp_path / "photos", licence="CC0-1.0", attribution="the surveyor")
    folder = Folder(config, client, PICTURE)

    found = {panorama.id: panorama for panorama in folder.search(BOUNDS)}

    assert {name: panorama.fault for name, panorama in found.items()} == {
        "broken.png": "the photo is not a picture we know",
        "far.jpg": OUTSIDE,
        "nowhere.jpg": "the photo has no position in its EXIF",
        "null.jpg": "the position in the photo is lat 0, lon 0, which devices write when "
        "they have no position",
        "pano.jpg": None,
        "sub/plain.JPEG": None,
        "swapped.jpg": SWAPPED,
    }
    assert (found["pano.jpg"].lat, found["pano.jpg"].lon) == (48.0, 11.0)
    assert found["pano.jpg"].is_360
    assert found["pano.jpg"].licence == "CC0-1.0"
    assert not found["sub/plain.JPEG"].is_360
    assert folder.search_requests(BOUNDS) == 0
    assert folder.has_picture(found["pano.jpg"])
    path = folder.picture(found["sub/plain.JPEG"])
    assert path.suffix == ".jpg"
    assert path.is_relative_to(tmp_path / "cache")
    assert path.read_bytes() == (tmp_path / "photos" / "sub" / "plain.JPEG").read_bytes()


def test_a_folder_that_is_none_is_said(client, tmp_path):
    with pytest.raises(CurationError, match="is no folder"):
        Folder(FolderConfig(folder=tmp_path / "none"), client, PICTURE)


def test_photos_that_vanished_or_are_too_large_are_said(client, tmp_path):
    plant(tmp_path / "photos")
    folder = Folder(FolderConfig(folder=tmp_path / "photos"), client, picture_kind(100))
    found = {panorama.id: panorama for panorama in folder.search(BOUNDS)}

    with pytest.raises(DownloadError, match="larger than the 100 bytes"):
        folder.picture(found["pano.jpg"])
    (tmp_path / "photos" / "pano.jpg").unlink()
    with pytest.raises(DownloadError, match="cannot be read"):
        folder.picture(found["pano.jpg"])
