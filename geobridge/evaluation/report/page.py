"""Queries beside what was found for them, as one page that fetches nothing from anywhere."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from geobridge.errors import ImageError
from geobridge.evaluation.run import SHOWN, Evaluation
from geobridge.evaluation.scores import Score
from geobridge.imagery.decode import read_image
from geobridge.imagery.inline import jpeg_uri
from geobridge.views import Direction

NEAR = 10
"""Worst rank of the first right reference that is called a near miss."""

_THUMBNAIL_PX = (192, 128)
# Examples of the whole page; tasks share them.
_EXAMPLES = 180
_FEWEST, _MOST = 2, 8
_LONGEST_TEXT = 400


@dataclass(frozen=True)
class Page:
    """The page and what is to be said of it.

    Attributes:
        html: the whole file.
        unreadable: how many pictures could not be shown because their file is missing or damaged.
    """

    html: str
    unreadable: int


@dataclass
class _Drawer:
    """Makes thumbnails and counts those that cannot be made."""

    unreadable: set[str] = field(default_factory=set)

    def picture(self, path: str) -> str:
        """An `img`, or words that say that there is none."""
        uri = _thumbnail(path)
        if uri is None:
            self.unreadable.add(path)
            return '<div class="none">picture cannot be read</div>'
        return f'<img src="{uri}" alt="">'


def retrievals_page(evaluation: Evaluation, queries: Mapping[str, pd.DataFrame]) -> Page:
    """Hits, near misses and failures of every task, with similarity and distance.

    Of each kind a few are shown, evenly spread from the surest to the least sure answer (hits, by
    similarity) or from the best to the worst rank (the others), so that the page is no choice of
    the best or the worst.

    Args:
        evaluation: what was measured.
        queries: of each task, see `queries.read_queries`.
    """
    drawer = _Drawer()
    each = _EXAMPLES // (3 * max(1, len(evaluation.scores)))
    each = min(_MOST, max(_FEWEST, each))
    sections = [_task(drawer, score, queries[score.task], each) for score in evaluation.scores]
    links = " ".join(
        f'<a href="#task-{place}">{html.escape(score.task)}</a>'
        for place, score in enumerate(evaluation.scores)
    )
    page = _PAGE.substitute(
        title=html.escape(f"{evaluation.title}: {evaluation.model}"),
        links=links,
        sections="\n".join(
            f'<section id="task-{place}">{section}</section>'
            for place, section in enumerate(sections)
        ),
    )
    return Page(page, len(drawer.unreadable))


def examples_of(queries: pd.DataFrame, most: int) -> dict[str, tuple[int, pd.DataFrame]]:
    """Hits, near misses and failures: how many there are, and up to `most` of each to be shown.

    Queries without a right reference (rank NaN) are none of the three.
    """
    rank = queries["rank"]
    groups = {
        "Hits": (queries[rank == 1], ["similarity1", "query"], [False, True]),
        "Near misses": (queries[(rank > 1) & (rank <= NEAR)], ["rank", "query"], [True, True]),
        "Failures": (queries[rank > NEAR], ["rank", "query"], [True, True]),
    }
    found = {}
    for name, (group, keys, rising) in groups.items():
        ordered = group.sort_values(keys, ascending=rising, kind="stable")
        rows = np.unique(np.linspace(0, len(ordered) - 1, min(most, len(ordered))).round())
        found[name] = (len(group), ordered.iloc[rows.astype(np.int64)])
    return found


_ORDERS = {
    "Hits": "first reference right; from the most to the least similar",
    "Near misses": f"first right reference at rank 2 to {NEAR}; by rank",
    "Failures": f"first right reference beyond rank {NEAR}; by rank",
}


def _task(drawer: _Drawer, score: Score, queries: pd.DataFrame, most: int) -> str:
    direction = Direction.parse(score.direction)
    parts = [
        f"<h2>{html.escape(score.task)}</h2>"
        f"<p>{html.escape(str(direction).replace('_', ' '))}: {score.queries:,} queries among "
        f"{score.gallery:,} references</p>"
    ]
    for name, (count, shown) in examples_of(queries, most).items():
        parts.append(
            f"<h3>{name}: {count:,} of {score.queries:,}</h3><p>{_ORDERS[name]}"
            f"{f'; {len(shown)} shown' if len(shown) < count else ''}</p>"
        )
        parts += [_example(drawer, direction, row) for row in shown.to_dict("records")]
    return "\n".join(parts)


def _example(drawer: _Drawer, direction: Direction, row: Mapping[str, Any]) -> str:
    asked = _card(drawer, "query", direction.query, row["query"], row["query_file"], [], "asked")
    words = [f"rank {int(row['rank']):,}"]
    truth = _card(
        drawer, "truth", direction.reference, row["positive"], row["positive_file"], words, "truth"
    )
    found = []
    for place in range(1, SHOWN + 1):
        name = row.get(f"top{place}")
        if not isinstance(name, str):
            break
        distance = row.get(f"distance{place}_m", math.nan)
        words = [f"{row[f'similarity{place}']:.3f}", *_metres(distance)]
        kind = "right" if row.get(f"right{place}") else "found"
        file = row.get(f"top{place}_file")
        found.append(_card(drawer, str(place), direction.reference, name, file, words, kind))
    error = [f"first reference {far} from the truth" for far in _metres(row["error_m"])]
    facts = " &middot; ".join(
        html.escape(fact) for fact in [*filter(None, [row["region"]]), *error]
    )
    return (
        f'<article><div class="facts">{facts}</div>'
        f'<div class="row">{asked}{truth}{"".join(found)}</div></article>'
    )


def _card(
    drawer: _Drawer,
    title: str,
    modality: str,
    name: object,
    content: object,
    words: Sequence[str],
    kind: str,
) -> str:
    """A picture or text with its name and what is said of it."""
    if not isinstance(content, str):
        shown = '<div class="none">not kept</div>'
    elif modality == "text":
        cut = content if len(content) <= _LONGEST_TEXT else content[:_LONGEST_TEXT] + " ..."
        shown = f"<blockquote>{html.escape(cut)}</blockquote>"
    else:
        shown = drawer.picture(content)
    said = " &middot; ".join(html.escape(word) for word in words)
    label = html.escape(name) if isinstance(name, str) else ""
    return (
        f'<figure class="{kind}"><b>{html.escape(title)}</b> <span>{said}</span>{shown}'
        f'<figcaption title="{label}">{label}</figcaption></figure>'
    )


def _metres(value: float) -> list[str]:
    """A distance in words; none where it is not known."""
    if not math.isfinite(value):
        return []
    return [f"{value / 1000:,.1f} km" if value >= 10_000 else f"{value:,.0f} m"]


@lru_cache(maxsize=4096)
def _thumbnail(path: str) -> str | None:
    """A small JPEG of a file as a data URI; None where it cannot be read."""
    try:
        pixels = read_image(path, min_side=max(_THUMBNAIL_PX))
    except ImageError:
        return None
    image = Image.fromarray(pixels)
    image.thumbnail(_THUMBNAIL_PX)
    return jpeg_uri(image, quality=75)


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  * { box-sizing: border-box; }
  body { margin: 0; padding: 20px; font: 14px/1.4 system-ui, sans-serif; color: #1b1f24;
         background: #f4f5f7; }
  h1 { margin: 0 0 4px; font-size: 22px; } h2 { margin: 32px 0 0; font-size: 19px; }
  h3 { margin: 20px 0 0; font-size: 15px; } p { margin: 0 0 8px; color: #5b6570; }
  nav a { margin-right: 10px; }
  article { margin-bottom: 10px; padding: 10px; background: #fff; border-radius: 8px; }
  .facts { margin-bottom: 4px; color: #5b6570; font-size: 12px; }
  .row { display: flex; gap: 8px; overflow-x: auto; align-items: flex-start; }
  figure { flex: none; min-width: 144px; max-width: 210px; margin: 0; padding: 6px;
           border-radius: 6px; border: 2px solid #e3e6ea; font-size: 12px; }
  figure.asked { border-color: #1b1f24; } figure.truth { border: 2px dashed #009e73; }
  figure.right { border-color: #009e73; } figure.truth { margin-right: 14px; }
  figure span { color: #5b6570; font-variant-numeric: tabular-nums; }
  img { display: block; max-width: 100%; margin-top: 4px; border-radius: 3px; }
  .none { margin-top: 4px; padding: 30px 6px; background: #eceef1; color: #5b6570;
          text-align: center; border-radius: 3px; }
  blockquote { margin: 4px 0 0; max-height: 150px; overflow-y: auto; }
  blockquote, .none { width: 194px; }
  figcaption { width: 0; min-width: 100%; margin-top: 3px; color: #5b6570; font-size: 11px;
               white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
</style>
</head>
<body>
<h1>$title</h1>
<p>Each row: the query, the right reference with its rank, and the first references found with their
similarity and, where positions are known, their distance from the truth. What is right has a green
frame.</p>
<nav>$links</nav>
$sections
</body>
</html>
""")
