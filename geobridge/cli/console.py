"""What the verbs share: where output goes, and how progress looks."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Wide enough for paths: a table in a file or a pipe has no window to fit into.
_WIDTH_WITHOUT_TERMINAL = 200


def output() -> Console:
    """Console for answers, on stdout; colours and window width only on a terminal."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=False)


def remarks() -> Console:
    """Console for everything that is not the answer, on stderr."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr; yields a function that takes how many are done, and of how many."""
    with steps() as step:
        yield step(what)


@contextmanager
def steps() -> Iterator[Callable[[str], Callable[[int, int | None], None]]]:
    """A bar on stderr for work in steps.

    Yields a function that takes what begins and gives one that takes how many are done, and of
    how many; what was there before disappears.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=remarks(), transient=True) as progress:

        def begin(what: str) -> Callable[[int, int | None], None]:
            for task in progress.task_ids:
                progress.remove_task(task)
            begun = progress.add_task(what, total=None)
            return lambda done, total: progress.update(begun, completed=done, total=total)

        yield begin
