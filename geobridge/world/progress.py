"""How long work on the planet says how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Is told how many of how many are done."""


def silent(done: int, total: int) -> None:
    """Progress that nobody wants to hear of."""
