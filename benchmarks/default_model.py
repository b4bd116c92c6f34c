"""Everything that is published of the embedded default in one table, each number beside chance.

    python benchmarks/default_model.py --markdown
    python benchmarks/default_model.py --markdown --minutes 0     # without adapting

Size and speed; R@1 in nine directions on the simulated planet's benchmarks; the real sets, those
with a map also after 15 minutes of adapting to it. It joins what `planet.py`, `real.py` and
`adapt.py` measure, and takes finished adaptations of `adapt.py` as they are. On two cores ten
minutes, most of them for building the planet's benchmarks the first time, and the adaptations.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from adapt import adapted_to
from planet import build_missing
from real import SETS, Row, share, show

from geobridge import GeoBridge
from geobridge.evaluation.retrieval import embed_places, retrieve
from geobridge.model.checkpoint import find_checkpoint
from geobridge.views import NINE_DIRECTIONS

NAMES = "world-1k,world-1k-far,world-1k-2m,world-1k-10m,world-1k-missing"
ADAPTED = ("fongyuan", "ariel")
"""Sets with a map and photos of another camera."""


def size_and_speed(model: GeoBridge, name: str) -> list[Row]:
    """Bytes on the disk, and pictures a second on one core, float32, at the native size."""
    bytes_held = sum(path.stat().st_size for path in find_checkpoint(name).iterdir())
    rows = [Row("model", "size", f"{bytes_held / 1e6:.1f} MB")]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for view in model.config.views:
        preprocess = model.config.preprocess[view]
        batch = torch.zeros((32, 3, preprocess.height, preprocess.width), dtype=torch.uint8)
        model.embed_prepared(view, batch)
        seconds = min(timed(model, view, batch) for _ in range(8))
        rows.append(Row("model", f"{view} pictures a second, one core", f"{32 / seconds:.0f}"))
    torch.set_num_threads(threads)
    return rows


def timed(model: GeoBridge, view: str, batch: torch.Tensor) -> float:
    """CPU seconds of one batch: what others do on the machine does not count."""
    begin = time.process_time()
    model.embed_prepared(view, batch)  # type: ignore[arg-type]
    return time.process_time() - begin


def planet(model: GeoBridge, name: str, folder: Path) -> list[Row]:
    """R@1 of the directions that a benchmark of the planet has."""
    found = embed_places(model, build_missing(name, folder, workers=2))
    rows = []
    for way in NINE_DIRECTIONS:
        if {way.query, way.reference} <= set(found):
            result = retrieve(found, way)
            chance = share(np.array(result.chance(1)))
            measure = f"{way.short} R@1 of {result.gallery}"
            rows.append(Row(name, measure, share(result.ranks <= 1), chance))
    return rows


def real_rows(name: str, data: Path, model: GeoBridge) -> list[Row]:
    """What one of the real sets measures of a model."""
    with tempfile.TemporaryDirectory() as scratch:
        return SETS[name](data, model, Path(scratch))


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds the planet's sets")
    parser.add_argument("--model", default="mini", help="a name or a checkpoint's folder")
    parser.add_argument("--names", default=NAMES, help="benchmarks of the planet")
    parser.add_argument("--minutes", type=float, default=15.0, help="of each adaptation")
    parser.add_argument("--out", type=Path, default=Path("runs/adapt"), help="of adaptations")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    if not arguments.data.exists():
        parser.error(f"no pictures in {arguments.data}: name their folder with --data.")
    model = GeoBridge.load(arguments.model)
    rows = size_and_speed(model, arguments.model)
    for name in arguments.names.split(","):
        rows += planet(model, name, arguments.runs)
    for name in SETS:
        rows += real_rows(name, arguments.data, model)
    adapted: list[Row] = []
    for name in ADAPTED if arguments.minutes else ():
        its_own = adapted_to(
            name, arguments.data, arguments.model, arguments.minutes, arguments.out
        )
        adapted += real_rows(name, arguments.data, its_own)
    print(f"\nmodel {model.name}, fingerprint {model.fingerprint}\n")
    show(rows, arguments.markdown, adapted)


if __name__ == "__main__":
    main()
