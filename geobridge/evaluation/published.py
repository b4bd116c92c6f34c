"""What others have published, as data, and whether their protocol is ours under given options.

`published.json` has one entry a method and source. Its numbers are told as they were published:
shares in per cent, distances in metres.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

Certainty = Literal["paper", "leaderboard", "code", "3rd", "mem"]
"""How well a number is known: read in the paper, in the leaderboard of the data set's owners, or
in code or names of released weights; stated by a public repository (3rd); or general knowledge
that nobody has looked up (mem)."""

Protocol = Literal["same", "unknown", "other"]

TIES = (
    "Ties count against the model here. Published code breaks them in favour of the model or by "
    "the order of the files, which differs where a model embeds several references alike."
)
"""What differs between every published number and ours."""


@dataclass(frozen=True)
class Published:
    """What one method came to on one task, as published.

    Attributes:
        benchmark: name of the data set.
        task: name of ours that it is to be compared with.
        method: as its authors call it.
        values: of measures under our names, in per cent or metres; `R@1%` without a definition
            in brackets where the source does not say which of the four it is.
        part: options that choose the part of the data set that was measured.
        options: options under which our protocol is theirs.
        protocol: whether it then is; `unknown` where nobody has checked.
        note: what theirs does, or what is not known of it, in sentences; may be empty.
        source: where the numbers were read.
        certainty: how well they are known.
    """

    benchmark: str
    task: str
    method: str
    values: Mapping[str, float]
    part: Mapping[str, Any]
    options: Mapping[str, Any]
    protocol: Protocol
    note: str
    source: str
    certainty: Certainty


@dataclass(frozen=True)
class Verdict:
    """Whether a published number may be compared with one of ours.

    Attributes:
        state: `matches`, `differs`, or `not checked` where nobody knows.
        reason: what theirs does or what is not known of it; empty where nothing is to be said.
    """

    state: Literal["matches", "differs", "not checked"]
    reason: str


def published(benchmark: str, task: str, options: Mapping[str, Any]) -> list[Published]:
    """The published numbers of the part of a benchmark that the options choose.

    Args:
        benchmark: its name; one that nothing was published of has no numbers.
        task: name of a task of it.
        options: that the benchmark is read with.
    """
    return [
        entry
        for entry in all_published()
        if (entry.benchmark, entry.task) == (benchmark, task) and _hold(entry.part, options)
    ]


def verdict(entry: Published, options: Mapping[str, Any]) -> Verdict:
    """Whether the protocols match, ties aside (see `TIES`).

    Args:
        entry: a published number.
        options: that ours was measured with.
    """
    if entry.protocol == "other":
        return Verdict("differs", entry.note)
    if not _hold(entry.options, options):
        wanted = ", ".join(
            f"{name}={'none' if value is None else value}"
            for name, value in entry.options.items()
            if options.get(name) != value
        )
        return Verdict("differs", f"{entry.note} Ours is measured so with {wanted}.".strip())
    if entry.protocol == "unknown":
        return Verdict("not checked", entry.note)
    return Verdict("matches", entry.note)


@cache
def all_published() -> tuple[Published, ...]:
    """Every number of `published.json`, in its order."""
    text = files("geobridge.evaluation").joinpath("published.json").read_text(encoding="utf-8")
    return tuple(
        Published(
            benchmark=entry["benchmark"],
            task=task,
            method=entry["method"],
            values=values,
            part=entry.get("part", {}),
            options=entry.get("options", {}),
            protocol=entry["protocol"],
            note=entry.get("note", ""),
            source=entry["source"],
            certainty=entry["certainty"],
        )
        for entry in json.loads(text)
        for task, values in entry["results"].items()
    )


def _hold(wanted: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    return all(options.get(name) == value for name, value in wanted.items())
