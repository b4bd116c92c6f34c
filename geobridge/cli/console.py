"""What the verbs share: where output goes, and how progress looks."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console

from geobridge.progress import Report, Step, shown

# Wide enough for paths: a table in a file or a pipe has no window to fit into.
_WIDTH_WITHOUT_TERMINAL = 200


def output() -> Console:
    """Console for answers, on stdout; colours and window width only on a terminal."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=False)


def remarks() -> Console:
    """Console for everything that is not the answer, on stderr."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(what: str) -> Iterator[Report]:
    """A bar on stderr; yields a function that takes how many are done, and of how many."""
    with steps() as step:
        yield step(what)


def steps() -> AbstractContextManager[Step]:
    """A bar on stderr for work in steps; see `geobridge.progress.shown`."""
    return shown(remarks())
