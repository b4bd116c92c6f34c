"""An answer on a map: a picture (PNG) or one self-contained page (HTML).

The ground is painted by `basemap.py`; here come the candidates with their ranks, the position
with its radius, a scale bar, north, and what was asked. No tile server, no network.
"""

import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from geobridge.errors import GeoBridgeError, QueryError
from geobridge.geo.distance import unwrap_lon
from geobridge.imagery.decode import read_image
from geobridge.imagery.inline import jpeg_uri
from geobridge.localization.basemap import Basemap, Scene, paint_basemap
from geobridge.localization.estimate import Candidate, Estimate
from geobridge.localization.page import PAGE
from geobridge.localization.query import Picture, Query
from geobridge.views import VIEWS

MAP_PX = 960
_PANEL_PX = 320
_PANEL_LINE_PX = 22
_THUMBNAIL_PX = 288
# Lines are drawn at this multiple and reduced, which smooths them.
_SMOOTHING = 2

# The same colours in the picture and on the page.
ESTIMATE_COLOR = "#e5214a"
AGREEING_COLOR = "#ffd23f"
OTHER_COLOR = "#ffffff"
_INK, _QUIET, _PAPER = "#1b1f24", "#5b6570", "#ffffff"


@dataclass(frozen=True)
class _Mark:
    """A candidate on the map: its outline (C, 2) in pixels of the scene."""

    candidate: Candidate
    outline: NDArray[np.float64]
    visible: bool

    @property
    def color(self) -> str:
        return AGREEING_COLOR if self.candidate.agrees else OTHER_COLOR


def draw_map(
    estimate: Estimate, metadata: pa.Table, out: Path, query: Query | None = None
) -> list[str]:
    """Draw an answer over the imagery of the gallery itself.

    Args:
        estimate: the answer; its candidates are drawn with their ranks.
        metadata: the gallery's rows, as `GalleryStore.metadata()` gives them.
        out: where to; the ending decides between `.html` and `.png`.
        query: its pictures and text are shown beside the map.

    Returns:
        One sentence for each reference picture that could not be shown.

    Raises:
        QueryError: another ending, or a file that cannot be written.
    """
    check_map_path(out)
    basemap = paint_basemap(estimate, metadata, MAP_PX)
    drawer = _draw_png if out.suffix.lower() == ".png" else _draw_html
    content = drawer(estimate, basemap, query)
    try:
        out.write_bytes(content)
    except OSError as error:
        raise QueryError(
            f"The map {out} cannot be written ({error.strerror}): choose another file."
        ) from None
    return basemap.problems


def check_map_path(out: Path) -> None:
    """Refuse a file that no map can be written to, before any work is done.

    Raises:
        QueryError: another ending than `.html` or `.png`, or a folder that does not exist.
    """
    if out.suffix.lower() not in (".png", ".html"):
        raise QueryError(f"A map is written as .html or .png, not as {out.name!r}: rename it.")
    if not out.parent.is_dir():
        raise QueryError(f"The folder {out.parent} for the map does not exist: create it.")


def _marks(estimate: Estimate, scene: Scene) -> list[_Mark]:
    """Candidates as outlines, the best last so that it is drawn on top."""
    marks = []
    for candidate in reversed(estimate.candidates):
        ring = np.asarray(candidate.footprint.exterior.coords)[:-1, :2]
        outline = scene.pixels(unwrap_lon(ring[:, 0], candidate.lon), ring[:, 1])
        low, high = outline.min(axis=0), outline.max(axis=0)
        visible = bool((high > 0).all() and (low < scene.size_px).all())
        marks.append(_Mark(candidate, outline, visible))
    return marks


def scale_bar(scene: Scene) -> tuple[float, str]:
    """Length in pixels and label of a round distance, at most a quarter of the map."""
    longest_m = scene.width_m / 4
    power = 10.0 ** math.floor(math.log10(longest_m))
    length_m = max(step * power for step in (1, 2, 5) if step * power <= longest_m)
    label = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    return length_m / scene.metres_per_pixel, label


def summary_lines(estimate: Estimate) -> list[str]:
    """The answer in words, a few short lines."""
    lines = [
        f"{estimate.lat:.6f}, {estimate.lon:.6f}",
        f"within {_metres(estimate.radius_m)} with probability {estimate.probability:g}",
        f"confidence {estimate.confidence:.2f} (within {_metres(estimate.within_m)})",
    ]
    if estimate.yaw_deg is not None:
        lines.append(f"top of the photo faces {estimate.yaw_deg:.0f}\N{DEGREE SIGN}")
    if not estimate.calibrated:
        lines.append("radius and confidence are not calibrated")
    return lines


def _metres(value: float) -> str:
    return f"{value / 1000:.1f} km" if value >= 10_000 else f"{value:.0f} m"


def _legend_line(candidate: Candidate, visible: bool) -> str:
    off = "" if visible else ", off the map"
    return (
        f"{candidate.rank}  {candidate.similarity:.3f}  {candidate.modality}, "
        f"{_metres(candidate.distance_m)} from 1{off}"
    )


def _thumbnails(query: Query | None) -> list[tuple[str, Image.Image]]:
    """The query's pictures, small, with their views."""
    given = [(view, getattr(query, view)) for view in VIEWS] if query else []
    thumbnails = []
    for view, picture in given:
        if picture is not None and (image := _open_thumbnail(picture)) is not None:
            thumbnails.append((str(view), image))
    return thumbnails


def _open_thumbnail(picture: Picture) -> Image.Image | None:
    try:
        pixels = picture if isinstance(picture, np.ndarray) else read_image(picture, min_side=300)
    except GeoBridgeError:
        return None  # It was readable when it was located; the map does not need it.
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    return image


# ---- PNG --------------------------------------------------------------------------------------


def _draw_png(estimate: Estimate, basemap: Basemap, query: Query | None) -> bytes:
    marks = _marks(estimate, basemap.scene)
    overlay = _overlay(estimate, basemap.scene, marks)
    ground = Image.alpha_composite(basemap.image.convert("RGBA"), overlay).convert("RGB")
    panel = _panel(estimate, basemap, marks, query)
    sheet = Image.new("RGB", (MAP_PX + panel.width, max(MAP_PX, panel.height)), _PAPER)
    sheet.paste(ground, (0, 0))
    sheet.paste(panel, (MAP_PX, 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _overlay(estimate: Estimate, scene: Scene, marks: Sequence[_Mark]) -> Image.Image:
    """Everything drawn over the ground, transparent elsewhere, RGBA of the scene's size."""
    size = scene.size_px * _SMOOTHING
    image = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(image)
    for mark in marks:
        _outline(draw, mark.outline * _SMOOTHING, "#000000a0", 3 * _SMOOTHING)
        _outline(draw, mark.outline * _SMOOTHING, mark.color, 2 * _SMOOTHING)
    _draw_radius(image, estimate, scene)
    draw = ImageDraw.Draw(image)
    x, y = (scene.pixels(estimate.lon, estimate.lat)[0] * _SMOOTHING).tolist()
    _disc(draw, x, y, 9 * _SMOOTHING, "#ffffff")
    _disc(draw, x, y, 7 * _SMOOTHING, ESTIMATE_COLOR)
    for mark in marks:
        _draw_rank(draw, mark)
    _draw_scale(draw, scene)
    _draw_north(draw, size)
    return image.resize((scene.size_px, scene.size_px), Image.Resampling.LANCZOS)


def _outline(
    draw: ImageDraw.ImageDraw, corners: NDArray[np.float64], color: str, width: int
) -> None:
    closed = [tuple(corner) for corner in [*corners.tolist(), *corners.tolist()[:2]]]
    draw.line(closed, fill=color, width=width, joint="curve")


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, color: str) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _draw_radius(image: Image.Image, estimate: Estimate, scene: Scene) -> None:
    circle = estimate.circle()
    if circle is None:
        return
    ring = np.asarray(circle.exterior.coords)
    corners = [tuple(c) for c in (scene.pixels(ring[:, 0], ring[:, 1]) * _SMOOTHING).tolist()]
    layer = Image.new("RGBA", image.size)
    draw = ImageDraw.Draw(layer)
    draw.polygon(corners, fill=ESTIMATE_COLOR + "12")
    draw.line([*corners, corners[1]], fill="#ffffffc0", width=5 * _SMOOTHING, joint="curve")
    draw.line([*corners, corners[1]], fill=ESTIMATE_COLOR, width=3 * _SMOOTHING, joint="curve")
    image.alpha_composite(layer)


def _draw_rank(draw: ImageDraw.ImageDraw, mark: _Mark) -> None:
    """The rank in a tab at the candidate's top left corner."""
    if not mark.visible:
        return
    x, y = (mark.outline[np.argmin(mark.outline.sum(axis=1))] * _SMOOTHING).tolist()
    font = _font(15 * _SMOOTHING)
    left, top, right, bottom = draw.textbbox((x, y), str(mark.candidate.rank), font, "lt")
    pad = 4 * _SMOOTHING
    shift = 2 * pad
    draw.rectangle((left, top, right + shift, bottom + shift), fill=mark.color)
    draw.text((x + pad, y + pad), str(mark.candidate.rank), fill=_INK, font=font, anchor="lt")


def _draw_scale(draw: ImageDraw.ImageDraw, scene: Scene) -> None:
    length, label = scale_bar(scene)
    x, y = 24 * _SMOOTHING, (scene.size_px - 28) * _SMOOTHING
    right = x + length * _SMOOTHING
    pad = 12 * _SMOOTHING
    draw.rounded_rectangle(
        (x - pad, y - 2.6 * pad, right + pad, y + pad), 6 * _SMOOTHING, fill="#ffffffd8"
    )
    draw.line((x, y, right, y), fill=_INK, width=3 * _SMOOTHING)
    for end in (x, right):
        draw.line((end, y - pad / 2, end, y + pad / 2), fill=_INK, width=3 * _SMOOTHING)
    draw.text((x, y - 0.6 * pad), label, fill=_INK, font=_font(15 * _SMOOTHING), anchor="lb")


def _draw_north(draw: ImageDraw.ImageDraw, size: int) -> None:
    x, y, unit = size - 36 * _SMOOTHING, 40 * _SMOOTHING, _SMOOTHING
    _disc(draw, x, y, 26 * unit, "#ffffffd8")
    draw.polygon(
        [(x, y - 20 * unit), (x - 8 * unit, y + 4 * unit), (x + 8 * unit, y + 4 * unit)], fill=_INK
    )
    draw.text((x, y + 13 * unit), "N", fill=_INK, font=_font(15 * unit), anchor="mm")


def _panel(
    estimate: Estimate, basemap: Basemap, marks: Sequence[_Mark], query: Query | None
) -> Image.Image:
    """The column beside the map: answer, query, candidates."""
    blocks: list[tuple[str, list[str] | Image.Image]] = [("Estimate", summary_lines(estimate))]
    for view, image in _thumbnails(query):
        blocks.append((f"Query: {view}", image))
    if query is not None and query.text:
        blocks.append(("Query: text", _wrapped(query.text, _font(14), _THUMBNAIL_PX)))
    lines = [_legend_line(mark.candidate, mark.visible) for mark in reversed(marks)]
    blocks.append(("Candidates", lines))
    if basemap.problems:
        blocks.append(("Note", [f"{len(basemap.problems)} reference pictures could not be read"]))
    panel = Image.new("RGB", (_PANEL_PX, _panel_height(blocks)), _PAPER)
    draw = ImageDraw.Draw(panel)
    y = 16
    for title, content in blocks:
        draw.text((16, y), title, fill=_QUIET, font=_font(13))
        y += _PANEL_LINE_PX
        y = _place(panel, draw, content, y) + 14
    return panel


def _panel_height(blocks: Sequence[tuple[str, list[str] | Image.Image]]) -> int:
    heights = [
        content.height + 6 if isinstance(content, Image.Image) else len(content) * _PANEL_LINE_PX
        for _, content in blocks
    ]
    return 16 + sum(heights) + len(blocks) * (_PANEL_LINE_PX + 14)


def _place(
    panel: Image.Image, draw: ImageDraw.ImageDraw, content: list[str] | Image.Image, y: int
) -> int:
    """Put lines or a picture at height `y`; the height below them."""
    if isinstance(content, Image.Image):
        panel.paste(content, (16, y))
        return y + content.height + 6
    for line in content:
        draw.text((16, y), line, fill=_INK, font=_font(14))
        y += _PANEL_LINE_PX
    return y


def _wrapped(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    """Words in lines no wider than `width` pixels; at most eight lines."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if len(lines) <= 8 else [*lines[:7], lines[7] + " ..."]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


# ---- HTML -------------------------------------------------------------------------------------


def _draw_html(estimate: Estimate, basemap: Basemap, query: Query | None) -> bytes:
    scene = basemap.scene
    marks = _marks(estimate, scene)
    bar_px, bar_label = scale_bar(scene)
    pictures = "".join(
        f'<figure><img src="{jpeg_uri(image)}" alt=""><figcaption>{view}</figcaption></figure>'
        for view, image in _thumbnails(query)
    )
    text = f"<blockquote>{html.escape(query.text)}</blockquote>" if query and query.text else ""
    page = PAGE.substitute(
        size=scene.size_px,
        ground=jpeg_uri(basemap.image),
        radius=_svg_radius(estimate, scene),
        candidates="".join(_svg_candidate(mark) for mark in marks),
        estimate=_svg_estimate(estimate, scene),
        bar_px=f"{bar_px:.2f}",
        bar_label=bar_label,
        summary="".join(f"<p>{html.escape(line)}</p>" for line in summary_lines(estimate)),
        query=pictures + text,
        rows="".join(_table_row(mark) for mark in reversed(marks)),
        problems="".join(f"<p>{html.escape(problem)}</p>" for problem in basemap.problems),
        estimate_color=ESTIMATE_COLOR,
        agreeing_color=AGREEING_COLOR,
        other_color=OTHER_COLOR,
    )
    return page.encode("utf-8")


def _points(corners: NDArray[np.float64]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners.tolist())


def _svg_candidate(mark: _Mark) -> str:
    if not mark.visible:
        return ""
    candidate = mark.candidate
    x, y = mark.outline[np.argmin(mark.outline.sum(axis=1))].tolist()
    kind = "agrees" if candidate.agrees else "other"
    return (
        f'<g class="candidate {kind}" data-rank="{candidate.rank}">'
        f"<title>{html.escape(_tooltip(candidate))}</title>"
        f'<polygon points="{_points(mark.outline)}"/>'
        f'<text x="{x + 4:.1f}" y="{y + 16:.1f}">{candidate.rank}</text></g>'
    )


def _tooltip(candidate: Candidate) -> str:
    parts = [
        f"{candidate.rank}: similarity {candidate.similarity:.3f}",
        f"{candidate.lat:.6f}, {candidate.lon:.6f}",
        f"{_metres(candidate.distance_m)} from the best, {_metres(candidate.size_m)} across",
        f"{candidate.modality}: {candidate.path}",
        candidate.text or "",
    ]
    return "\n".join(part for part in parts if part)


def _svg_radius(estimate: Estimate, scene: Scene) -> str:
    circle = estimate.circle()
    if circle is None:
        return ""
    ring = np.asarray(shapely.get_coordinates(circle))[:-1]
    return f'<polygon class="radius" points="{_points(scene.pixels(ring[:, 0], ring[:, 1]))}"/>'


def _svg_estimate(estimate: Estimate, scene: Scene) -> str:
    x, y = scene.pixels(estimate.lon, estimate.lat)[0].tolist()
    title = html.escape("\n".join(summary_lines(estimate)))
    return (
        f'<circle class="estimate" cx="{x:.1f}" cy="{y:.1f}" r="8"><title>{title}</title></circle>'
    )


def _table_row(mark: _Mark) -> str:
    candidate = mark.candidate
    cells = [
        str(candidate.rank),
        f"{candidate.similarity:.3f}",
        f"{candidate.lat:.6f}",
        f"{candidate.lon:.6f}",
        _metres(candidate.distance_m),
        candidate.modality,
        candidate.path + ("" if mark.visible else " (off the map)"),
    ]
    columns = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    return f'<tr data-rank="{candidate.rank}">{columns}</tr>'
