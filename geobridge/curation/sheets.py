"""Contact sheets: small pictures in rows with a few words below each, to be looked at."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from geobridge.errors import ImageError
from geobridge.files import write_atomically
from geobridge.imagery.decode import read_image

# Okabe and Ito's vermillion and bluish green, which colour-blind people tell apart.
REJECTED, PASSED = "#d55e00", "#009e73"

_COLUMNS = 6
_THUMB_PX = (210, 150)
_MARGIN_PX = 8
_LINE_PX = 13
_HEAD_PX = 26
_FRAME_PX = 4
_LETTERS = 34


@dataclass(frozen=True)
class Card:
    """One picture of a sheet.

    Attributes:
        path: of the picture; None where there is none.
        words: lines below it; what is too long for a line goes on in the next.
        colour: of its frame.
    """

    path: Path | None
    words: tuple[str, ...]
    colour: str


def write_sheet(path: Path, title: str, cards: Sequence[Card], *, columns: int = _COLUMNS) -> None:
    """Write cards as a PNG, row by row; a picture that cannot be read is an empty frame.

    Without cards there is no PNG; a former one is removed.

    Args:
        path: of the PNG; its folder is made.
        title: first line of the sheet.
        cards: in the order they are shown.
        columns: cards of a row.
    """
    if not cards:
        path.unlink(missing_ok=True)
        return
    lines = [_lines(card.words) for card in cards]
    most = max(map(len, lines), default=0)
    wide, high = _THUMB_PX[0] + _MARGIN_PX, _THUMB_PX[1] + _MARGIN_PX + most * _LINE_PX
    rows = -(-len(cards) // columns)
    sheet = Image.new("RGB", (columns * wide + _MARGIN_PX, _HEAD_PX + rows * high), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN_PX, 6), title, fill="black", font=_font(14))
    for at, (card, words) in enumerate(zip(cards, lines, strict=True)):
        left = _MARGIN_PX + at % columns * wide
        top = _HEAD_PX + at // columns * high
        _draw_card(sheet, draw, card, left, top)
        for line, text in enumerate(words):
            below = top + _THUMB_PX[1] + line * _LINE_PX
            draw.text((left, below), text, fill="black", font=_font(11))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def _draw_card(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, card: Card, left: int, top: int
) -> None:
    right, bottom = left + _THUMB_PX[0], top + _THUMB_PX[1]
    draw.rectangle((left, top, right - 1, bottom - 1), "#eceef1", card.colour, _FRAME_PX)
    if card.path is None:
        draw.text((left + 20, top + 60), "none", fill="black", font=_font(11))
        return
    try:
        picture = Image.fromarray(read_image(card.path, min_side=max(_THUMB_PX)))
    except ImageError:
        draw.text((left + 20, top + 60), "cannot be read", fill="black", font=_font(11))
        return
    picture.thumbnail((_THUMB_PX[0] - 2 * _FRAME_PX, _THUMB_PX[1] - 2 * _FRAME_PX))
    place = (left + (_THUMB_PX[0] - picture.width) // 2, top + (_THUMB_PX[1] - picture.height) // 2)
    sheet.paste(picture, place)


def _lines(words: Sequence[str]) -> list[str]:
    return [
        text[start : start + _LETTERS]
        for text in words
        for start in range(0, max(1, len(text)), _LETTERS)
    ]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
