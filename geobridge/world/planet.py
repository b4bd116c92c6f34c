"""The planet's face: worlds, towns, places, and what can be asked of them."""

import math
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import simplejpeg
from pyproj import CRS, Proj, Transformer

from geobridge.errors import MissingExtraError, WorldError
from geobridge.views import VIEWS, View
from geobridge.world.camera import MID_GREY, Camera, Sensor, looking_at, sensor_for
from geobridge.world.dates import DATES, Day, day
from geobridge.world.regions import REGIONS, SIZE_M, Region, region_named
from geobridge.world.seeds import generator

if TYPE_CHECKING:
    from geobridge.world.rasters import Dated, Ground
    from geobridge.world.scene import Scene

EYE_M = 2.6
"""Height of the camera of a street panorama."""

DRONE_FOV_DEG = 60.0
"""Horizontal field of view of a drone's camera that is not told another."""

DroneKind = Literal["camera", "crop", "either"]
"""How a drone's picture comes about: see `Town.render_all`."""

LEAST_GSD_M, MOST_GSD_M = 0.05, 50.0
"""Finest and coarsest ground sampling distance of maps and satellite pictures."""

_MOST_SAMPLES = 8192

MARGIN_M = 100.0
"""No place lies nearer than this to the edge of its town."""


def _need_numba() -> None:
    try:
        import numba  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("The simulated planet", "numba", "world") from error


@dataclass(frozen=True)
class WorldPlace:
    """A point on a street of a town.

    Attributes:
        town: `region/index@seed`.
        index: number within the town's list.
        lat, lon: WGS-84 degrees.
        x_m, y_m: metres east and north of the town's centre.
        heading_deg: direction of the street, clockwise from grid north.
    """

    town: str
    index: int
    lat: float
    lon: float
    x_m: float
    y_m: float
    heading_deg: float

    @property
    def place_id(self) -> str:
        """A name that is unique on the planet and fit for a file."""
        return f"{self.town.replace('/', '-').replace('@', '-')}-{self.index:05d}"


@dataclass(frozen=True)
class PlannedView:
    """A view of a place that is planned, so that many can be drawn in the order of their dates.

    Attributes:
        date: of the picture.
        draw: gives the picture, uint8 (H, W, 3).
    """

    date: int
    draw: Callable[[], np.ndarray]


class World:
    """A planet. The same seed is the same planet.

    Args:
        seed: which planet.
    """

    def __init__(self, seed: int = 0) -> None:
        _need_numba()
        self.seed = seed

    def town(self, region: str, index: int = 0, open_dates: int = DATES) -> "Town":
        """The town number `index` (from 0, without end) of a region.

        Args:
            region: name of a region.
            index: which of its towns.
            open_dates: how many dates stay in memory, 26 MB and 45 ms each; the one that was
                needed longest ago goes first.

        Raises:
            WorldError: there is no such region, or the index is negative.
        """
        return Town(region_named(region), index, self.seed, open_dates)


def parse_town(text: str) -> tuple[str, int, int]:
    """Region, index and seed of a town written as `region/index` or `region/index@seed`.

    Raises:
        WorldError: the text has another form or names no region.
    """
    name, _, seed = text.partition("@")
    region, slash, index = name.partition("/")
    if not slash or not index.isdigit() or (seed and not seed.isdigit()):
        raise WorldError(f"{text!r} names no town: write `region/index`, such as `albion/0`.")
    region_named(region)
    return region, int(index), int(seed or 0)


class Town:
    """One town: a scene, its rasters, and its place on the earth.

    Coordinates in metres are relative to the centre, along the axes of the UTM zone (`crs`), so
    directions are measured from grid north; true north differs by `convergence_deg`.
    """

    def __init__(self, region: Region, index: int, seed: int = 0, open_dates: int = DATES) -> None:
        _need_numba()
        if index < 0:
            raise WorldError(f"Towns are numbered from 0, and {index} is below: choose another.")
        from geobridge.world.rasters import draw_ground
        from geobridge.world.scene import lay_out

        self.region = region
        self.index = index
        self.seed = seed
        self.name = f"{region.name}/{index}@{seed}"
        rng = generator("position", seed, region.name, index)
        lat = region.lat + float(rng.uniform(-0.7, 0.7))
        lon = region.lon + float(rng.uniform(-0.7, 0.7))
        zone = int((lon + 180) // 6) + 1
        self.crs = CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)
        self._to_utm = Transformer.from_crs("EPSG:4326", self.crs, always_xy=True)
        easting, northing = self._to_utm.transform(lon, lat)
        # A centre on a whole metre keeps the corners of maps on round numbers.
        self.easting_m, self.northing_m = float(round(easting)), float(round(northing))
        self.lat, self.lon = self.to_latlon(0.0, 0.0)
        self.convergence_deg = float(
            Proj(self.crs).get_factors(self.lon, self.lat).meridian_convergence
        )
        self.scene: Scene = lay_out(region, seed, index)
        self._ground: Ground = draw_ground(self.scene, seed, index)
        self._open_dates = max(1, open_dates)
        self._dated: OrderedDict[int, Dated] = OrderedDict()

    # -- where things are --------------------------------------------------------------------

    def to_latlon(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Latitude and longitude of a point given in metres from the centre."""
        lon, lat = self._to_utm.transform(
            self.easting_m + x_m, self.northing_m + y_m, direction="INVERSE"
        )
        return float(lat), float(lon)

    def to_metric(self, lat: float, lon: float) -> tuple[float, float]:
        """Metres east and north of the centre of a latitude and longitude."""
        easting, northing = self._to_utm.transform(lon, lat)
        return float(easting) - self.easting_m, float(northing) - self.northing_m

    def footprint(self, place: WorldPlace, size_m: float) -> list[tuple[float, float]]:
        """Corners (lon, lat) of the grid-aligned square around a place, counter-clockwise."""
        half = size_m / 2
        corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
        latlon = [self.to_latlon(place.x_m + dx, place.y_m + dy) for dx, dy in corners]
        return [(lon, lat) for lat, lon in latlon]

    def place_at(
        self, x_m: float, y_m: float, heading_deg: float = 0.0, index: int = 0
    ) -> WorldPlace:
        """A place anywhere in the town.

        Raises:
            WorldError: the point lies outside the town.
        """
        if max(abs(x_m), abs(y_m)) > SIZE_M / 2:
            raise WorldError(
                f"({x_m:.0f}, {y_m:.0f}) lies outside {self.name}: stay within "
                f"{SIZE_M / 2:.0f} m of its centre."
            )
        lat, lon = self.to_latlon(x_m, y_m)
        return WorldPlace(self.name, index, lat, lon, x_m, y_m, heading_deg % 360)

    def places(
        self, n: int, seed: int = 0, apart_m: float = 18.0, *, at_most: bool = False
    ) -> list[WorldPlace]:
        """`n` places on streets, at least `apart_m` metres from each other, in random order.

        With `at_most`, a town with less room gives as many as it has room for.

        Raises:
            WorldError: the town has no room for so many.
        """
        rng = generator("places", self.name, seed)
        limit = SIZE_M / 2 - MARGIN_M
        stations: list[tuple[float, float, float]] = []
        for road in self.scene.network.roads:
            for station in np.arange(rng.uniform(0, 4), road.length_m, 4.0):
                x, y, dx, dy = road.at(float(station))
                if max(abs(x), abs(y)) < limit:
                    # The lane that traffic keeps to, so that pavements look unequally far.
                    side = -1 if self.region.drives_left else 1
                    shift = side * road.half_width_m * 0.4
                    heading = math.degrees(math.atan2(dx, dy))
                    stations.append((x + dy * shift, y - dx * shift, heading))
        chosen: list[WorldPlace] = []
        taken: dict[tuple[int, int], list[tuple[float, float]]] = {}
        for i in rng.permutation(len(stations)):
            if len(chosen) == n:
                break
            x, y, heading = stations[i]
            key = (int(x // apart_m), int(y // apart_m))
            near = (
                spot
                for a in (-1, 0, 1)
                for b in (-1, 0, 1)
                for spot in taken.get((key[0] + a, key[1] + b), ())
            )
            if any(math.hypot(x - sx, y - sy) < apart_m for sx, sy in near):
                continue
            taken.setdefault(key, []).append((x, y))
            chosen.append(self.place_at(x, y, heading, len(chosen)))
        if len(chosen) < n and not at_most:
            raise WorldError(
                f"{self.name} has room for {len(chosen)} places {apart_m:g} m apart, not {n}: "
                f"ask for fewer, or for more towns."
            )
        return chosen

    # -- dates -------------------------------------------------------------------------------

    def day(self, date: int) -> Day:
        """Sun, season and weather of a date.

        Raises:
            WorldError: the town has no such date.
        """
        return day(self.region, self.lat, date, self.name)

    def _at(self, date: int) -> "Dated":
        if date in self._dated:
            self._dated.move_to_end(date)
            return self._dated[date]
        from geobridge.world.rasters import draw_date

        today = self.day(date)
        # The almanac counts from true north, the rasters from the grid's.
        azimuth_deg = today.sun_azimuth_deg - self.convergence_deg
        today = replace(today, sun_azimuth_deg=azimuth_deg)
        while len(self._dated) >= self._open_dates:
            self._dated.popitem(last=False)
        dated = draw_date(self._ground, self.scene, today, date, self.seed, self.index)
        self._dated[date] = dated
        return dated

    # -- views -------------------------------------------------------------------------------

    def render(
        self,
        view: View,
        place: WorldPlace,
        *,
        size: int = 128,
        date: int = 0,
        seed: int | None = None,
        gsd_m: float = 0.8,
        altitude_m: float = 120.0,
        pitch_deg: float = -90.0,
        yaw_deg: float = 0.0,
        fov_deg: float | None = None,
        full: bool = False,
        crop_m: float | None = None,
        sensor: Sensor | None = None,
    ) -> np.ndarray:
        """A picture of a place: uint8 RGB.

        - `satellite`: (size, size, 3), grid north up (turned by `yaw_deg`, the heading of the
          picture's top), `gsd_m` metres a pixel, centred on the place. Each pixel is the mean of
          the ground it covers.
        - `drone`: (size, size, 3), perspective from `altitude_m`, the place in the centre; with
          `crop_m`, the square of that side cut out of an orthomosaic instead (the reverse crop
          of the paper's data set, arXiv 2512.02697).
        - `street`: (size, 4 size, 3), equirectangular, 360 degrees wide and the central 90 high,
          its centre column looking along `yaw_deg`; with `full`, (size, 2 size, 3) and 180 high;
          with `fov_deg`, the plain photo (size, 4 size // 3, 3) of a camera held level.

        Args:
            view: which of the three.
            place: where.
            size: height of the picture in pixels.
            date: 0 to `DATES - 1`.
            seed: draws a sensor for the view; None is a neutral, sharp, noiseless one.
            gsd_m: satellite only, 0.05 to 50.
            altitude_m: drone only, above the ground.
            pitch_deg: drone only, -90 (nadir) to -10.
            yaw_deg: clockwise from grid north.
            fov_deg: horizontal field of view: of a drone (60 where None), or of a street photo
                (10 to 120; None is the whole panorama).
            full: street panorama only.
            crop_m: drone only, 10 to 400.
            sensor: used instead of one drawn by `seed`.

        Raises:
            WorldError: an argument is out of range.
        """
        _check_request(view, size, gsd_m, altitude_m, pitch_deg, fov_deg, crop_m)
        if sensor is None:
            sensor = Sensor() if seed is None else sensor_for(view, generator("sensor", seed, view))
        if view == "street":
            if fov_deg is None:
                width, half = (2 * size, math.pi / 2) if full else (4 * size, math.pi / 4)
                around = self._street(place, date, yaw_deg, (size, width), 2 * math.pi, half)
                return _develop(*around, sensor)
            return self._street_photo(place, size, date, yaw_deg, fov_deg, sensor)
        if view == "satellite" or crop_m is not None:
            side_m = crop_m or size * gsd_m
            raw, factor = self._ortho(place.x_m, place.y_m, yaw_deg, side_m, side_m, size, date)
            return _develop(raw, factor, sensor)
        camera = looking_at(
            place.x_m,
            place.y_m,
            altitude_m=altitude_m,
            yaw_deg=yaw_deg,
            pitch_deg=pitch_deg,
            fov_deg=fov_deg or DRONE_FOV_DEG,
        )
        return self.photograph(camera, size, size, date, sensor)

    def photograph(
        self, camera: Camera, width: int, height: int, date: int = 0, sensor: Sensor | None = None
    ) -> np.ndarray:
        """What any camera in the town's frame sees: uint8 (height, width, 3)."""
        factor = 2 if max(height, width) <= 4096 else 1
        raw = self._rays(camera.vector(height, width), height, width, factor, date)
        return _develop(raw, factor, sensor or Sensor())

    def map(
        self,
        gsd_m: float,
        date: int = 0,
        x_m: float = 0.0,
        y_m: float = 0.0,
        width_m: float = SIZE_M,
        height_m: float = SIZE_M,
    ) -> np.ndarray:
        """An orthophoto, grid north up: uint8 (height_m / gsd_m, width_m / gsd_m, 3).

        Args:
            gsd_m: ground sampling distance.
            date: 0 to `DATES - 1`.
            x_m: centre, metres east of the town's centre.
            y_m: centre, metres north.
            width_m: extent east-west.
            height_m: extent north-south.
        """
        if not LEAST_GSD_M <= gsd_m <= MOST_GSD_M:
            raise WorldError(
                f"A map of {gsd_m:g} m a pixel cannot be drawn: choose {LEAST_GSD_M:g} to "
                f"{MOST_GSD_M:g}."
            )
        rows = max(1, round(height_m / gsd_m))
        raw, factor = self._ortho(x_m, y_m, 0.0, width_m, height_m, rows, date)
        return _develop(raw, factor, Sensor())

    def render_all(
        self,
        place: WorldPlace,
        rng: np.random.Generator,
        *,
        size: int = 128,
        gsd_m: float = 0.8,
        satellite_m: float | None = None,
        drone: DroneKind = "camera",
        views: Collection[View] = VIEWS,
        drone_yaw_deg: float | None = None,
        street_yaw_deg: float = 0.0,
        dates: tuple[int, int, int] | None = None,
    ) -> dict[View, np.ndarray]:
        """The views of a place as `shots` plans them, drawn."""
        planned = self.shots(
            place,
            rng,
            size=size,
            gsd_m=gsd_m,
            satellite_m=satellite_m,
            drone=drone,
            views=views,
            drone_yaw_deg=drone_yaw_deg,
            street_yaw_deg=street_yaw_deg,
            dates=dates,
        )
        return {view: shot.draw() for view, shot in planned.items()}

    def shots(
        self,
        place: WorldPlace,
        rng: np.random.Generator,
        *,
        size: int = 128,
        gsd_m: float = 0.8,
        satellite_m: float | None = None,
        drone: DroneKind = "camera",
        views: Collection[View] = VIEWS,
        drone_yaw_deg: float | None = None,
        street_yaw_deg: float = 0.0,
        dates: tuple[int, int, int] | None = None,
    ) -> dict[View, PlannedView]:
        """Plan the three views of a place, each on a date and by a sensor of its own.

        A drone's camera looks down in half of the cases and obliquely otherwise, from 70 to
        180 m, turned to any side unless `drone_yaw_deg` says which; a reverse crop shows 80 to
        180 m of ground. The satellite is misplaced by up to 1.5 m and 2 % too large or too small,
        as real ones are.

        Args:
            place: where.
            rng: draws everything that is not given. A picture depends on its state alone, and not
                on which `views` are wanted.
            size: height of the drone's and the street's picture in pixels.
            gsd_m: of the satellite, metres a pixel.
            satellite_m: side of the satellite's ground, `size * gsd_m` where None; the picture
                has `satellite_m / gsd_m` pixels a side, rounded.
            drone: a perspective `camera`, the paper's reverse `crop`, or `either` by chance.
            views: which to draw.
            drone_yaw_deg: clockwise from grid north.
            street_yaw_deg: direction of the panorama's centre, clockwise from grid north.
            dates: of drone, street and satellite; three different ones where None.

        Raises:
            WorldError: an argument is out of range (when the shot is drawn).
        """
        drawn = [int(date) for date in rng.permutation(DATES)[:3]]
        on = dict(zip(VIEWS, dates or drawn, strict=True))
        nadir, as_crop = rng.random() < 0.5, rng.random() < 0.5
        pitch = -90.0 if nadir else float(rng.uniform(-80, -45))
        altitude = float(rng.uniform(80, 180) if nadir else rng.uniform(70, 130))
        fov, crop_m = float(rng.uniform(45, 70)), float(rng.uniform(80, 180))
        yaw = float(rng.uniform(0, 360))
        dx, dy = (float(shift) for shift in rng.uniform(-1.5, 1.5, 2))
        stretch = float(rng.uniform(0.98, 1.02))
        sensors = {view: sensor_for(view, rng) for view in VIEWS}
        pixels = size if satellite_m is None else max(8, round(satellite_m / gsd_m))
        ground_m = (satellite_m or size * gsd_m) * stretch
        crop = drone == "crop" or (drone == "either" and as_crop)
        draw: dict[View, Callable[[], np.ndarray]] = {
            "drone": lambda: self.render(
                "drone",
                place,
                size=size,
                date=on["drone"],
                altitude_m=altitude,
                # Orthomosaics lie north up.
                yaw_deg=drone_yaw_deg if drone_yaw_deg is not None else 0.0 if crop else yaw,
                pitch_deg=pitch,
                fov_deg=fov,
                crop_m=crop_m if crop else None,
                sensor=sensors["drone"],
            ),
            "street": lambda: self.render(
                "street",
                place,
                size=size,
                date=on["street"],
                yaw_deg=street_yaw_deg,
                sensor=sensors["street"],
            ),
            "satellite": lambda: self.render(
                "satellite",
                self.place_at(place.x_m + dx, place.y_m + dy),
                size=pixels,
                date=on["satellite"],
                gsd_m=min(MOST_GSD_M, max(LEAST_GSD_M, ground_m / pixels)),
                sensor=sensors["satellite"],
            ),
        }
        return {view: PlannedView(on[view], draw[view]) for view in VIEWS if view in views}

    def _ortho(
        self,
        x_m: float,
        y_m: float,
        yaw_deg: float,
        width_m: float,
        height_m: float,
        rows: int,
        date: int,
    ) -> tuple[np.ndarray, int]:
        """Samples of the ground seen from straight above, and how many make up a pixel's side."""
        cols = max(1, round(width_m * rows / height_m))
        # A coarse pixel is the mean of its ground, not a point of it: about two samples a metre.
        wanted, most = max(2, 2 * round(height_m / rows)), _MOST_SAMPLES // max(rows, cols)
        factor = max(1, min(wanted, most - most % 2))
        vector = _ortho_vector(x_m, y_m, yaw_deg, width_m, height_m)
        return self._rays(vector, rows, cols, factor, date), factor

    def _rays(self, camera: np.ndarray, rows: int, cols: int, factor: int, date: int) -> np.ndarray:
        """`factor` x `factor` samples of each of `rows` x `cols` pixels."""
        from geobridge.world.kernels import render_rays
        from geobridge.world.rasters import BLOCK, noise_tables

        ground, dated = self._ground, self._at(date)
        fine, coarse = noise_tables()
        samples: np.ndarray = render_rays(
            dated.height,
            dated.material,
            dated.colour,
            ground.owner,
            dated.crown_top,
            dated.crown_base,
            dated.crown_kind,
            dated.shadow,
            dated.tops,
            BLOCK,
            ground.owners,
            dated.light,
            fine,
            coarse,
            camera,
            rows * factor,
            cols * factor,
            factor > 1,
        )
        return samples

    def _street_photo(
        self,
        place: WorldPlace,
        size: int,
        date: int,
        yaw_deg: float,
        fov_deg: float,
        sensor: Sensor,
    ) -> np.ndarray:
        """A level camera's picture, cut out of a panorama that is as fine as it."""
        # Brings torch, which whoever builds data sets in many processes can do without.
        from geobridge.imagery.street import StreetField, equirectangular_view

        width = size * 4 // 3
        focal_px = width / 2 / math.tan(math.radians(fov_deg) / 2)
        # A little more than the photo shows, as many pixels a degree as in its middle.
        span = min(2 * math.pi, 1.04 * math.radians(fov_deg))
        half = min(math.pi / 2, 1.04 * math.atan(size / 2 / focal_px))
        shape = (math.ceil(2 * half * focal_px), math.ceil(span * focal_px))
        panorama = _develop(*self._street(place, date, yaw_deg, shape, span, half), Sensor())
        field = StreetField(math.degrees(span), math.degrees(2 * half))
        photo = equirectangular_view(panorama, 0.0, fov_deg, (size, width), field)
        return _develop(photo.astype(np.float32), 1, sensor)

    def _street(
        self,
        place: WorldPlace,
        date: int,
        yaw_deg: float,
        shape: tuple[int, int],
        span: float,
        half_height: float,
    ) -> tuple[np.ndarray, int]:
        """Samples of an equirectangular picture of `shape` pixels, and how many make a side.

        It is `span` radians wide and reaches `half_height` radians up and down.
        """
        from geobridge.world.kernels import render_panorama
        from geobridge.world.rasters import noise_tables

        ground, dated = self._ground, self._at(date)
        fine, coarse = noise_tables()
        factor = 2 if shape[0] <= 1024 else 1
        picture = render_panorama(
            dated.height,
            dated.material,
            dated.colour,
            ground.owner,
            dated.crown_top,
            dated.crown_base,
            dated.crown_kind,
            dated.shadow,
            ground.owners,
            dated.light,
            fine,
            coarse,
            place.x_m,
            place.y_m,
            EYE_M,
            math.radians(yaw_deg),
            span,
            half_height,
            -half_height,
            shape[0] * factor,
            shape[1] * factor,
            260.0,
        )
        return picture, factor

    # -- words -------------------------------------------------------------------------------

    def describe(
        self, place: WorldPlace, variant: int = 0, noise: float = 0.0, radius_m: float = 50.0
    ) -> str:
        """Up to four plain sentences on what surrounds a place, whatever it is seen from.

        Args:
            place: where.
            variant: another number is another wording of the same facts.
            noise: each colour of roofs and walls and each direction is wrong with this probability
                (directions by 90 degrees or more), each landmark and area left out, and one
                landmark made up; counts, storeys and the street's run stay true.
            radius_m: half the side of the square that is described, above 5 and up to 400.

        Raises:
            WorldError: noise or radius is out of range.
        """
        from geobridge.world.words import describe

        return describe(self, place, variant, noise, radius_m)


def _check_request(
    view: View,
    size: int,
    gsd_m: float,
    altitude_m: float,
    pitch_deg: float,
    fov_deg: float | None,
    crop_m: float | None,
) -> None:
    """Refuse what no camera of the planet can do."""
    if view not in VIEWS:
        raise WorldError(f"{view!r} is no view: choose one of {', '.join(VIEWS)}.")
    if not 8 <= size <= 8192:
        raise WorldError(f"A picture of {size} px cannot be drawn: choose 8 to 8192.")
    if view == "drone" and not (-90 <= pitch_deg <= -10 and 5 <= (fov_deg or 60) <= 120):
        raise WorldError(
            f"A drone cannot look at a place with pitch {pitch_deg:g} and field of view "
            f"{fov_deg or 60:g}: choose a pitch of -90 to -10 and a field of 5 to 120 degrees."
        )
    if view == "street" and fov_deg is not None and not 10 <= fov_deg <= 120:
        raise WorldError(
            f"A street photo cannot be {fov_deg:g} degrees wide: choose 10 to 120, or leave the "
            f"field out for a panorama."
        )
    if view == "drone" and crop_m is not None and not 10 <= crop_m <= 400:
        raise WorldError(f"A crop of {crop_m:g} m cannot be drawn: choose 10 to 400 m.")
    if altitude_m <= 0 or not LEAST_GSD_M <= gsd_m <= MOST_GSD_M:
        raise WorldError(
            f"Altitude must be above 0 m and the ground sampling distance {LEAST_GSD_M:g} to "
            f"{MOST_GSD_M:g} m a pixel."
        )


def _ortho_vector(
    x_m: float, y_m: float, yaw_deg: float, width_m: float, height_m: float
) -> np.ndarray:
    """A parallel projection straight down, as `kernels.render_rays` takes it."""
    axes = Camera(x_m, y_m, 0.0, yaw_deg, -90.0, 60.0).axes()
    # Exactly vertical, so that what stands up does not lean.
    axes[2] = [0.0, 0.0, -1.0]
    return np.array([x_m, y_m, 100.0, *axes.ravel(), width_m / 2, height_m / 2, 1.0])


def _develop(raw: np.ndarray, factor: int, sensor: Sensor) -> np.ndarray:
    from geobridge.world.kernels import develop

    gain = np.array(sensor.gain)
    if sensor.auto_exposure > 0:
        # A sixteenth of the samples tells how bright a picture is; shades stay shades.
        wanted = MID_GREY / max(1.0, float(raw[::4, ::4].mean()))
        gain *= min(2.2, max(0.6, wanted)) ** sensor.auto_exposure
    picture: np.ndarray = develop(
        raw, factor, gain, sensor.contrast, sensor.blur, sensor.noise, sensor.seed
    )
    if sensor.jpeg_quality is None:
        return picture
    packed = simplejpeg.encode_jpeg(
        picture, quality=sensor.jpeg_quality, colorspace="RGB", colorsubsampling="420"
    )
    unpacked: np.ndarray = simplejpeg.decode_jpeg(packed)
    return unpacked


__all__ = ["DATES", "REGIONS", "Town", "World", "WorldPlace", "parse_town"]
