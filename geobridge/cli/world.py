"""`geobridge world`: data sets, maps and photos of the simulated planet."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from geobridge.cli.console import output, progress_bar, steps

app = typer.Typer(
    help="Make places, maps, drone flights and street walks on the simulated planet.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

TownName = Annotated[
    str, typer.Argument(metavar="TOWN", help="region/index or region/index@seed, like albion/0.")
]
Date = Annotated[int, typer.Option(help="0 to 7: another day, sun, season, cars.")]


@app.command(epilog="Example: [b]geobridge world build places --towns 2 --places 50[/b]")
def build(
    out: Annotated[Path, typer.Argument(help="Folder of the places data set.")],
    regions: Annotated[
        str, typer.Option(help="Comma-separated names, `known`, `unseen` or `all`.")
    ] = "known",
    towns: Annotated[int, typer.Option(help="Towns of each region.")] = 2,
    places: Annotated[int, typer.Option(help="Places of each town.")] = 50,
    size: Annotated[int, typer.Option(help="Height of the pictures, px.")] = 128,
    seed: Annotated[int, typer.Option(help="Which planet.")] = 0,
    satellite_gsd: Annotated[float, typer.Option(help="Metres a satellite pixel.")] = 0.8,
    satellite_m: Annotated[
        float | None, typer.Option(help="Ground side of a satellite picture, else size times gsd.")
    ] = None,
    drone: Annotated[
        Literal["camera", "crop", "either"],
        typer.Option(help="A drone's camera, or a crop of an orthomosaic, north up."),
    ] = "camera",
    missing: Annotated[
        str, typer.Option(help="Share of places without a modality: drone=0.3,text=0.2")
    ] = "",
    anchor_noise: Annotated[
        float,
        typer.Option(
            help="Probability that a told colour or direction is wrong, a landmark or area left "
            "out, and one made up for a place."
        ),
    ] = 0.0,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Neighbours two by two, 28 m apart: hard negatives.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Write a places data set: drone, street, satellite and text. Run again, it continues."""
    from geobridge.world.build import Recipe, build_places, parse_missing
    from geobridge.world.regions import REGIONS

    groups = {
        "all": list(REGIONS),
        "known": [name for name, region in REGIONS.items() if not region.unseen],
        "unseen": [name for name, region in REGIONS.items() if region.unseen],
    }
    names = groups.get(regions) or [name.strip() for name in regions.split(",") if name.strip()]
    recipe = Recipe(
        size, seed, satellite_gsd, satellite_m, drone, parse_missing(missing), anchor_noise, pairs
    )
    with progress_bar("places") as progress:
        built = build_places(out, names, towns, places, recipe, workers=workers, progress=progress)
    output().print(f"{built.places} places of {built.towns} towns in {built.table}")
    if built.short:
        held = ", ".join(f"{count} in {town}" for town, count in built.short.items())
        output().print(
            f"{len(built.short)} of the towns had no room for {places} places: {held}.",
            soft_wrap=True,
        )


@app.command(epilog="Example: [b]geobridge world benchmark world-1k --out runs/world-1k[/b]")
def benchmark(
    name: Annotated[
        str,
        typer.Argument(
            help="world-1k or world-1k-far, alone or followed by -2m, -5m, -10m (satellite), "
            "-missing or -noise."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the places data set.")],
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
) -> None:
    """Write a benchmark of 1,000 places, fixed by its seed. Run again, it continues."""
    from geobridge.world.benchmark import build_benchmark

    with progress_bar("places") as progress:
        built = build_benchmark(name, out, workers=workers, progress=progress)
    output().print(f"{name}: {built.places} places in {built.table}")


@app.command(name="map", epilog="Example: [b]geobridge world map albion/0 --out town.tif[/b]")
def draw_map(
    town: TownName,
    out: Annotated[Path, typer.Option(help="GeoTIFF to write.")],
    gsd: Annotated[float, typer.Option(help="Metres a pixel.")] = 0.3,
    date: Date = 0,
) -> None:
    """Write an orthophoto of a town as a GeoTIFF in its UTM zone."""
    from geobridge.world.trips import open_town, write_map

    place = open_town(town)
    with progress_bar("map") as progress:
        write_map(place, out, gsd_m=gsd, date=date, progress=progress)
    output().print(f"{place.name} at {place.lat:.5f} {place.lon:.5f} in {out}")


_FLY_EXAMPLES = r"""
Example: [b]geobridge world fly albion/0 --count 10 --out photos[/b]

Along a path across that town:

[b]printf 'lat,lon\n52.93373,-2.93562\n52.93597,-2.92892\n' > track.csv[/b]

[b]geobridge world fly albion/0 --track track.csv --every-m 30 --out photos[/b]
"""


@app.command(epilog=_FLY_EXAMPLES)
def fly(
    town: TownName,
    out: Annotated[Path, typer.Option(help="Folder for the photos.")],
    count: Annotated[
        int | None, typer.Option(help="How many photos; 10 where no track is given.")
    ] = None,
    track: Annotated[
        Path | None,
        typer.Option(
            help="Path to fly: CSV with columns lat, lon (and altitude_m above the ground), or "
            "GeoJSON with a LineString."
        ),
    ] = None,
    every_m: Annotated[float, typer.Option(help="Metres between the photos of a track.")] = 30.0,
    altitude_m: Annotated[
        float, typer.Option(help="Above the ground, unless the track says.")
    ] = 120.0,
    pitch_deg: Annotated[float, typer.Option(help="-90 straight down to -10.")] = -90.0,
    yaw_deg: Annotated[
        float | None,
        typer.Option(help="Heading from true north; else along the track, or random."),
    ] = None,
    focal_mm: Annotated[int, typer.Option(help="35-mm equivalent focal length.")] = 24,
    width: Annotated[int, typer.Option(help="Width of the 4:3 photos, px.")] = 960,
    date: Date = 1,
    seed: Annotated[int, typer.Option(help="Other places and sensors.")] = 0,
) -> None:
    """Write drone photos with EXIF and XMP position, height and heading.

    Each looks at another place of the town; with --track they follow a path.
    """
    from geobridge.world.track import read_track
    from geobridge.world.trips import open_town, write_flight

    path = None if track is None else read_track(track)
    place = open_town(town)
    with progress_bar("photos") as progress:
        paths = write_flight(
            place, out, count=count, track=path, every_m=every_m, altitude_m=altitude_m,
            pitch_deg=pitch_deg, yaw_deg=yaw_deg, focal_35mm=focal_mm, width=width, date=date,
            seed=seed, progress=progress,
        )  # fmt: skip
    output().print(f"{len(paths)} drone photos of {place.name} in {out}")


@app.command(epilog="Example: [b]geobridge world survey albion/0 --out example[/b]")
def survey(
    town: TownName,
    out: Annotated[Path, typer.Option(help="Folder of the survey.")],
    photos: Annotated[int, typer.Option(help="How many 360-degree photos.")] = 12,
) -> None:
    """Write what a curation begins with: two orthophotos, 360-degree photos, its configuration.

    `geobridge curate OUT/town.yaml --out DIR`, run in the same folder, makes places of it.
    """
    from geobridge.curation.example import write_example

    with steps() as step:
        config = write_example(town, out, photos=photos, step=step)
    output().print(
        f"orthophotos of two dates and {photos} photos in {out}: run `geobridge curate {config} "
        f"--out town`",
        markup=False,
        soft_wrap=True,
    )


@app.command(epilog="Example: [b]geobridge world walk albion/0 --count 10 --out street[/b]")
def walk(
    town: TownName,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    count: Annotated[int, typer.Option(help="How many pictures.")] = 10,
    fov_deg: Annotated[
        float | None,
        typer.Option(help="Plain 4:3 photos this wide, 15 to 120, and no panoramas."),
    ] = None,
    height: Annotated[int, typer.Option(help="Height of the pictures, px.")] = 512,
    date: Date = 2,
    seed: Annotated[int, typer.Option(help="Another walk.")] = 0,
) -> None:
    """Write street panoramas, or plain photos, with EXIF position and heading."""
    from geobridge.world.trips import open_town, write_walk

    place = open_town(town)
    with progress_bar("pictures") as progress:
        write_walk(
            place, out, count=count, fov_deg=fov_deg, height=height, date=date, seed=seed,
            progress=progress,
        )  # fmt: skip
    kind = "panoramas" if fov_deg is None else "street photos"
    output().print(f"{count} {kind} of {place.name} in {out}")
