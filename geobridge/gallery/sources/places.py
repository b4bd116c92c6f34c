"""A places data set: its pictures of one view, and its texts where they are asked for."""

from pathlib import Path


class PlacesSource:
    pass


def is_places_folder(path: Path) -> bool:
    return False
