"""Opening a gallery: its description, its metadata and its vectors.

The store is one Lance table; why, and what it was measured against, is in the design notes.
`lance` takes most of a second to import, so it is imported where the table is touched and not
where a gallery is only described.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from geobridge.errors import GalleryError
from geobridge.gallery.manifest import Counts, Manifest, read_manifest
from geobridge.views import Modality

if TYPE_CHECKING:
    import lance

TABLE_NAME = "references.lance"

# A window of a raster is [column, row, width, height] in pixels, from the outer corner of the
# top-left pixel; `date` is ISO 8601; `path` is relative to `source` where that is a folder.
METADATA_FIELDS = (
    pa.field("ref_id", pa.string(), nullable=False),
    pa.field("modality", pa.string(), nullable=False),
    pa.field("lat", pa.float64(), nullable=False),
    pa.field("lon", pa.float64(), nullable=False),
    pa.field("footprint", pa.binary(), nullable=False),
    pa.field("size_m", pa.float64(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("window", pa.list_(pa.float64())),
    pa.field("date", pa.string()),
    pa.field("place_id", pa.string()),
    pa.field("text", pa.string()),
)
METADATA_COLUMNS = [field.name for field in METADATA_FIELDS]

# What is on its way from the disk is memory beside the vectors: kept small it also reads faster
# (410 MB: 0.15 s and 1.10 times the vectors; with Lance's own settings 0.34 s and 1.9 times).
_READ_BYTES = 1 << 19


def table_schema(dim: int) -> pa.Schema:
    """The columns of `references.lance`: the metadata, and a float32 vector of `dim`."""
    vector = pa.field("vector", pa.list_(pa.float32(), dim), nullable=False)
    return pa.schema([*METADATA_FIELDS, vector])


class EmbeddingModel(Protocol):
    """What a gallery has to know of a model to tell whether it is the one that built it."""

    @property
    def name(self) -> str:
        """What people call the model."""

    @property
    def loaded_from(self) -> str | None:
        """The name or folder that leads to it again; None for one that lies nowhere."""

    @property
    def fingerprint(self) -> str:
        """What decides whether two models give the same embeddings."""

    @property
    def dim(self) -> int:
        """Numbers in an embedding."""


@dataclass(frozen=True)
class Reference:
    """One row of a gallery, as people and maps want it.

    `footprint` is a polygon in lon, lat whose longitudes are continuous (they may leave
    [-180, 180] where it crosses the antimeridian); `size_m` is the side of the square of equal
    area; `window` is (column, row, width, height) in pixels of a raster.
    """

    ref_id: str
    modality: Modality
    lat: float
    lon: float
    footprint: shapely.Polygon
    size_m: float
    source: str
    path: str
    window: tuple[float, float, float, float] | None
    date: str | None
    place_id: str | None
    text: str | None


class GalleryStore:
    """A complete gallery on the disk. Row i of `metadata()` describes row i of `vectors()`."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self._manifest = manifest

    @classmethod
    def open(cls, path: str | Path) -> "GalleryStore":
        """Open a gallery that is whole; the vectors are read when they are asked for.

        Raises:
            GalleryError: there is none, it is half-written, damaged or of a newer format.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if not manifest.complete:
            raise GalleryError(f"{path} is half-written: {_how_to_finish(manifest)}")
        if not has_table(path):
            raise GalleryError(
                f"{path} has lost its table {TABLE_NAME}: restore it from a copy, or delete the "
                f"gallery and index its sources again."
            )
        return cls(path, manifest)

    def __len__(self) -> int:
        return self._manifest.counts.indexed

    @property
    def model_name(self) -> str:
        """Name of the model that embedded the references."""
        return self._manifest.model.name

    @property
    def model_loaded_from(self) -> str:
        """Name or folder that led to the model when the gallery was built."""
        return self._manifest.model.loaded_from or self._manifest.model.name

    @property
    def model_fingerprint(self) -> str:
        """Fingerprint of the model that embedded the references."""
        return self._manifest.model.fingerprint

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self._manifest.model.dim

    @property
    def counts(self) -> Counts:
        """References by modality, and what was skipped or unreadable by reason."""
        return self._manifest.counts

    @property
    def footprint_m(self) -> dict[Modality, float]:
        """Median side of the references of each modality, in metres on the ground."""
        return dict(self._manifest.footprint_m)

    @property
    def settings(self) -> list[dict[str, Any]]:
        """What was asked for, one entry a source: kind, path, view and its own settings."""
        return [
            {"kind": source.kind, "path": source.path, "view": source.view, **source.settings}
            for source in self._manifest.sources
        ]

    def info(self) -> dict[str, Any]:
        """Everything in `gallery.json`, as plain values that go into JSON. Reads no table."""
        return {"path": str(self.path), **self._manifest.model_dump(mode="json")}

    def check_model(self, model: EmbeddingModel) -> None:
        """Make sure a model speaks the language of these vectors.

        Raises:
            GalleryError: the gallery was built by another model; both are named.
        """
        if model.fingerprint != self.model_fingerprint:
            raise GalleryError(built_by_another(self.path, self._manifest, model))

    def metadata(self) -> pa.Table:
        """All rows without their vectors: the columns of `METADATA_FIELDS`, footprints as WKB.

        Raises:
            GalleryError: the table is damaged.
        """
        columns = {name: name for name in METADATA_COLUMNS}
        try:
            table = self._dataset().to_table(columns=columns, scan_in_order=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._damaged(error) from None
        # Taking a few rows out of many chunks costs as much as joining them once.
        return table.cast(pa.schema(METADATA_FIELDS)).combine_chunks()

    def vectors(self) -> npt.NDArray[np.float32]:
        """All vectors, (N, dim) float32 and contiguous, read into one array a piece at a time.

        Raises:
            GalleryError: the table is damaged, or holds numbers that are not finite.
        """
        vectors = np.empty((len(self), self.dim), dtype=np.float32)
        filled = 0
        try:
            scanner = self._dataset().scanner(
                columns=["vector"],
                batch_size=max(1, _READ_BYTES // (4 * self.dim)),
                batch_readahead=1,
                fragment_readahead=1,
                io_buffer_size=_READ_BYTES,
                scan_in_order=True,
            )
            for batch in scanner.to_batches():
                rows = batch.column(0).flatten().to_numpy().reshape(-1, self.dim)
                vectors[filled : filled + len(rows)] = rows
                if not np.isfinite(rows).all():
                    raise self._damaged("a vector holds numbers that are not finite")
                filled += len(rows)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._damaged(error) from None
        return vectors

    def _dataset(self) -> "lance.LanceDataset":
        dataset = open_table(self.path)
        rows = dataset.count_rows()
        if rows != len(self):
            raise self._damaged(f"{rows} rows, {len(self)} expected")
        return dataset

    def _damaged(self, reason: object) -> GalleryError:
        # Lance's messages run over several lines; the first says what happened.
        first_line = str(reason).partition("\n")[0]
        return GalleryError(
            f"{self.path / TABLE_NAME} is damaged ({first_line}): restore it from a copy, or "
            f"delete the gallery and index its sources again."
        )


def has_table(gallery: Path) -> bool:
    """Whether anything was ever committed: a kill may leave a table's folder without a version."""
    return any((gallery / TABLE_NAME / "_versions").glob("*.manifest"))


def open_table(gallery: Path) -> "lance.LanceDataset":
    """The Lance table of a gallery."""
    import lance

    return lance.dataset(str(gallery / TABLE_NAME))


def references(metadata: pa.Table, rows: Sequence[int]) -> list[Reference]:
    """Rows of `GalleryStore.metadata()` as objects, in the order of `rows`."""
    return [_reference(row) for row in metadata.take(pa.array(rows, pa.int64())).to_pylist()]


def _reference(row: dict[str, Any]) -> Reference:
    window = row["window"]
    return Reference(
        **{
            **row,
            "footprint": cast(shapely.Polygon, shapely.from_wkb(row["footprint"])),
            "window": None if window is None else tuple(window),
        }
    )


def built_by_another(path: Path, manifest: Manifest, model: EmbeddingModel) -> str:
    """The sentence that says a gallery and a model do not belong together, and the way out."""
    made_by = manifest.model
    from_where = f" from {made_by.loaded_from}" if made_by.loaded_from else ""
    return (
        f"{path} was built by model {made_by.name!r}{from_where} ({made_by.fingerprint[:12]}, "
        f"{made_by.dim} dimensions) and cannot be used with {model.name!r} "
        f"({model.fingerprint[:12]}, {model.dim} dimensions): load the one that built it, or index "
        f"the sources again into another folder."
    )


def _how_to_finish(manifest: Manifest) -> str:
    paths = ", ".join(source.path for source in manifest.unfinished())
    about = f" (of {paths})" if paths else ""
    return f"run the same `geobridge index` command{about} again, it continues where it stopped."
