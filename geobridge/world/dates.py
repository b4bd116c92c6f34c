"""The days a town can be seen on: sun, season and weather.

A date is a small integer. The same number is the same day in every rendering of a town, so two
views may be asked to share it.
"""

import math
from dataclasses import dataclass

from geobridge.errors import WorldError
from geobridge.world.regions import Region
from geobridge.world.seeds import generator

DATES = 8
"""How many days each town has; dates run from 0 to `DATES - 1`."""


@dataclass(frozen=True)
class Day:
    """One day of a town.

    Attributes:
        day_of_year: 1 to 365.
        hour: local solar time, 12 is when the sun stands in the meridian.
        sun_azimuth_deg: clockwise from north, where the sun stands.
        sun_elevation_deg: above the horizon.
        sun: strength of the direct light, near 0 under a closed cloud cover.
        ambient: strength of the light of the sky.
        haze_per_m: extinction along a line of sight.
        green: 0 (dry or dormant vegetation) to 1 (lush).
        autumn: 0 to 1, how far deciduous crowns have turned.
        bare: 0 to 1, how many leaves have fallen.
        warmth: -1 (bluish light) to 1 (yellowish light).
        cloud_shadow: share of the ground that lies in the shadow of clouds, their rims included.
    """

    day_of_year: int
    hour: float
    sun_azimuth_deg: float
    sun_elevation_deg: float
    sun: float
    ambient: float
    haze_per_m: float
    green: float
    autumn: float
    bare: float
    warmth: float
    cloud_shadow: float = 0.0


def sun_position(lat: float, day_of_year: float, hour: float) -> tuple[float, float]:
    """Azimuth (clockwise from north) and elevation of the sun in degrees.

    From Cooper's declination, 23.44 deg on the solstices, and the hour angle of 15 deg an hour.
    """
    declination = math.radians(-23.44) * math.cos(2 * math.pi * (day_of_year + 10) / 365)
    hour_angle = math.radians(15 * (hour - 12))
    phi = math.radians(lat)
    sine = math.sin(phi) * math.sin(declination)
    sine += math.cos(phi) * math.cos(declination) * math.cos(hour_angle)
    elevation = math.asin(max(-1.0, min(1.0, sine)))
    east = -math.cos(declination) * math.sin(hour_angle)
    north = math.cos(phi) * math.sin(declination)
    north -= math.sin(phi) * math.cos(declination) * math.cos(hour_angle)
    return math.degrees(math.atan2(east, north)) % 360, math.degrees(elevation)


def day(region: Region, lat: float, date: int, *keys: int | str) -> Day:
    """The day number `date` of the town that `keys` name.

    Raises:
        WorldError: the town has no such date.
    """
    if not 0 <= date < DATES:
        raise WorldError(f"A town has the dates 0 to {DATES - 1}, not {date}: choose one of these.")
    rng = generator("day", *keys, date)
    # Dates are spread over the year, and the sun must stand high enough to see by.
    day_of_year = int(1 + (date * 365 / DATES + rng.uniform(0, 365 / DATES)) % 365)
    hour = float(rng.uniform(9.0, 15.5))
    azimuth, elevation = sun_position(lat, day_of_year, hour)
    elevation = max(elevation, 16.0)
    northern_day = day_of_year if lat >= 0 else (day_of_year + 182) % 365
    winter = 0.5 + 0.5 * math.cos(2 * math.pi * (northern_day - 20) / 365)
    seasons = min(1.0, abs(lat) / 45.0)
    overcast = bool(rng.random() < region.overcast)
    patchy = not overcast and bool(rng.random() < 0.35)
    summer_drought = region.dry_summer * (1 - winter)
    return Day(
        day_of_year=day_of_year,
        hour=hour,
        sun_azimuth_deg=azimuth,
        sun_elevation_deg=elevation,
        sun=float(rng.uniform(0.04, 0.14) if overcast else rng.uniform(0.56, 0.76)),
        ambient=float(rng.uniform(0.74, 0.88) if overcast else rng.uniform(0.36, 0.48)),
        haze_per_m=float(rng.uniform(0.0002, 0.0012) * (1.6 if overcast else 1.0)),
        green=max(0.0, min(1.0, 1 - 0.55 * winter * seasons - 0.9 * summer_drought)),
        autumn=seasons * max(0.0, 1 - abs(northern_day - 295) / 38),
        bare=seasons * (1.0 if northern_day > 325 or northern_day < 85 else 0.0),
        warmth=float(rng.uniform(-0.5, 0.8)),
        cloud_shadow=float(rng.uniform(0.1, 0.4)) if patchy else 0.0,
    )
