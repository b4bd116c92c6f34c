"""Sets of places that training draws from: places data sets, tables of pictures, a live planet."""

import csv
import dataclasses
import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geobridge.errors import TrainingError
from geobridge.geo.distance import check_position
from geobridge.groups import leaders
from geobridge.imagery.preprocess import Preprocess
from geobridge.model.config import refuse_unknown_keys
from geobridge.places.table import iter_places
from geobridge.progress import Report
from geobridge.training.batch import Batch, Source, join_batches
from geobridge.training.config import SourceSettings
from geobridge.training.looks import LooksConfig, near_looks, random_street, two_looks
from geobridge.training.pictures import PictureStore
from geobridge.views import MODALITIES, VIEWS, Modality, View
from geobridge.world.dataset import WorldBatch, WorldDataset
from geobridge.world.planet import World

TABLE_COLUMNS = (*VIEWS, "text", "lat", "lon", "split", "text_group")

# Of the arguments of `WorldDataset`, what the steps and the processes decide.
_OF_THE_RUN = {"self", "places_per_visit", "start", "rank", "world_size"}
_PLACES_FOR_WORDS = 64


@dataclass
class Record:
    """What is known of one place before a picture is opened.

    Attributes:
        name: what to call it in an error.
        pictures: file of each view it has.
        texts: its sentences, any one of which may be told.
        lat: WGS-84 degrees, NaN where unknown.
        lon: the same.
        text_group: places of one group may share a text, whatever they say.
    """

    name: str
    pictures: dict[View, Path]
    texts: list[str] = field(default_factory=list)
    lat: float = float("nan")
    lon: float = float("nan")
    text_group: str = ""


def read_records(settings: SourceSettings) -> list[Record]:
    """The places of a source that are files; those without a picture are left out.

    Raises:
        TrainingError: a table breaks its format, contradicts itself or names pictures that do not
            exist, places are of the split `test`, or nothing is left after choosing `split` and
            `modalities`.
        PlacesError: a places data set breaks its format, or lacks the split.
        PositionError: a position in a table is none.
    """
    records = (
        _of_table(settings.table, settings.split)
        if settings.table
        else _of_places(cast(Path, settings.places), settings.split)
    )
    wanted = settings.modalities
    if wanted is not None:
        for record in records:
            record.pictures = {v: path for v, path in record.pictures.items() if v in wanted}
            record.texts = record.texts if "text" in wanted else []
    records = [record for record in records if record.pictures]
    if not records:
        raise TrainingError(
            f"{settings.table or settings.places} holds no place with a picture of what is "
            f"asked for: check its columns, `split` and `modalities`."
        )
    if settings.table:  # a places data set was checked when it was read
        _check_pictures(records)
    return records


def _check_pictures(records: Sequence[Record]) -> None:
    """Refuse names of pictures that do not exist before hours are spent, all of them at once."""
    gone = [
        (record.name, path)
        for record in records
        for path in record.pictures.values()
        if not path.is_file()
    ]
    if gone:
        name, path = gone[0]
        others = f", and {len(gone) - 1} more do not" if len(gone) > 1 else ""
        raise TrainingError(
            f"{name} names {path}, which does not exist{others}: restore the pictures, or remove "
            f"their lines."
        )


def _of_places(folder: Path, split: str | None) -> list[Record]:
    places = list(iter_places(folder, split))
    _refuse_test(str(folder), [place.split for place in places])
    return [
        Record(
            place.place_id,
            {view: path for view in VIEWS if (path := getattr(place, view))},
            [place.text] if place.text else [],
            place.lat,
            place.lon,
        )
        for place in places
    ]


def _of_table(path: Path, split: str | None) -> list[Record]:
    """The places of a table; lines with the same pictures are one place of several texts."""
    columns, lines = _read_table(path)
    if split is not None and "split" not in columns:
        raise TrainingError(f"the table {path} has no column split: add it, or ask for no split.")
    splits = sorted({line["split"] for _, line in lines if line.get("split")})
    if split is not None and split not in splits:
        raise TrainingError(
            f"the table {path} has no split {split!r}: choose one of {', '.join(splits) or 'none'}."
        )
    first: dict[tuple[str, ...], tuple[Record, dict[str, str]]] = {}
    for number, line in lines:
        key = tuple(line.get(view, "") for view in VIEWS)
        if key not in first:
            first[key] = _record(path, number, line), line
        record, before = first[key]
        _check_same_place(before, line, f"line {number} and {record.name}")
        if line.get("text"):
            record.texts.append(line["text"])
    chosen = [
        (record, line.get("split"))
        for record, line in first.values()
        if split is None or line["split"] == split
    ]
    _refuse_test(str(path), [held for _, held in chosen])
    return [record for record, _ in chosen]


def _refuse_test(name: str, splits: Sequence[str | None]) -> None:
    """Places of the split `test` are kept from training, also where no split is asked for."""
    held = splits.count("test")
    if held:
        raise TrainingError(
            f"{held} of the {len(splits)} places of {name} are of the split 'test', which is never "
            f"trained on, nor does it choose the best checkpoint: name another split."
        )


def _read_table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Columns of a table, and its lines without blank ones: their number and what they hold."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            lines = [(reader.line_num, line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"the table {path} cannot be read ({error}): give a CSV.") from None
    twice = [name for name in columns if columns.count(name) > 1]
    if twice or set(columns) - set(TABLE_COLUMNS) or not set(columns) & set(VIEWS):
        raise TrainingError(
            f"the table {path} has the columns {', '.join(columns) or 'none'}: it needs one of "
            f"{', '.join(VIEWS)}, and knows {', '.join(TABLE_COLUMNS[len(VIEWS) :])} besides, "
            f"each once."
        )
    for number, line in lines:
        if None in line or None in line.values():
            raise TrainingError(
                f"line {number} of {path} has not {len(columns)} cells as its head has: write "
                f"cells with commas in quotes, and empty ones as nothing between two commas."
            )
    return columns, [
        (number, {name: cell.strip() for name, cell in line.items()}) for number, line in lines
    ]


def _check_same_place(before: Mapping[str, str], line: Mapping[str, str], where: str) -> None:
    """Lines with the same pictures are one place; of two splits they would be a leak."""
    for name in ("lat", "lon", "split", "text_group"):
        if before.get(name) != line.get(name):
            raise TrainingError(
                f"{where} have the same pictures, but {name} {line[name]!r} and {before[name]!r}: "
                f"let them agree."
            )


def _record(path: Path, number: int, line: Mapping[str, str]) -> Record:
    name = f"line {number} of {path}"
    pictures = {view: path.parent / value for view in VIEWS if (value := line.get(view))}
    if not pictures:
        raise TrainingError(f"{name} names no picture: give it one, or remove it.")
    record = Record(name, pictures, text_group=line.get("text_group", ""))
    lat, lon = line.get("lat", ""), line.get("lon", "")
    if lat or lon:
        try:
            record.lat, record.lon = float(lat), float(lon)
        except ValueError:
            raise TrainingError(
                f"the position of {name} is lat {lat!r}, lon {lon!r}, not two numbers: correct "
                f"it, or leave both empty."
            ) from None
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

    def cache(self, folder: Path, progress: Report | None = None) -> None:
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
        self.text_key = _text_keys({self.name: self.records})[self.name]
        self.preprocess = preprocess
        self.ground = settings.look == "ground"
        self._seen_twice = np.array([_seen_twice(record) for record in records], bool)
        _check_square(preprocess, self.name)
        self._where: dict[View, NDArray[np.int64]] = {}
        self._stores: dict[View, PictureStore] = {}
        if self.ground:
            self._check_ground()
        for view in preprocess:
            self._hold(view)

    def _check_ground(self) -> None:
        if any("street" in record.pictures for record in self.records):
            raise TrainingError(
                f"{self.name} has street pictures, which are no pictures of the ground from "
                f"above: take `look: aligned`, or leave them out with `modalities`."
            )
        seen, mapped = self.preprocess.get("drone"), self.preprocess.get("satellite")
        if seen is None or mapped is None or seen.height != mapped.height:
            raise TrainingError(
                f"{self.name} is to be seen as ground, by a drone and a satellite, and the model "
                f"does not take both at one size: take `look: aligned`, or another model."
            )

    def _hold(self, view: View) -> None:
        held = [row for row, record in enumerate(self.records) if view in record.pictures]
        if not held:
            return
        where = np.full(len(self.records), -1, np.int64)
        where[held] = np.arange(len(held))
        self._where[view] = where
        target = self.preprocess[view]
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

    def cache(self, folder: Path, progress: Report | None = None) -> None:
        """Decode all pictures into files of a folder, where the settings ask for it.

        Raises:
            ImageError: a picture cannot be decoded.
            TrainingError: a picture is gone, or the files cannot be written.
        """
        if self.settings.cache:
            for store in self._stores.values():
                store.cache(folder, progress)

    def draw(self, rows: Sequence[int], generator: torch.Generator | None) -> Batch:
        """See `Source.draw`; plainly, a place of several texts tells the first.

        Plainly, ground of a single picture is shown by the satellite alone: beside itself it would
        be found by identical pixels.

        Raises:
            ImageError: a picture that is not cached cannot be decoded, or is gone.
        """
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
        mapped = self._ground_pictures("satellite", rows)
        if generator is not None:
            seen = self._ground_pictures("drone", rows)
            size = self.preprocess["satellite"].height  # the drone's as well
            drone, satellite = two_looks(seen, mapped, size, generator, self.settings.looks)
            pictures: dict[View, Tensor] = {"drone": drone, "satellite": satellite}
            return pictures, {"drone": everyone, "satellite": everyone}
        pictures = {"satellite": self._resized(mapped, "satellite")}
        held: dict[Modality, Tensor] = {"satellite": everyone}
        twice = np.flatnonzero(self._seen_twice[rows])
        if len(twice):
            pictures["drone"] = self._resized(self._ground_pictures("drone", rows[twice]), "drone")
            held["drone"] = torch.from_numpy(twice)
        return pictures, held

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
        settings: `world` holds keyword arguments of `WorldDataset`, and `towns_per_batch` (4 by
            default), whose places are neighbours of each other.
        preprocess: of the model, by view.
        rank: which process this is.
        world_size: how many processes draw.

    Raises:
        TrainingError: an option is unknown or of the wrong kind, or the towns cannot share a
            batch evenly.
        WorldError: an option is out of range.
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
        _check_square(preprocess, self.name)
        _check_options(options)
        self.towns = options.pop("towns_per_batch", 4)
        if type(self.towns) is not int or self.towns < 1 or settings.per_batch % self.towns:
            raise TrainingError(
                f"{settings.per_batch} places of {self.towns} towns cannot be drawn: choose a "
                f"multiple of towns_per_batch as per_batch."
            )
        options.setdefault("size", max(item.height for item in preprocess.values()))
        options["places_per_visit"] = settings.per_batch // self.towns
        try:
            if settings.modalities is not None:
                left_out = dict.fromkeys(set(MODALITIES) - set(settings.modalities), 1.0)
                options["missing"] = {**(options.get("missing") or {}), **left_out}
            self.dataset = WorldDataset(**options, rank=rank, world_size=world_size)
        except TypeError as error:
            raise TrainingError(
                f"an option of `world` is of the wrong kind ({error}): see WorldDataset."
            ) from None
        self._rank, self._world_size = rank, world_size

    def shows(self, modality: Modality) -> bool:
        """Whether any place shows the modality."""
        return self.dataset.missing.get(modality, 0.0) < 1

    @property
    def texts(self) -> list[str]:
        """Sentences of places of a town in each region: what words the planet knows."""
        return list(self._tell()) if self.shows("text") else []

    def _tell(self) -> Iterator[str]:
        for number in range(len(self.dataset.regions)):
            name = self.dataset.town_of(number)
            town = World(self.dataset.seed).town(*name, open_dates=1)
            for place in town.places(_PLACES_FOR_WORDS, at_most=True):
                yield town.describe(place, noise=self.dataset.anchor_noise)

    def at(self, step: int, generator: torch.Generator) -> Batch:
        """The places of a step: other towns at every step and in every process.

        Args:
            step: 0-based; the same places for the same step.
            generator: of the looks.
        """
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
            torch.tensor([_key(_told(text)) for text in visit["text"]]),
            visit["place_id"],
        )


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuse what `world` does not know, and what the run itself decides."""
    taken = inspect.signature(WorldDataset.__init__).parameters.keys() - _OF_THE_RUN
    try:
        refuse_unknown_keys(dict(options), sorted(taken | {"towns_per_batch"}), "`world`")
    except ValueError as error:
        raise TrainingError(f"{str(error).rstrip('?.')}; correct it.") from None


def _check_square(preprocess: Mapping[View, Preprocess], name: str) -> None:
    """Looks from above are square, as the pictures of the model must be."""
    for view, target in preprocess.items():
        if view != "street" and target.height != target.width:
            raise TrainingError(
                f"the model takes {view} pictures of {target.height} x {target.width} pixels, and "
                f"training looks at {name} in squares: let height and width be equal."
            )


def _seen_twice(record: Record) -> bool:
    """Whether ground has two pictures; one file in both columns is one picture."""
    return len({*record.pictures.values()}) > 1


def share_text_keys(sources: Sequence[PictureSource]) -> None:
    """Let places of several sets that may tell the same have one text key, and no others.

    A group is of its set: `text_group` 1 of two tables says nothing about each other's places.
    """
    keys = _text_keys({source.name: source.records for source in sources})
    for source in sources:
        source.text_key = keys[source.name]


def _text_keys(sets: Mapping[str, Sequence[Record]]) -> dict[str, NDArray[np.int64]]:
    """Equal for places that share a group or any sentence, also through others: int64 (N,) each.

    Which of its sentences a place tells is drawn anew each time. So places of `a, b`, of `b, c` and
    of `c` alone have one key: no two places of different keys can ever tell the same.
    """
    labels = {name: [_labels(name, record) for record in sets[name]] for name in sets}
    owners = list(chain.from_iterable(labels.values()))
    words = list(dict.fromkeys(chain.from_iterable(owners)))
    number = {label: index for index, label in enumerate(words)}
    pairs = ((number[one], number[other]) for own in owners for one, other in pairwise(own))
    # The least label leads, so that a key does not hang on the order of the places.
    first = leaders(len(words), pairs, words.__getitem__)
    return {
        name: np.array([_key(words[first[number[own[0]]]]) for own in labels[name]], np.int64)
        for name in sets
    }


def _labels(name: str, record: Record) -> list[str]:
    """What a place of a set may share with others, its group and its sentences; or itself."""
    group = [f"\0{name}\0{record.text_group}"] if record.text_group else []
    return [*group, *map(_told, record.texts)] or [f"\0\0{name}\0{record.name}"]


def _told(text: str) -> str:
    """The label of a sentence, which no other kind of label can be."""
    return f"{text}\n"


def _key(words: str) -> int:
    """A stable number of a string; two of 100,000 strings agree with a chance of 1 in 10**9."""
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "little") >> 1
