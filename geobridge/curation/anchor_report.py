"""Descriptions beside the pictures they are of, as one page that fetches nothing from anywhere."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from geobridge.errors import ImageError
from geobridge.imagery.inline import data_uri
from geobridge.views import View

# Shown equally high: panoramas are twice as wide.
_HIGH_PX = 240
_LONGER_PX: dict[View, int] = {"drone": 240, "street": 480, "satellite": 240}


@dataclass(frozen=True)
class ReportRow:
    """One place of the page.

    Attributes:
        place_id: of the place.
        pictures: by view.
        text: its description, None where there is none.
        fits: similarity and agreement (None where too few others) by view.
        attempts: answers that were asked for.
        reason: why it was not taken, None where it was.
    """

    place_id: str
    pictures: Mapping[View, Path]
    text: str | None
    fits: Mapping[View, tuple[float, float | None]]
    attempts: int
    reason: str | None


def report_page(
    rows: Sequence[ReportRow], places: int, model: str, least: float | None = None
) -> str:
    """The page, HTML.

    Args:
        rows: in the order they are shown.
        places: how many were described.
        model: that wrote.
        least: agreement that was asked for with every picture; None where nothing was judged.
    """
    return _PAGE.substitute(
        model=html.escape(model),
        shown=f"{len(rows):,}",
        places=f"{places:,}",
        least="" if least is None else f" At least {least:.2f} was asked for; less is bold.",
        high=_HIGH_PX,
        rows="\n".join(_article(row, least) for row in rows),
    )


def _article(row: ReportRow, least: float | None) -> str:
    verdict = "taken" if row.reason is None else f"not taken: {row.reason}"
    text = html.escape(row.text) if row.text is not None else "no description"
    answers = "1 answer" if row.attempts == 1 else f"{row.attempts} answers"
    figures = "".join(_figure(row, view, path, least) for view, path in row.pictures.items())
    return (
        f'<article class="{"taken" if row.reason is None else "refused"}">'
        f"<h2>{html.escape(row.place_id)}</h2><blockquote>{text}</blockquote>"
        f"<p>{html.escape(verdict)} ({answers})</p>"
        f'<div class="row">{figures}</div></article>'
    )


def _figure(row: ReportRow, view: View, path: Path, least: float | None) -> str:
    try:
        shown = f'<img src="{data_uri(path, _LONGER_PX[view], 75)}" alt="{view}">'
    except ImageError:
        shown = "<div>cannot be read</div>"
    words: list[str] = [view]
    if view in row.fits:
        similarity, agreement = row.fits[view]
        words.append(f"similarity {similarity:.3f}")
        if agreement is not None:
            told = f"agreement {agreement:.2f}"
            is_short = least is not None and agreement < least
            words.append(f"<strong>{told}</strong>" if is_short else told)
    return f"<figure>{shown}<figcaption>{' &middot; '.join(words)}</figcaption></figure>"


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Descriptions that fit least</title>
<style>
  body { margin: 0; padding: 20px; font: 14px/1.4 system-ui, sans-serif; color: #1b1f24;
         background: #f4f5f7; }
  h1 { margin: 0 0 4px; font-size: 22px; }
  h2 { margin: 0; font-size: 13px; font-weight: 600; color: #5b6570; }
  p { margin: 0 0 8px; color: #5b6570; }
  article { margin-bottom: 12px; padding: 12px; background: #fff; border-radius: 8px;
            border-left: 6px solid #009e73; }
  article.refused { border-color: #d55e00; }
  blockquote { margin: 4px 0; font-size: 16px; max-width: 70em; }
  .row { display: flex; gap: 10px; flex-wrap: wrap; align-items: flex-start; }
  figure { margin: 0; font-size: 12px; color: #5b6570; }
  figure strong { color: #b34e00; }
  img { display: block; height: ${high}px; max-width: 100%; object-fit: contain;
        border-radius: 3px; }
</style>
</head>
<body>
<h1>Descriptions that fit least</h1>
<p>$shown of $places places, described by $model; first those that were not taken, then by the
lowest agreement with a picture. Agreement is the share of other places' descriptions that fit the
picture less, as a model sees it: 1 is best, and one half is what a description of any other place
would have.$least</p>
$rows
</body>
</html>
""")
