"""The data card: what a places data set holds and whose it is, as a README.md."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geobridge.curation.licences import may_be_redistributed
from geobridge.files import write_atomically
from geobridge.views import VIEWS

_SHOWN = 40

_UNKNOWN = "not stated"


def write_card(
    path: Path,
    places: pd.DataFrame,
    pictures: Sequence[Mapping[str, Any]],
    *,
    left_out: int,
    apart_m: float,
) -> None:
    """Write the card of a data set; the same tables give the same bytes.

    Args:
        path: of the card.
        places: country (None at sea), near_border and split of each place.
        pictures: rows of the table of pictures.
        left_out: places that are not published.
        apart_m: least distance between places of two splits.
    """
    frame = pd.DataFrame(list(pictures))
    parts = [
        "# Places\n",
        f"{len(places):,} places with {len(frame):,} pictures, in `places.parquet` (GeoParquet, "
        f"one row a place) and the folders beside it. `pictures.parquet` tells of each picture "
        f"whom it comes from, its licence, whom to name, its date, its ground resolution and its "
        f"SHA-256. {left_out:,} more places were left out when this was published.\n",
        _warning(frame),
        f"Places of different splits are at least {apart_m:g} m apart.\n",
        _counts("Splits", "split", places["split"]),
        _counts("Countries", "country", places["country"].fillna("at sea")),
        _border_note(int(places["near_border"].sum())),
        _views(frame),
        _by_view("Dates", "year", frame, frame["captured"].map(_year)),
        _by_view("Providers", "provider", frame, frame["provider"]),
        _by_view("Licences", "licence", frame, frame["licence"].fillna(_UNKNOWN)),
        _attributions(frame),
    ]
    write_atomically(path, "\n".join(part for part in parts if part).encode())


def _warning(frame: pd.DataFrame) -> str:
    """That the data set may not be passed on, where it may not."""
    kept_back = int((~frame["licence"].map(may_be_redistributed)).sum())
    if not kept_back:
        return ""
    return (
        f"**Not to be passed on:** {kept_back:,} of the pictures have no licence that is known to "
        f"let anyone pass them on. `only_redistributable` publishes a data set without them, and a "
        f"recipe for them.\n"
    )


def _border_note(count: int) -> str:
    if not count:
        return ""
    return (
        f"{count:,} of them are so near to a border that they may lie in the other country: the "
        f"outlines, Natural Earth's at 1:10 million, are not finer.\n"
    )


def _counts(title: str, name: str, values: "pd.Series[Any]") -> str:
    counted = sorted(values.value_counts().items(), key=lambda item: (-item[1], str(item[0])))
    return f"## {title}\n\n" + _table((name, "places"), ((word, f"{n:,}") for word, n in counted))


def _views(frame: pd.DataFrame) -> str:
    rows = []
    for view in VIEWS:
        of_view = frame[frame["view"] == view]
        gsd_m = of_view["gsd_m"].dropna().to_numpy(np.float64)
        told = ("", "", "")
        if len(gsd_m):
            low, middle, high = np.quantile(gsd_m, [0, 0.5, 1])
            told = (f"{low:.3g}", f"{middle:.3g}", f"{high:.3g}")
        rows.append((view, f"{len(of_view):,}", *told))
    header = ("view", "pictures", "finest m a pixel", "median", "coarsest")
    return "## Views\n\n" + _table(header, rows)


def _by_view(title: str, name: str, frame: pd.DataFrame, values: "pd.Series[Any]") -> str:
    counted = pd.crosstab(values, frame["view"]).reindex(columns=list(VIEWS), fill_value=0)
    rows = [
        (word, *(f"{n:,}" for n in counts))
        for word, counts in zip(counted.index, counted.to_numpy().tolist(), strict=True)
    ]
    return f"## {title}\n\n" + _table((name, *VIEWS), sorted(rows))


def _attributions(frame: pd.DataFrame) -> str:
    """Whom to name, by provider."""
    named = frame.dropna(subset=["attribution"])
    lines = [
        "## Attribution\n",
        "Whoever shows a picture names whom its row in `pictures.parquet` names.\n",
    ]
    for provider, some in sorted(named.groupby("provider")["attribution"]):
        who = sorted(set(some))
        more = f", and {len(who) - _SHOWN:,} more" if len(who) > _SHOWN else ""
        lines.append(f"- {provider}: {', '.join(who[:_SHOWN])}{more}")
    return "\n".join(lines) + "\n"


def _year(captured: Any) -> str:
    return captured[:4] if isinstance(captured, str) else _UNKNOWN


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(word: Any) -> str:
    return str(word).replace("|", "\\|").replace("\n", " ")
