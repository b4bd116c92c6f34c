"""What every benchmark is: a name, options, a reader, and what was published about its size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from geobridge.evaluation.tasks import Items, Loaded
from geobridge.model.config import Settings

OptionsT = TypeVar("OptionsT", bound=Settings)


class NoOptions(Settings):
    """Options of a benchmark about which published practice does not differ."""


def _no_faults(root: Path) -> Sequence[str]:  # noqa: ARG001 - the signature of all
    return ()


@dataclass(frozen=True)
class Benchmark(Generic[OptionsT]):
    """A data set with its own rules of evaluation; one module each, so that adding one is easy.

    Attributes:
        name: what people type.
        title: what papers call it.
        layout: folders and files below the root, a line each, as documentation shows them.
        source: where the rules were read.
        options: what published practice differs about; the defaults are the data set's own rule.
        read: from the root and the options to sets and tasks. Raises EvaluationError with what
            was looked for and what was found where the root holds something else.
        splits: from the root to every set of every split, training included, for `data doctor`;
            names are `split/what`, such as `train/drone`.
        counts: as published, how many items each set of `splits` has (`train/drone`) and how many
            different places (`train/drone places`); left out where no source states a number.
        faults: from the root to what breaks the layout and `splits` reads over, a sentence each.
        overlap: why splits share places by the data set's own design, a sentence; None where they
            must not.
    """

    name: str
    title: str
    layout: str
    source: str
    read: Callable[[Path, OptionsT], Loaded]
    splits: Callable[[Path], Mapping[str, Items]]
    options: type[OptionsT]
    counts: Mapping[str, int] = field(default_factory=dict)
    faults: Callable[[Path], Sequence[str]] = _no_faults
    overlap: str | None = None

    def configure(self, given: Mapping[str, Any]) -> OptionsT:
        """Options from what a person typed; unknown keys are refused with a suggestion."""
        return self.options.model_validate(given)
