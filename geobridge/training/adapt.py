"""Adaptation to one's own map, without a single pair: self-supervised, on the map alone.

What is learned is to find a plausible photo of a footprint again among other footprints of the
same map (`maps.MapSource`). The objective is the paper's, with the one edge that maps can teach.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from geobridge.errors import TrainingError
from geobridge.model.checkpoint import check_replaceable
from geobridge.model.config import first_problem
from geobridge.model.geobridge import GeoBridge
from geobridge.model.objective import ObjectiveConfig
from geobridge.training.config import (
    DataSettings,
    FitSettings,
    ModelSettings,
    OptimizerSettings,
    SourceSettings,
    TrainConfig,
)
from geobridge.training.fit import CHECKPOINT, fit
from geobridge.training.looks import LooksConfig

LOOKS = LooksConfig(heading_known=1.0, season=1.0)
"""How photos differ from a map. Headings are known to 24 degrees, because a query without one is
asked in 8 directions; what a heading tells is then not unlearned."""

BATCH = 64
LEARNING_RATE = 3e-4
# Footprints that share more than half of their ground are no negatives of each other.
_SAME_GROUND = 0.5


def adapt(
    maps: Sequence[str | Path],
    model: str | Path,
    out: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    footprint_m: float = 100.0,
    batch: int = BATCH,
    learning_rate: float = LEARNING_RATE,
    looks: LooksConfig = LOOKS,
    seed: int = 0,
    console: Console | None = None,
) -> GeoBridge:
    """Adapt a model to maps; run again with the same arguments it goes on where it was stopped.

    All weights of the picture towers are trained, at a third of the rate of a training from
    nothing. Text has a tower of its own, which no gradient reaches, and so has the street under
    weights `aerial` or `separate`; under others its embeddings move with the tower it shares. The
    calibration of estimates is dropped, because it was another model's; fit a new one with
    `geobridge.api.calibrate_on_maps`, as the command does.

    Pictures are encoded in bfloat16 on every machine, so that a run may go on on another one; on
    CPUs that compute in it (AVX-512 BF16) a step takes a third of the time.

    Args:
        maps: georeferenced rasters, folders of them, or folders of XYZ tiles.
        model: what to begin with: a shipped name, a folder or a hub name.
        out: the new checkpoint. `OUT.run` beside it holds logs, and what a stopped run needs.
        minutes: how long; or
        steps: how many steps; one of the two. A run of steps resumes exactly, one of minutes by
            the clock.
        footprint_m: side on the ground of the windows that photos will be compared with; the
            footprint of the gallery.
        batch: places in each step.
        learning_rate: the highest; it rises over 20 steps and falls to zero as a cosine.
        looks: how photos differ from the map.
        seed: of everything that is drawn.
        console: shows progress; silent by default.

    Returns:
        The adapted model, as saved in `out`.

    Raises:
        RasterError: a map is missing, or cannot be placed on the ground.
        TrainingError: no map holds a whole footprint, an argument cannot be, or the run fails.
        ModelError: there is no such model, or `out` cannot be written.
    """
    out = Path(out)
    config = adapt_config(
        maps, model, minutes, steps, footprint_m, batch, learning_rate, looks, seed
    )
    place = out.resolve()
    if Path.cwd().is_relative_to(place):
        raise TrainingError(
            f"the checkpoint would replace {place}, which is the folder you are in or around it: "
            f"name a folder of its own."
        )
    check_replaceable(place)
    run = place.with_name(f"{place.name}.run")
    adapted = fit(config, run, console)
    adapted.save(out)
    card = run / CHECKPOINT / "README.md"
    if card.exists():
        # Its lines for use name the folder, and the folder is another here.
        text = card.read_text(encoding="utf-8").replace(f'"{CHECKPOINT}"', f'"{out.name}"')
        (out / "README.md").write_text(text, encoding="utf-8")
    return adapted


def adapt_config(
    maps: Sequence[str | Path],
    model: str | Path,
    minutes: float | None,
    steps: int | None,
    footprint_m: float,
    batch: int,
    learning_rate: float,
    looks: LooksConfig,
    seed: int,
) -> TrainConfig:
    """Adaptation as a training run; arguments as in `adapt`.

    Raises:
        TrainingError: a value cannot be.
    """
    if not maps:
        raise TrainingError("there is no map to adapt to: name a GeoTIFF or a folder of tiles.")
    try:
        source = SourceSettings(
            maps=[Path(path) for path in maps],
            per_batch=batch,
            footprint_m=footprint_m,
            looks=looks,
        )
        return TrainConfig(
            seed=seed,
            model=ModelSettings(init=str(model)),
            data=DataSettings(train=[source]),
            objective=ObjectiveConfig(
                anchors="none",
                image_edges=(("satellite", "drone"),),
                radius_m=_SAME_GROUND * footprint_m,
            ),
            optimizer=OptimizerSettings(learning_rate=learning_rate, warmup_steps=20),
            fit=FitSettings(steps=steps, minutes=minutes, precision="bf16-mixed"),
        )
    except ValidationError as error:
        place, problem = first_problem(error)
        what = f"with this {place}" if place else "so"
        raise TrainingError(f"a model cannot be adapted {what}: {problem}.") from None
