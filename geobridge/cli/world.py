"""`geobridge world`: data sets, maps and photos of the simulated planet."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from geobridge.cli.console import output, progress_bar

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
        float, typer.Option(help="Share of facts in the texts that are spoilt.")
    ] = 0.0,
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
        size, seed, satellite_gsd, satellite_m, drone, parse_missing(missing), anchor_noise
    )
    with progress_bar("places") as progress:
        built = build_places(out, names, towns, places, recipe, workers=workers, progress=progress)
    output().print(f"{built.places} places of {len(names) * towns} towns in {built.table}")
    if built.short:
        held = ", ".join(f"{count} in {town}" for town, count in built.short.items())
        output().print(
            f"{len(built.short)} of the towns had no room for {places} places: {held}.",
            soft_wrap=True,
        )


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


@app.command(epilog="Example: [b]geobridge world fly albion/0 --count 10 --out photos[/b]")
def fly(
    town: TownName,
    out: Annotated[Path, typer.Option(help="Folder for the photos.")],
    count: Annotated[int, typer.Option(help="How many photos.")] = 10,
    altitude_m: Annotated[float, typer.Option(help="Above the ground.")] = 120.0,
    pitch_deg: Annotated[float, typer.Option(help="-90 straight down to -10.")] = -90.0,
    yaw_deg: Annotated[
        float | None, typer.Option(help="Heading from true north; random without it.")
    ] = None,
    focal_mm: Annotated[int, typer.Option(help="35-mm equivalent focal length.")] = 24,
    width: Annotated[int, typer.Option(help="Width of the 4:3 photos, px.")] = 960,
    date: Date = 1,
    seed: Annotated[int, typer.Option(help="Another track.")] = 0,
) -> None:
    """Write drone photos with EXIF and XMP position, height and heading."""
    from geobridge.world.trips import open_town, write_flight

    place = open_town(town)
    with progress_bar("photos") as progress:
        write_flight(
            place, out, count=count, altitude_m=altitude_m, pitch_deg=pitch_deg, yaw_deg=yaw_deg,
            focal_35mm=focal_mm, width=width, date=date, seed=seed, progress=progress,
        )  # fmt: skip
    output().print(f"{count} drone photos of {place.name} in {out}")


@app.command(epilog="Example: [b]geobridge world walk albion/0 --count 10 --out street[/b]")
def walk(
    town: TownName,
    out: Annotated[Path, typer.Option(help="Folder for the panoramas.")],
    count: Annotated[int, typer.Option(help="How many panoramas.")] = 10,
    height: Annotated[int, typer.Option(help="Height of the 2:1 panoramas, px.")] = 512,
    date: Date = 2,
    seed: Annotated[int, typer.Option(help="Another walk.")] = 0,
) -> None:
    """Write street panoramas with EXIF position and their heading."""
    from geobridge.world.trips import open_town, write_walk

    place = open_town(town)
    with progress_bar("panoramas") as progress:
        write_walk(place, out, count=count, height=height, date=date, seed=seed, progress=progress)
    output().print(f"{count} panoramas of {place.name} in {out}")
