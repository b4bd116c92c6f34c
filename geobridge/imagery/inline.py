"""Pictures inside other documents."""

import base64
import io
from pathlib import Path

from PIL import Image

from geobridge.imagery.decode import read_image


def fitted_size(width: int, height: int, side_px: int) -> tuple[int, int]:
    """Width and height of a picture whose longer side is reduced to `side_px`; never enlarged."""
    scale = min(1.0, side_px / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def data_uri(path: str | Path, side_px: int, quality: int = 85) -> str:
    """A file's picture as a JPEG in a `data:` URI (RFC 2397).

    Args:
        path: of the picture.
        side_px: the longer side is reduced to.
        quality: of the JPEG, 1 to 100.

    Raises:
        ImageError: it cannot be read.
    """
    picture = Image.fromarray(read_image(path))
    size = fitted_size(*picture.size, side_px)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return jpeg_uri(picture, quality)


def jpeg_uri(picture: Image.Image, quality: int = 85) -> str:
    """A picture in memory as a JPEG in a `data:` URI (RFC 2397); quality is 1 to 100."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
