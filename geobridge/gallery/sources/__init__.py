"""Where references come from: maps, tile folders, tables, photos and places data sets."""

from geobridge.gallery.sources.detect import open_source
from geobridge.gallery.sources.files import read_reference
from geobridge.gallery.sources.items import ReferenceItem, Skipped, Source

__all__ = ["ReferenceItem", "Skipped", "Source", "open_source", "read_reference"]
