"""Where sweeps are measured: places of the planet, what is changed about them, and scores.

DATA/world-1k, DATA/world-1k-far     the benchmarks, built where they are absent
DATA/robustness-<name>               one modality of the same places, made by another recipe
OUT/embeddings                       of every set of items, so that a stopped suite goes on
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from geobridge import __version__
from geobridge.evaluation.benchmarks.places import load_places
from geobridge.evaluation.benchmarks.world import town
from geobridge.evaluation.embeddings import embed_items, items_digest
from geobridge.evaluation.ranking import rank
from geobridge.evaluation.scores import Score, score
from geobridge.evaluation.tasks import Content, Items, Relevance, Task
from geobridge.imagery.decode import read_image
from geobridge.imagery.street import StreetField
from geobridge.model.fusion import fuse
from geobridge.model.geobridge import GeoBridge
from geobridge.places.table import iter_places
from geobridge.progress import Step
from geobridge.views import MODALITIES, Direction, Modality
from geobridge.world.benchmark import benchmark_named, build_benchmark
from geobridge.world.build import Recipe, build_towns

Picture = NDArray[np.uint8]
Change = Callable[[Picture, int], Picture]
"""Makes another picture of one and its number within its set."""

BENCHMARK = "world-1k"
UNSEEN = "world-1k-far"
SEED = 0
"""Of all that is drawn at random."""


@dataclass(frozen=True)
class Variant:
    """Items of one modality, as they are or changed.

    Attributes:
        name: that no other variant has.
        items: named by their places.
        salt: what the items depend on beside their names and files.
    """

    name: str
    items: Items
    salt: str = ""


class Lab:
    """One model and the places it is measured on; everything is made once, when it is needed.

    Args:
        model: what is measured.
        data: folder of data sets.
        out: folder whose `embeddings` are used.
        step: progress.
    """

    def __init__(self, model: GeoBridge, data: Path, out: Path, step: Step) -> None:
        self.model = model
        self.data = data
        self.out = out
        self.step = step
        self._scores: dict[tuple[str, ...], Score] = {}
        self._rows: dict[str, NDArray[np.float32]] = {}

    @cached_property
    def base(self) -> dict[Modality, Variant]:
        """The places of `world-1k` as they are."""
        return self.places(BENCHMARK)

    @property
    def recipe(self) -> Recipe:
        """What they are made by."""
        return benchmark_named(BENCHMARK).recipe

    def places(self, name: str) -> dict[Modality, Variant]:
        """All modalities of a benchmark of the planet, built where it is absent.

        Raises:
            WorldError: its folder holds something else.
        """
        folder = self.data / name
        build_benchmark(name, folder, progress=self.step(f"building {folder.name}"))
        sets = load_places(list(iter_places(folder)), str(folder), region=town).sets
        return {items.modality: Variant(f"{name} {key}", items) for key, items in sets.items()}

    def rendered(self, modality: Modality, name: str, **recipe: Any) -> Variant:
        """One modality of the places of `world-1k`, made by another recipe.

        Args:
            modality: the only one that is made.
            name: of the data set, after `robustness-`.
            recipe: what differs in the recipe of the benchmark.

        Raises:
            WorldError: its folder holds something else.
        """
        folder, made = self.data / f"robustness-{name}", benchmark_named(BENCHMARK)
        others = tuple((other, 1.0) for other in sorted(MODALITIES) if other != modality)
        build_towns(
            folder,
            made.jobs,
            replace(made.recipe, missing=others, **recipe),
            split="test",
            progress=self.step(f"building {folder.name}"),
        )
        held = {place.place_id: getattr(place, modality) for place in iter_places(folder)}
        items = self.base[modality].items
        return Variant(name, replace(items, contents=[held[name] for name in items.names]))

    def changed(
        self,
        variant: Variant,
        name: str,
        change: Change,
        fields: Sequence[StreetField] | None = None,
    ) -> Variant:
        """The pictures of a variant, each changed when it is embedded.

        Args:
            variant: of pictures.
            name: of the new variant, added to the old one; it tells everything that `change`
                depends on beside the seed.
            change: from a picture and its number to another.
            fields: of the new pictures, where these are of streets and changed shape.
        """
        items = variant.items
        contents = [partial(_made, change, *item) for item in enumerate(items.contents)]
        salt = f"geobridge {__version__} seed {SEED} {items_digest(items, variant.salt)}"
        made = replace(items, contents=contents, fields=fields or items.fields)
        return Variant(f"{variant.name} {name}", made, salt)

    def able(self, directions: str) -> list[Direction]:
        """The directions, of those in a text such as `D2S P2S`, that the model embeds."""
        asked = [Direction.parse(word) for word in directions.split()]
        held = self.model.modalities
        return [way for way in asked if way.query in held and way.reference in held]

    def measure(self, direction: Direction, **changed: Variant) -> Score:
        """What one direction comes to where some modalities are changed."""
        held = {**self.base, **cast(dict[Modality, Variant], changed)}
        return self.score([held[direction.query]], held[direction.reference])

    def score(self, queries: Sequence[Variant], gallery: Variant) -> Score:
        """Look places up by several modalities at once, one right reference each.

        Queries are all places that have these modalities and a reference.
        """
        key = (*(variant.name for variant in queries), "in", gallery.name)
        if key not in self._scores:
            self._scores[key] = self._score(queries, gallery, " ".join(key))
        return self._scores[key]

    def _score(self, queries: Sequence[Variant], gallery: Variant, name: str) -> Score:
        first = queries[0].items
        held = set(gallery.items.names).intersection(*(one.items.names for one in queries))
        asked = [place for place in first.names if place in held]
        task = Task(
            name=name,
            direction=Direction(first.modality, gallery.items.modality),
            queries=queries[0].name,
            gallery=gallery.name,
            positives=Relevance.same(asked, gallery.items.names),
            query_rows=_rows(first.names, asked),
        )
        rows = fuse(
            {one.name: self._embedded(one)[_rows(one.items.names, asked)] for one in queries}
        )
        self.step(f"scoring {name}")(0, None)
        return score(task, rank(rows, self._embedded(gallery), task), first, gallery.items)

    def _embedded(self, variant: Variant) -> NDArray[np.float32]:
        if variant.name not in self._rows:
            report = self.step(f"embedding {variant.name}")
            folder = self.out / "embeddings"
            self._rows[variant.name] = embed_items(
                self.model, variant.items, folder, variant.name, variant.salt, report
            ).rows
        return self._rows[variant.name]


def _made(change: Change, number: int, content: Content) -> Picture:
    return change(read_image(cast(Path, content)), number)


def _rows(names: Sequence[str], asked: Sequence[str]) -> NDArray[np.int64]:
    row = {name: number for number, name in enumerate(names)}
    return np.array([row[name] for name in asked], np.int64)
