"""What every benchmark is: a name, options, a reader, and what was published about its size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from geobridge.evaluation.tasks import Items, Loaded
from geobridge.model.config import Settings

OptionsT = TypeVar("OptionsT", bound=Settings)


class NoOptions(Settings):
    """Options of a benchmark about which published practice does not differ."""


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
        counts: how many items each set of `splits` has, or other things that `splits` counts, as
            published; None where no source states a number.
    """

    name: str
    title: str
    layout: str
    source: str
    read: Callable[[Path, OptionsT], Loaded]
    splits: Callable[[Path], Mapping[str, Items]]
    options: type[OptionsT]
    counts: Mapping[str, int] = field(default_factory=dict)

    def configure(self, given: Mapping[str, Any]) -> OptionsT:
        """Options from what a person typed; unknown keys are refused with a suggestion."""
        return self.options.model_validate(given)
