"""Any picture file to uint8 RGB, or one clear error: nothing is trusted, nothing half-read.

JPEG goes through simplejpeg (libjpeg-turbo), with its reduced-size decoding where a smaller
picture is enough; everything else, and what simplejpeg does not take, through Pillow; TIFFs of
more bands or bits than Pillow knows through rasterio.
"""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

from geobridge.errors import ImageError, RasterError
from geobridge.geo.rasters import color_bands, open_dataset

Picture = npt.NDArray[np.uint8]

MAX_PIXELS = 178_956_970
"""Largest picture that is decoded, width x height: half a gigabyte, where Pillow refuses too."""

# Formats that only hold pixels: among the others Pillow knows are some that start programs.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM")

_TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def read_image(source: str | Path | bytes, *, min_side: int | None = None) -> Picture:
    """Decode a picture, upright.

    The content decides the format, not the suffix. EXIF orientation is applied; 16 bits become
    8 (by the smallest of 10, 12, 14 or 16 bits that holds the data); transparency is laid over
    white; grey, palette and CMYK become RGB; of an animation the first frame counts.

    Args:
        source: a path, or the bytes of a file.
        min_side: when the picture is a JPEG, it may come back reduced by up to 8, but with
            no side shorter than this unless it was: many times faster when that is enough.

    Returns:
        (H, W, 3) uint8 RGB, contiguous and writable.

    Raises:
        ImageError: missing, empty, truncated, not a picture, or more than `MAX_PIXELS`.
    """
    name = f"the picture ({len(source)} bytes)" if isinstance(source, bytes) else str(source)
    try:
        return _read(source, min_side)
    except ImageError as error:
        raise ImageError(f"{name} {error}") from error.__cause__
    except RasterError as error:
        raise ImageError(str(error)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} {_TOO_LARGE}") from error
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist: check the path.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name} is a folder: give a picture file.") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read: check its permissions.") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not a picture we know: convert it to JPEG, PNG, WebP or TIFF."
        ) from error
    except Exception as error:  # decoders let every kind through on damaged files
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise ImageError(
            f"{name} is damaged ({reason}): get an intact copy of it, or leave it out."
        ) from error


_TOO_LARGE = (
    f"has more than {MAX_PIXELS:,} pixels, which is not decoded whole: reduce it, or index it as "
    f"a georeferenced raster."
)


def _read(source: str | Path | bytes, min_side: int | None) -> Picture:
    """Dispatch on the first bytes; raises ImageError without a subject, and whatever else."""
    if isinstance(source, bytes):
        head, jpeg = source[:4], source
    else:
        with Path(source).open("rb") as file:
            head = file.read(4)
            jpeg = head + file.read() if head.startswith(b"\xff\xd8\xff") else b""
    if not head:
        raise ImageError("is empty: get an intact copy of it, or leave it out.")
    if head.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(jpeg, min_side)
    file_or_path = io.BytesIO(source) if isinstance(source, bytes) else Path(source)
    try:
        return _read_with_pillow(file_or_path)
    except (UnidentifiedImageError, _UnknownPixelsError):
        if head not in _TIFF_MAGIC:
            raise
        return _read_with_rasterio(source)


def _read_jpeg(data: bytes, min_side: int | None) -> Picture:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return _read_with_pillow(io.BytesIO(data))
    if height * width > MAX_PIXELS:
        raise ImageError(_TOO_LARGE)
    if colours in ("CMYK", "YCCK"):
        return _read_with_pillow(io.BytesIO(data))
    side = min_side or 0
    try:
        pixels = simplejpeg.decode_jpeg(data, min_height=side, min_width=side, min_factor=2)
    except ValueError as error:
        # Pixels that are not there must not become grey; lesser oddities Pillow passes over.
        if "premature end" in str(error).lower():
            raise
        return _read_with_pillow(io.BytesIO(data))
    return _upright(pixels, _jpeg_orientation(data))


def _jpeg_orientation(data: bytes) -> int:
    # Opening a JPEG with Pillow costs more than looking whether it has any EXIF.
    if b"Exif\x00\x00" not in data[:65536]:
        return 1
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _orientation(image)
    except (OSError, Warning):  # Pillow is stricter with headers than the pixels need
        return 1


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken EXIF block does not make the pixels worse
        return 1


def _upright(pixels: Picture, orientation: int) -> Picture:
    """Undo EXIF orientation 2..8 (EXIF 2.32, tag 274)."""
    turns = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, 1),
    }
    turn = turns.get(orientation)
    return np.ascontiguousarray(turn(pixels)) if turn else pixels


class _UnknownPixelsError(ImageError):
    """The file opens, but its pixels are of no kind we can show."""


def _read_with_pillow(file: io.BytesIO | Path) -> Picture:
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(_TOO_LARGE)
        image.load()
        pixels = _to_rgb(image)
        return _upright(pixels, _orientation(image))


def _to_rgb(image: Image.Image) -> Picture:
    """Any loaded Pillow picture as uint8 (H, W, 3)."""
    if image.mode.startswith("I"):
        grey = _scale_to_8_bits(np.array(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise _UnknownPixelsError(
            "holds floating-point values, not a picture: convert it to 8 or 16 bits."
        )
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, rgba)
    return np.array(image.convert("RGB"))


def _read_with_rasterio(source: str | Path | bytes) -> Picture:
    """A TIFF of more bands or bits than Pillow takes."""
    with open_dataset(source) as dataset:
        if dataset.width * dataset.height > MAX_PIXELS:
            raise ImageError(_TOO_LARGE)
        if {"uint8", "uint16"}.isdisjoint(dataset.dtypes):
            raise _UnknownPixelsError(
                f"holds {dataset.dtypes[0]} values, not a picture: convert it to 8 or 16 bits."
            )
        bands = color_bands(dataset)
        pixels = dataset.read(bands if len(bands) == 3 else bands * 3)
        visible = dataset.dataset_mask() > 0
    rgb = _scale_to_8_bits(np.moveaxis(pixels, 0, 2))
    return np.ascontiguousarray(np.where(visible[:, :, None], rgb, np.uint8(255)))


def _scale_to_8_bits(values: npt.NDArray[np.integer]) -> Picture:
    """Integers of up to 16 bits to uint8, by the bit depth (10, 12, 14 or 16) that holds them."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high >= 1 << 16:
        raise _UnknownPixelsError(
            f"holds values from {low} to {high}, not a picture: convert it to 8 or 16 bits."
        )
    bits = next(bits for bits in (8, 10, 12, 14, 16) if high < 1 << bits)
    return (values >> (bits - 8)).astype(np.uint8)
