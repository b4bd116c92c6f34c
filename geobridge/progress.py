"""How long work in steps says how far it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Report = Callable[[int, int | None], None]
"""Is told how many items of how many are done."""

Step = Callable[[str], Report]
"""Is told what begins, and gives what is told of its progress."""


def silent(_: str) -> Report:
    """Progress for nobody."""
    return unheard


def unheard(_done: int, _total: int | None) -> None:
    """Is told how many items are done, for nobody."""


@contextmanager
def shown(console: "Console") -> Iterator[Step]:
    """A bar on a terminal for work in steps; what was there before disappears.

    Yields a function that takes what begins and gives one that takes how many are done, and of
    how many. In a file or a pipe nothing is shown.
    """
    # Here, because much that tells of its progress is used without showing it.
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:

        def begin(what: str) -> Report:
            for task in progress.task_ids:
                progress.remove_task(task)
            begun = progress.add_task(what, total=None)
            return lambda done, total: progress.update(begun, completed=done, total=total)

        yield begin
