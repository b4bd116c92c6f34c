"""How long work in steps says how far it is."""

from collections.abc import Callable

Report = Callable[[int, int | None], None]
"""Is told how many items of how many are done."""

Step = Callable[[str], Report]
"""Is told what begins, and gives what is told of its progress."""


def silent(_: str) -> Report:
    """Progress for nobody."""
    return _ignored


def _ignored(_done: int, _total: int | None) -> None:
    pass
