"""Writing a gallery so that it may be killed at any moment and continued.

What holds at every moment: an item is in the table, or in the ledger, or still to do; rows enter
the table in whole commits of Lance; `gallery.json` says `complete` only when everything else is
in its place; one process writes at a time.
"""

import hashlib
import io
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import filelock
import geopandas
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from geobridge.errors import GalleryError
from geobridge.files import write_atomically
from geobridge.gallery import ledger
from geobridge.gallery import manifest as manifest_file
from geobridge.gallery.ledger import Entry, Ledger
from geobridge.gallery.manifest import Counts, Manifest, ModelRecord, SourceRecord
from geobridge.gallery.sources.items import ReferenceItem, Skipped
from geobridge.gallery.store import (
    METADATA_COLUMNS,
    TABLE_NAME,
    EmbeddingModel,
    built_by_another,
    has_table,
    open_table,
    table_schema,
)
from geobridge.geo.footprint import size_m

COPY_NAME = "references.parquet"
LOCK_NAME = ".lock"

# Few commits keep the table's history short; a few seconds are all a kill can cost.
_COMMIT_ROWS = 4096
_COMMIT_SECONDS = 15.0


class GalleryWriter:
    """A gallery being built, held by this process alone until it is closed.

    Args:
        out: the gallery's folder; made where there is none.
        model: what embeds the references.
        requests: the sources this run will index.

    Raises:
        GalleryError: another process writes it, another model built it, `out` is something
            else, or an earlier run left a source unfinished that is not among the requests.
    """

    def __init__(self, out: Path, model: EmbeddingModel, requests: list[SourceRecord]) -> None:
        self.out = out
        self.dim = model.dim
        self._lock = _locked(out)
        try:
            self._manifest = self._begun_or_new(model)
            self._refuse_to_strand(requests)
            self._ledger = Ledger(out)
            self._indexed = self._read_ids()
        except BaseException:
            self._lock.release()
            raise
        self._changed = not self._manifest.complete
        self._announced = False
        self._rows: list[dict[str, Any]] = []
        self._vectors: list[npt.NDArray[np.float32]] = []
        self._last_commit = time.monotonic()

    def __enter__(self) -> "GalleryWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            # After Ctrl-C too: what is embedded need not be embedded again.
            self.commit()
        finally:
            self._ledger.close()
            self._lock.release()

    @property
    def changed(self) -> bool:
        """Whether this run had anything to add, to continue or to correct."""
        return self._changed

    @property
    def counts(self) -> Counts:
        """The counts of the last `finish`."""
        return self._manifest.counts

    def __len__(self) -> int:
        return len(self._indexed)

    def begin(self, request: SourceRecord) -> set[str]:
        """Start or continue a source; the ids of its items that are already dealt with.

        Items an earlier, completed run found broken are tried again: they may have been mended.
        """
        known = next((s for s in self._manifest.sources if s.same_request(request)), None)
        self._announced = known is not None and not known.complete
        resumes = self._announced
        self._source = known or request.model_copy(update={"complete": False})
        if known is None:
            self._manifest.sources.append(self._source)
            self._announce()
        return self._indexed | self._ledger.ids(source_id(request), unreadable=resumes)

    def end(self) -> None:
        """Note that every item of the source is in the table or in the ledger."""
        if not self._announced:
            return
        self.commit()
        self._source.complete = True
        manifest_file.write_manifest(self.out, self._manifest)

    def add(self, items: list[ReferenceItem], vectors: npt.NDArray[np.float32]) -> None:
        """Add references with their vectors (len(items), dim), which must be finite.

        Raises:
            GalleryError: the vectors have another shape or are not finite.
        """
        if vectors.shape != (len(items), self.dim) or not np.isfinite(vectors).all():
            raise GalleryError(
                f"{self.out} takes {len(items)} finite vectors of {self.dim} dimensions here and "
                f"was given {vectors.shape}: check the model's weights."
            )
        self._announce()
        self._rows.extend(_row(item) for item in items)
        self._vectors.append(np.ascontiguousarray(vectors, dtype=np.float32))
        self._indexed.update(item.ref_id for item in items)
        self._commit_when_due()

    def leave_out(self, skipped: Skipped) -> None:
        """Note an item that does not become a reference."""
        if self._ledger.add(Entry.of(skipped, source_id(self._source))):
            self._announce()
            self._commit_when_due()

    def commit(self) -> None:
        """Make everything added so far outlive this process."""
        self._ledger.flush()
        self._last_commit = time.monotonic()
        # Taken before it is written: if the write is interrupted we cannot know whether it took
        # effect, and the next run finds out from the table itself.
        rows, self._rows = self._rows, []
        vectors, self._vectors = self._vectors, []
        if not rows:
            return
        import lance

        schema = table_schema(self.dim)
        flat = pa.array(np.concatenate(vectors).reshape(-1))
        columns = {name: [row[name] for row in rows] for name in METADATA_COLUMNS}
        arrays = [pa.array(columns[name], schema.field(name).type) for name in METADATA_COLUMNS]
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, self.dim))
        lance.write_dataset(
            pa.Table.from_arrays(arrays, schema=schema),
            str(self.out / TABLE_NAME),
            mode="append" if has_table(self.out) else "create",
        )

    def finish(self) -> None:
        """Tidy the table, write the readable copies, and only then call the gallery complete."""
        self.commit()
        dataset = open_table(self.out)
        dataset.optimize.compact_files()
        # Nobody else writes while we hold the lock, so what no version refers to is a leftover
        # of a killed run.
        dataset.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
        metadata = dataset.to_table(columns=METADATA_COLUMNS, scan_in_order=True)
        _write_copy(metadata, self.out / COPY_NAME)
        self._ledger.finish(self._indexed)
        outcomes = self._ledger.outcomes()
        modality = np.array(metadata["modality"].to_pylist())
        size = metadata["size_m"].to_numpy()
        self._manifest.counts = Counts(
            indexed=len(metadata),
            by_modality=dict(Counter(modality.tolist())),
            skipped=outcomes["skipped"],
            unreadable=outcomes["unreadable"],
            by_reason=dict(self._ledger.reasons().most_common()),
        )
        self._manifest.footprint_m = {
            name: float(np.median(size[modality == name]))
            for name in self._manifest.counts.by_modality
        }
        self._manifest.complete = True
        manifest_file.write_manifest(self.out, self._manifest)

    def forget(self) -> None:
        """Take back a gallery into which nothing could be indexed; its ledger stays to be read."""
        self._ledger.finish(self._indexed)
        (self.out / manifest_file.FILE_NAME).unlink(missing_ok=True)

    def reasons(self) -> Counter[str]:
        """Items left out so far, by reason."""
        return self._ledger.reasons()

    def _commit_when_due(self) -> None:
        waited = time.monotonic() - self._last_commit
        if len(self._rows) >= _COMMIT_ROWS or waited >= _COMMIT_SECONDS:
            self.commit()

    def _announce(self) -> None:
        """Say on the disk that the source is being indexed, before anything of it is kept."""
        if not self._announced:
            self._manifest.complete = False
            self._source.complete = False
            manifest_file.write_manifest(self.out, self._manifest)
            self._announced = True
            self._changed = True

    def _begun_or_new(self, model: EmbeddingModel) -> Manifest:
        if not (self.out / manifest_file.FILE_NAME).exists():
            _refuse_foreign_folder(self.out)
            # Left behind, to be read, by a build that found nothing to index.
            (self.out / ledger.FILE_NAME).unlink(missing_ok=True)
            return Manifest(model=_record(model))
        manifest = manifest_file.read_manifest(self.out)
        if manifest.model.fingerprint != model.fingerprint:
            raise GalleryError(built_by_another(self.out, manifest, model))
        if model.loaded_from is not None:
            # The same weights, perhaps from elsewhere by now.
            manifest.model = _record(model)
        return manifest

    def _refuse_to_strand(self, requests: list[SourceRecord]) -> None:
        for source in self._manifest.unfinished():
            if not any(source.same_request(request) for request in requests):
                settings = "".join(f", {name} {value}" for name, value in source.settings.items())
                raise GalleryError(
                    f"{self.out} holds an unfinished index of {source.path} ({source.view}"
                    f"{settings}): run that command again first, or build into another folder."
                )

    def _read_ids(self) -> set[str]:
        if not has_table(self.out):
            return set()
        try:
            return set(open_table(self.out).to_table(columns=["ref_id"])["ref_id"].to_pylist())
        except (OSError, ValueError, RuntimeError) as error:
            first_line = str(error).partition("\n")[0]
            raise GalleryError(
                f"{self.out / TABLE_NAME} is damaged ({first_line}): delete the gallery and index "
                f"its sources again."
            ) from None


def _record(model: EmbeddingModel) -> ModelRecord:
    return ModelRecord(
        name=model.name,
        loaded_from=model.loaded_from,
        fingerprint=model.fingerprint,
        dim=model.dim,
    )


def source_id(request: SourceRecord) -> str:
    """12 hexadecimal digits that name a request."""
    text = request.model_copy(update={"complete": False}).model_dump_json()
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]


def _locked(out: Path) -> filelock.BaseFileLock:
    """The gallery's folder, made where it is missing, held until the lock is released.

    The operating system lets go of the lock when its process ends, however it ends.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(out / LOCK_NAME)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise GalleryError(
            f"{out} is being written by another process: wait until that has ended, or build "
            f"into another folder."
        ) from None
    except OSError as error:
        raise GalleryError(
            f"{out} cannot be written ({error.strerror}): choose another folder."
        ) from None
    return lock


def _refuse_foreign_folder(out: Path) -> None:
    if has_table(out):
        raise GalleryError(
            f"{out} has lost its {manifest_file.FILE_NAME}, which tells whose vectors it holds: "
            f"restore it from a copy, or delete the gallery and index its sources again."
        )
    names = sorted(path.name for path in out.iterdir())
    foreign = [name for name in names if not name.startswith(".") and name != ledger.FILE_NAME]
    if foreign:
        raise GalleryError(
            f"{out} is a folder with other files in it ({foreign[0]}): "
            f"name a new folder for the gallery."
        )


def _row(item: ReferenceItem) -> dict[str, Any]:
    return {
        "ref_id": item.ref_id,
        "modality": item.modality,
        "lat": item.lat,
        "lon": item.lon,
        "footprint": shapely.to_wkb(item.footprint),
        "size_m": size_m(item.footprint),
        "source": item.source,
        "path": item.path,
        "window": None if item.window is None else list(item.window),
        "date": item.date,
        "place_id": item.place_id,
        "text": item.text,
    }


def _write_copy(metadata: pa.Table, path: Path) -> None:
    """The metadata as GeoParquet, with the footprints as its geometry."""
    frame = metadata.drop(["footprint"]).to_pandas()
    footprints = shapely.from_wkb(metadata["footprint"].to_numpy(zero_copy_only=False))
    buffer = io.BytesIO()
    geopandas.GeoDataFrame(frame, geometry=footprints, crs="EPSG:4326").to_parquet(
        buffer, index=False
    )
    write_atomically(path, buffer.getvalue())
