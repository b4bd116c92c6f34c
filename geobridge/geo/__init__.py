"""Where things are on the ground: distances, footprints, tiles, rasters, positions of photos.

Modules
    distance    metres between positions, a metric frame around one, checks of positions
    footprint   the ground polygon a picture covers
    tiles       the tile arithmetic of web maps
    grid        position and true size of a raster's pixels
    rasters     square ground windows out of a georeferenced raster
    photos      position, heading and optics from EXIF and XMP

Conventions: WGS-84; geometry in lon, lat; named fields `lat`, `lon`; yaw in degrees clockwise
from north; pixel (0, 0) is the outer corner of the top-left pixel.
"""
