"""All stages in their order, each one only where something it depends on has changed.

What a stage depends on are its settings, the tables it reads, and files it is given. A digest of
all that is noted when it ends (`state`); while it is the same, the stage is not run again. Where a
stage that is run again gives the same table, those after it stay as they are. A table that was
edited by hand, to take a place out, is left as it is: only the stages after it are run again, and
where its own stage would have to be, the run stops before that undoes the edit.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

import geobridge
from geobridge.curation import clean, crop, describe, publish, satellite, seeds, street
from geobridge.curation.config import CurateConfig
from geobridge.curation.estimates import ESTIMATED, estimate, unset_secrets
from geobridge.curation.rasters import digest, file_digest, list_rasters, version_of
from geobridge.curation.satellite import SatelliteConfig
from geobridge.curation.seeds import SeedsConfig
from geobridge.curation.state import Notes, read_notes, write_notes
from geobridge.curation.workspace import Workspace
from geobridge.errors import CurationError
from geobridge.imagery.files import list_files
from geobridge.model.config import Settings
from geobridge.places.table import TABLE_NAME
from geobridge.progress import Step, silent

UNFINISHED = ""
"""Noted in place of a digest while a stage is under way."""

_VIEWS = ("satellite", "describe")
"""Stages that places may do without, unless they are to be whole."""

Run = Callable[[Workspace, Any, Step], pd.DataFrame]


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    Attributes:
        name: on the command line and in the configuration.
        table: name of its table.
        reads: stages whose tables it reads, where they are configured.
        run: does the work.
        product: what else it makes that must be there, in the curation's folder.
    """

    name: str
    table: str
    reads: tuple[str, ...]
    run: Run
    product: str = "."


STAGES = (
    Stage("seeds", "seeds", (), seeds.run),
    Stage("street", "street", ("seeds",), street.run),
    Stage("crop", "crops", ("seeds", "street"), crop.run),
    Stage("clean", "clean", ("street", "crop"), clean.run),
    Stage("satellite", "satellite", ("seeds", "crop", "clean"), satellite.run),
    Stage("describe", "describe", ("crop", "clean", "satellite"), describe.run),
    Stage(
        "publish",
        "publish",
        ("seeds", "street", "crop", "clean", "satellite", "describe"),
        publish.run,
        f"{publish.FOLDER}/{TABLE_NAME}",
    ),
)
"""In the order they are run in."""

STAGE_NAMES = tuple(stage.name for stage in STAGES)


@dataclass(frozen=True)
class Outcome:
    """What a stage came to.

    Attributes:
        stage: its name.
        rows: of its table.
        kept: of them; all where the table keeps everything.
        reasons: why the others were left out, and how many for each, the most frequent first.
        was_run: whether it was run now, or was finished before.
    """

    stage: str
    rows: int
    kept: int
    reasons: tuple[tuple[str, int], ...]
    was_run: bool


def outcomes(
    config: CurateConfig,
    out: str | Path,
    stages: Sequence[str] | None = None,
    step: Step | None = None,
    *,
    resume: bool = False,
) -> Iterator[Outcome]:
    """Run the pipeline, or some of its stages, while what comes out of them is asked for.

    A run that was stopped or killed goes on where it was: nothing is downloaded or asked for
    twice. Stages that are configured no more lose their table, and keep what they have downloaded.

    Args:
        config: of all stages.
        out: the curation's folder.
        stages: only these, which are run even where nothing has changed: what could not be
            downloaded is then tried again. All that have something to do by default.
        step: is told what begins.
        resume: refuse to begin, or to do anything over that was done with other settings.

    Yields:
        What each configured stage that has been run came to, in order, as soon as that is known.

    Raises:
        CurationError: a stage is unknown or not configured, another one that it needs was not
            run with these settings or keeps nothing, a table that was edited by hand would be
            written anew though its stage is not among `stages`, a secret of a stage that is to
            be run is not set, another process works in the folder, or a stage cannot go on.
    """
    wanted = _wanted(config, stages)
    if resume:
        _check_resumable(config, Path(out))
    workspace = Workspace(out)
    with workspace.locked():
        _forget_unconfigured(workspace, config)
        _check_secrets(config, wanted - (_finished(workspace, config) if stages is None else set()))
        finished: set[str] = set()
        was_run: set[str] = set()
        for stage in _configured(config):
            whose = _whose(workspace, config, stage) if _is_ready(config, stage, finished) else None
            is_finished = whose is not None and _is_finished(workspace, stage, whose)
            if stage.name in wanted and not (is_finished and stages is None):
                if whose is None:
                    raise _not_ready(workspace, config, stage, finished)
                _check_kept(workspace, config, stage)
                if stages is None:
                    _check_unedited(workspace, stage)
                settings = _settings(config, stage)
                _note(workspace, stage, settings, UNFINISHED)
                stage.run(workspace, getattr(config, stage.name), step or silent)
                _note(workspace, stage, settings, whose)
                was_run.add(stage.name)
                is_finished = True
            if is_finished:
                finished.add(stage.name)
                yield outcome_of(workspace, stage, stage.name in was_run)


def curate(
    config: CurateConfig,
    out: str | Path,
    stages: Sequence[str] | None = None,
    step: Step | None = None,
    *,
    resume: bool = False,
) -> list[Outcome]:
    """Run the pipeline, or some of its stages, to the end; all else is as with `outcomes`."""
    return list(outcomes(config, out, stages, step, resume=resume))


def plans(config: CurateConfig, out: str | Path) -> Iterator[tuple[str, str]]:
    """What the stages that ask others will ask for: pairs of their name and an estimate.

    Nothing is asked for. Without seeds there is one pair, which says that they come first.

    Raises:
        CurationError: a table cannot be read, or a provider cannot be used.
    """
    workspace = Workspace(out)
    finished = _finished(workspace, config)
    if "seeds" not in finished:
        first = "run `geobridge curate ... --stage seeds` first"
        yield "seeds", f"not found yet with these settings, and all else depends on them: {first}"
        return
    for stage in _configured(config):
        if stage.name in ESTIMATED:
            yield stage.name, estimate(workspace, config, stage.name, finished)


def outcome_of(workspace: Workspace, stage: Stage, was_run: bool) -> Outcome:
    """What the table of a stage says."""
    table = workspace.read(stage.table)
    if "kept" not in table:
        return Outcome(stage.name, len(table), len(table), (), was_run)
    left_out = table[~table["kept"].astype(bool)]
    # Reasons name places and numbers; what comes before is what they have in common.
    kinds = left_out["reason"].fillna("no reason given").map(_kind).value_counts()
    reasons = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return Outcome(
        stage.name,
        len(table),
        len(table) - len(left_out),
        tuple((str(kind), int(count)) for kind, count in reasons),
        was_run,
    )


def _kind(reason: str) -> str:
    """A reason without the numbers and names in it."""
    words = reason.partition("(")[0].split()
    return " ".join("..." if any(c.isdigit() for c in word) else word for word in words)


def _stage(name: str) -> Stage:
    return next(stage for stage in STAGES if stage.name == name)


def _configured(config: CurateConfig) -> list[Stage]:
    return [stage for stage in STAGES if getattr(config, stage.name) is not None]


def _wanted(config: CurateConfig, stages: Sequence[str] | None) -> set[str]:
    """Names of the stages to run.

    Raises:
        CurationError: one is unknown or not configured.
    """
    configured = {stage.name for stage in _configured(config)}
    for name in stages or ():
        if name not in STAGE_NAMES:
            raise CurationError(
                f"there is no stage {name!r}: choose one of {', '.join(STAGE_NAMES)}."
            )
        if name not in configured:
            raise CurationError(
                f"the stage {name} is not configured: give the configuration a table {name!r}."
            )
    return configured if stages is None else set(stages)


def _settings(config: CurateConfig, stage: Stage) -> dict[str, Any]:
    settings: dict[str, Any] = getattr(config, stage.name).model_dump(mode="json")
    return settings


# What a stage depends on


def _whose(workspace: Workspace, config: CurateConfig, stage: Stage) -> str:
    """Digest of everything the table of a stage comes from."""
    tables = {
        name: file_digest(workspace.path(_stage(name).table)) for name in _needed(config, stage)
    }
    noted = {}
    if stage.name == "publish":
        # The recipe holds the settings of the other stages.
        noted = {other.name: _settings(config, other) for other in _configured(config)}
    return digest(
        geobridge.__version__, _settings(config, stage), tables, noted, _files(config, stage)
    )


def _files(config: CurateConfig, stage: Stage) -> list[str]:
    """Versions of the files that a stage is given, so that changed ones are noticed."""
    match stage.name:
        case "seeds" | "crop":
            return _rasters(config.seeds)
        case "street":
            folders = [one.folder for one in config.street.providers if one.kind == "folder"]
            return [version for folder in folders for version in _folder(folder)]
        case "clean" if config.clean.ground:
            return _folder(Path(config.clean.ground.model))
        case "satellite":
            return _rasters(config.satellite)
        case "describe" if config.describe:
            given = (config.describe.prompt, config.describe.words)
            texts = [version_of(path) for path in given if path is not None]
            return texts + (_folder(Path(config.describe.fit.model)) if config.describe.fit else [])
        case "publish" if config.publish.only_redistributable:
            # The recipe tells their digests.
            return _rasters(config.seeds) + _rasters(config.satellite)
    return []


def _rasters(config: SeedsConfig | SatelliteConfig | None) -> list[str]:
    return [entry.version for entry in list_rasters(config.rasters)] if config else []


def _folder(folder: Path) -> list[str]:
    """Versions of all files of a folder; nothing where it is none, as with a model of a hub."""
    return [version_of(folder / name) for name in list_files(folder)] if folder.is_dir() else []


def _is_finished(workspace: Workspace, stage: Stage, whose: str) -> bool:
    note = read_notes(workspace.folder).get(stage.name)
    return (
        note is not None
        and note["whose"] == whose
        and workspace.has(stage.table)
        and (workspace.folder / stage.product).exists()
    )


def _finished(workspace: Workspace, config: CurateConfig) -> set[str]:
    """Names of the stages that have nothing to do."""
    finished: set[str] = set()
    for stage in _configured(config):
        is_ready = _is_ready(config, stage, finished)
        if is_ready and _is_finished(workspace, stage, _whose(workspace, config, stage)):
            finished.add(stage.name)
    return finished


def _is_ready(config: CurateConfig, stage: Stage, finished: set[str]) -> bool:
    return finished.issuperset(_needed(config, stage))


def _needed(config: CurateConfig, stage: Stage) -> list[str]:
    return [name for name in stage.reads if getattr(config, name) is not None]


def _not_ready(
    workspace: Workspace, config: CurateConfig, stage: Stage, finished: set[str]
) -> CurationError:
    missing = next(other.name for other in _configured(config) if other.name not in finished)
    return CurationError(
        f"the stage {stage.name} needs the stage {missing}, which has not been run in "
        f"{workspace.folder} with these settings: run `geobridge curate ... --stage {missing}`, "
        f"or all stages without --stage."
    )


def _check_secrets(config: CurateConfig, stages: Collection[str]) -> None:
    """Refuse to begin without a secret that will be needed, be it hours later."""
    for stage in STAGE_NAMES:
        unset = unset_secrets(config, stage) if stage in stages else []
        if unset:
            raise CurationError(
                f"the stage {stage} needs {unset[0]}, which is not set in the environment: set it, "
                f"or name other stages with --stage."
            )


def _check_kept(workspace: Workspace, config: CurateConfig, stage: Stage) -> None:
    """Refuse to go on where a stage before has left nothing to go on with."""
    for name in _needed(config, stage):
        if name in _VIEWS and not config.publish.whole:
            continue
        before = outcome_of(workspace, _stage(name), was_run=False)
        if not before.kept:
            told = "; ".join(f"{reason}: {count:,}" for reason, count in before.reasons)
            reasons = f" ({told})" if told else ""
            raise CurationError(
                f"the stage {name} keeps none of {before.rows:,} rows{reasons}, "
                f"so that {stage.name} has nothing to do: look at "
                f"{workspace.path(_stage(name).table)} and change the settings of {name}, or try "
                f"again with --stage {name}."
            )


def _check_unedited(workspace: Workspace, stage: Stage) -> None:
    """Refuse to write a table over that is not as its stage wrote it."""
    written = read_notes(workspace.folder).get(stage.name, {}).get("table")
    path = workspace.path(stage.table)
    if written and path.is_file() and file_digest(path) != written:
        raise CurationError(
            f"{path} was edited since the stage {stage.name} wrote it, and the stage has to be run "
            f"again, because something before it has changed, which would undo the edits: keep a "
            f"copy if you need it, and run `geobridge curate ... --stage {stage.name}`."
        )


def _check_resumable(config: CurateConfig, out: Path) -> None:
    """Refuse a folder without work, or with work of other settings."""
    notes = read_notes(out)
    if not notes:
        raise CurationError(
            f"{out} holds no curation to resume: leave out --resume to begin one there."
        )
    for stage in STAGES:
        note = notes.get(stage.name)
        if note is None:
            continue
        if getattr(config, stage.name) is None:
            raise CurationError(
                f"{out} was made with a stage {stage.name}, which is not configured now: restore "
                f"it, or leave out --resume."
            )
        changed = _changed(_as_now(note["settings"], config, stage), _settings(config, stage))
        if changed:
            raise CurationError(
                f"{out} was made with other settings of the stage {stage.name} "
                f"({', '.join(changed)}): restore them, or leave out --resume to do it over."
            )


def _as_now(former: dict[str, Any], config: CurateConfig, stage: Stage) -> dict[str, Any]:
    """Settings of a former run with those that came since; as they are where they do not fit."""
    try:
        settings: Settings = type(getattr(config, stage.name)).model_validate(former)
    except ValidationError:
        return former
    return settings.model_dump(mode="json")


def _changed(former: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = sorted({*former, *now})
    return [name for name in names if former.get(name, ...) != now.get(name, ...)]


# What is noted


def _note(workspace: Workspace, stage: Stage, settings: dict[str, Any], whose: str) -> None:
    notes = read_notes(workspace.folder)
    table = "" if whose == UNFINISHED else file_digest(workspace.path(stage.table))
    notes[stage.name] = {"settings": settings, "whose": whose, "table": table}
    write_notes(workspace.folder, _in_order(notes))


def _forget_unconfigured(workspace: Workspace, config: CurateConfig) -> None:
    """Remove tables of stages that are configured no more, which later stages would read."""
    notes = read_notes(workspace.folder)
    for stage in STAGES:
        if getattr(config, stage.name) is None:
            workspace.path(stage.table).unlink(missing_ok=True)
            notes.pop(stage.name, None)
    write_notes(workspace.folder, _in_order(notes))


def _in_order(notes: Notes) -> Notes:
    return {name: notes[name] for name in STAGE_NAMES if name in notes}
