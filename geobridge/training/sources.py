"""Sets of places that training draws from: places data sets, tables of pictures, a live planet."""

import csv
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geobridge.errors import TrainingError
from geobridge.geo.distance import check_position
from geobridge.imagery.preprocess import Preprocess
from geobridge.places.table import iter_places
from geobridge.training.batch import Batch, Source, join_batches
from geobridge.training.config import SourceSettings
from geobridge.training.looks import LooksConfig, near_looks, random_street, two_looks
from geobridge.training.pictures import PictureStore, Progress
from geobridge.views import VIEWS, Modality, View
from geobridge.world.dataset import WorldBatch, WorldDataset

TABLE_COLUMNS = (*VIEWS, "text", "lat", "lon", "split", "text_group")


@dataclass
class Record:
    """What is known of one place before a picture is opened.

    Attributes:
        name: what to call it in an error.
        pictures: file of each view it has.
        texts: its sentences, any one of which may be told.
        lat: WGS-84 degrees, NaN where unknown.
        lon: the same.
        text_group: places of one group may share a text.
    """

    name: str
    pictures: dict[View, Path]
    texts: list[str] = field(default_factory=list)
    lat: float = float("nan")
    lon: float = float("nan")
    text_group: str = ""


def read_records(settings: SourceSettings) -> list[Record]:
    """The places of a source that are files.

    Raises:
        TrainingError: a table breaks its format, or nothing is left after choosing the split.
        PlacesError: a places data set breaks its format.
    """
    records = (
        _of_table(settings.table, settings.split)
        if settings.table
        else _of_places(cast(Path, settings.places), settings.split)
    )
    wanted = settings.views
    if wanted is not None:
        for record in records:
            record.pictures = {v: path for v, path in record.pictures.items() if v in wanted}
            record.texts = record.texts if "text" in wanted else []
    records = [record for record in records if record.pictures]
    if not records:
        raise TrainingError(
            f"{settings.table or settings.places} holds no place with a picture of the views "
            f"asked for: check its columns, `split` and `views`."
        )
    return records


def _of_places(folder: Path, split: str | None) -> list[Record]:
    return [
        Record(
            place.place_id,
            {view: path for view in VIEWS if (path := getattr(place, view))},
            [place.text] if place.text else [],
            place.lat,
            place.lon,
        )
        for place in iter_places(folder, split)
    ]


def _of_table(path: Path, split: str | None) -> list[Record]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"the table {path} cannot be read ({error}): give a CSV.") from None
    unknown = sorted(set(columns) - set(TABLE_COLUMNS))
    if unknown or not set(columns) & set(VIEWS):
        raise TrainingError(
            f"the table {path} has the columns {', '.join(columns) or 'none'}: it needs one of "
            f"{', '.join(VIEWS)}, and knows {', '.join(TABLE_COLUMNS[len(VIEWS) :])} besides."
        )
    if split is not None and "split" not in columns:
        raise TrainingError(f"the table {path} has no column split: add it, or ask for no split.")
    records: dict[tuple[str, ...], Record] = {}
    for number, row in enumerate(rows, start=2):
        if split is not None and row["split"] != split:
            continue
        key = tuple(row.get(view) or "" for view in VIEWS)
        record = records.get(key)
        if record is None:
            record = records[key] = _record(path, number, row)
        if row.get("text"):
            record.texts.append(row["text"])
    return list(records.values())


def _record(path: Path, number: int, row: Mapping[str, str | None]) -> Record:
    name = f"row {number} of {path}"
    pictures = {view: path.parent / value for view in VIEWS if (value := row.get(view))}
    record = Record(name, pictures, text_group=row.get("text_group") or "")
    if row.get("lat") and row.get("lon"):
        try:
            record.lat, record.lon = float(row["lat"] or ""), float(row["lon"] or "")
        except ValueError:
            raise TrainingError(f"the position of {name} is no number: correct it.") from None
        check_position(record.lat, record.lon, f"the position of {name}")
    return record


class FileSource(Source, Protocol):
    """A source of numbered places that lie on the disk."""

    @property
    def texts(self) -> list[str]:
        """All sentences."""
        ...

    def has(self, modality: Modality) -> NDArray[np.bool_]:
        """Which places can show the modality: bool (N,)."""
        ...

    def cache(self, folder: Path, progress: Progress | None = None) -> None:
        """Make ready what drawing needs, in files of a folder where that saves time."""
        ...


class PictureSource:
    """Places whose pictures are files; a `FileSource`.

    Args:
        settings: which, and how they are looked at.
        preprocess: of the model, by view.
        records: what `read_records` found.
    """

    def __init__(
        self,
        settings: SourceSettings,
        preprocess: Mapping[View, Preprocess],
        records: Sequence[Record],
    ) -> None:
        self.settings = settings
        self.name = str(settings.table or settings.places)
        self.records = list(records)
        self.lat = np.array([record.lat for record in records])
        self.lon = np.array([record.lon for record in records])
        self.text_key = np.array([_text_key(record) for record in records], np.int64)
        self.preprocess = preprocess
        self.ground = settings.look == "ground"
        self._where: dict[View, NDArray[np.int64]] = {}
        self._stores: dict[View, PictureStore] = {}
        for view in VIEWS if self.ground else tuple(preprocess):
            self._hold(view)
        if self.ground and "street" in self._stores:
            raise TrainingError(
                f"{self.name} has street pictures, which are no pictures of the ground from "
                f"above: take `look: aligned`, or leave them out with `views`."
            )

    def _hold(self, view: View) -> None:
        held = [row for row, record in enumerate(self.records) if view in record.pictures]
        if not held:
            return
        where = np.full(len(self.records), -1, np.int64)
        where[held] = np.arange(len(held))
        self._where[view] = where
        target = self.preprocess.get(view) or self.preprocess["satellite"]
        if self.settings.pixels and view != "street":
            side = self.settings.pixels
            target = dataclasses.replace(target, height=side, width=side, fit="cover")
        paths = [self.records[row].pictures[view] for row in held]
        self._stores[view] = PictureStore(paths, target)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def texts(self) -> list[str]:
        """All sentences."""
        return [text for record in self.records for text in record.texts]

    def has(self, modality: Modality) -> NDArray[np.bool_]:
        """Which places can show the modality: bool (N,)."""
        if modality == "text":
            return np.array([bool(record.texts) for record in self.records])
        if self.ground:
            return np.full(len(self), modality in ("drone", "satellite"))
        where = self._where.get(modality)
        return np.zeros(len(self), bool) if where is None else where >= 0

    def cache(self, folder: Path, progress: Progress | None = None) -> None:
        """Decode all pictures into files of a folder, where the settings ask for it."""
        if self.settings.cache:
            for store in self._stores.values():
                store.cache(folder, progress)

    def draw(self, rows: Sequence[int], generator: torch.Generator | None) -> Batch:
        """See `Source.draw`."""
        taken = np.asarray(rows, np.int64)
        pictures, held = (
            self._ground(taken, generator) if self.ground else self._aligned(taken, generator)
        )
        texts = {}
        for place, row in enumerate(taken.tolist()):
            options = self.records[row].texts
            if options:
                pick = 0
                if generator is not None:
                    pick = int(torch.randint(len(options), (1,), generator=generator))
                texts[place] = options[pick]
        if texts:
            held["text"] = torch.tensor(list(texts), dtype=torch.int64)
        return Batch(
            pictures,
            list(texts.values()),
            held,
            torch.from_numpy(self.lat[taken]),
            torch.from_numpy(self.lon[taken]),
            torch.from_numpy(self.text_key[taken]),
            [self.records[row].name for row in taken.tolist()],
        )

    def _take(self, view: View, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The pictures of a view that these places have, and whose they are."""
        where = self._where[view][rows]
        held = np.flatnonzero(where >= 0)
        return self._stores[view].take(where[held].tolist()), torch.from_numpy(held)

    def _aligned(
        self, rows: NDArray[np.int64], generator: torch.Generator | None
    ) -> tuple[dict[View, Tensor], dict[Modality, Tensor]]:
        pictures: dict[View, Tensor] = {}
        held: dict[Modality, Tensor] = {}
        for view in self._stores:
            taken, places = self._take(view, rows)
            if len(places):
                pictures[view] = self._look(view, taken, generator)
                held[view] = places
        return pictures, held

    def _look(self, view: View, taken: Tensor, generator: torch.Generator | None) -> Tensor:
        looks: LooksConfig = self.settings.looks
        if generator is None:
            return self._resized(taken, view)
        if view == "street":
            return random_street(taken, generator, looks)
        return near_looks(view, taken, self.preprocess[view].height, generator, looks)

    def _resized(self, pictures: Tensor, view: View) -> Tensor:
        target = self.preprocess[view]
        if pictures.shape[-2:] == (target.height, target.width):
            return pictures
        return torch.nn.functional.interpolate(
            pictures, size=(target.height, target.width), mode="bicubic", antialias=True
        )

    def _ground(
        self, rows: NDArray[np.int64], generator: torch.Generator | None
    ) -> tuple[dict[View, Tensor], dict[Modality, Tensor]]:
        """Two looks at each place: at its two pictures where it has both, else at its only one."""
        everyone = torch.arange(len(rows))
        seen = self._ground_pictures("drone", rows)
        mapped = self._ground_pictures("satellite", rows)
        pictures: dict[View, Tensor] = {
            "drone": self._resized(seen, "drone"),
            "satellite": self._resized(mapped, "satellite"),
        }
        if generator is not None:
            size = self.preprocess["satellite"].height
            drone, satellite = two_looks(seen, mapped, size, generator, self.settings.looks)
            pictures = {"drone": drone, "satellite": satellite}
        return pictures, {"drone": everyone, "satellite": everyone}

    def _ground_pictures(self, view: View, rows: NDArray[np.int64]) -> Tensor:
        """One picture of the ground for each place, of this view where it has one."""
        other: View = "satellite" if view == "drone" else "drone"
        out: Tensor | None = None
        for source in (other, view):
            if source in self._stores:
                taken, places = self._take(source, rows)
                if out is None:
                    out = torch.zeros((len(rows), *taken.shape[1:]), dtype=torch.uint8)
                out[places] = taken
        return cast(Tensor, out)


class WorldSource:
    """Places of a simulated planet, drawn while training, never the same twice.

    Args:
        settings: `world` holds keyword arguments of `WorldDataset`, and `towns_per_batch`.
        preprocess: of the model, by view.
        rank: which process this is.
        world_size: how many processes draw.
    """

    def __init__(
        self,
        settings: SourceSettings,
        preprocess: Mapping[View, Preprocess],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        options = dict(settings.world or {})
        self.name = "the simulated planet"
        self.settings = settings
        self.preprocess = preprocess
        self.towns = int(options.pop("towns_per_batch", 4))
        if self.towns < 1 or settings.per_batch % self.towns:
            raise TrainingError(
                f"{settings.per_batch} places of {self.towns} towns cannot be drawn: choose a "
                f"multiple of towns_per_batch as per_batch."
            )
        options.setdefault("size", max(item.height for item in preprocess.values()))
        options["places_per_visit"] = settings.per_batch // self.towns
        try:
            self.dataset = WorldDataset(**options, rank=rank, world_size=world_size)
        except TypeError as error:
            raise TrainingError(f"`world` does not fit ({error}): see WorldDataset.") from None
        self._rank, self._world_size = rank, world_size

    @property
    def texts(self) -> list[str]:
        """Sentences of a few places: what words the planet knows."""
        told = self.dataset.starting_at(0)
        return [text for number in range(len(told.regions)) for text in told.visit(number)["text"]]

    def at(self, step: int, generator: torch.Generator) -> Batch:
        """The places of a step: other towns at every step and in every process."""
        first = step * self.towns
        visits = [
            self.dataset.visit(self._rank + self._world_size * (first + town))
            for town in range(self.towns)
        ]
        return join_batches([self._batch(visit, generator) for visit in visits])

    def _batch(self, visit: WorldBatch, generator: torch.Generator) -> Batch:
        pictures: dict[View, Tensor] = {}
        rows: dict[Modality, Tensor] = {}
        values = cast(dict[str, Any], visit)
        for view in self.preprocess:
            held = visit["present"][view].nonzero().flatten()
            if not len(held):
                continue
            rows[view] = held
            taken = values[view][held]
            target = self.preprocess[view]
            if view == "street":
                taken = torch.stack(
                    [target.prepare(picture.permute(1, 2, 0).numpy()) for picture in taken]
                )
                pictures[view] = random_street(taken, generator, self.settings.looks)
            else:
                pictures[view] = near_looks(
                    view, taken, target.height, generator, self.settings.looks
                )
        told = visit["present"]["text"].nonzero().flatten()
        if len(told):
            rows["text"] = told
        texts = [visit["text"][row] for row in told.tolist()]
        return Batch(
            pictures,
            texts,
            rows,
            visit["lat"],
            visit["lon"],
            torch.tensor([_key(f"{text}\n") for text in visit["text"]]),
            visit["place_id"],
        )


def _text_key(record: Record) -> int:
    """Equal for places of one group, else for places of the same sentences."""
    if record.text_group:
        return _key(record.text_group)
    return _key("\n".join(record.texts) + "\n" if record.texts else f"\0{record.name}")


def _key(words: str) -> int:
    """A stable number of a string; two of 100,000 strings agree with a chance of 1 in 10**9."""
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "little") >> 1
