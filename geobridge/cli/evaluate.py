"""`geobridge evaluate`: a model and a benchmark in, a report out."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from geobridge.cli.console import output, remarks, steps
from geobridge.errors import EvaluationError

_TRANSFER = "transfer."
EXAMPLE = "geobridge evaluate --benchmark world-1k --root runs/world-1k --out runs/report"


def evaluate(
    benchmark: Annotated[
        str | None,
        typer.Option(help="world-1k, university-1652, vigor, ...; `--list` names all."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
    model: Annotated[str, typer.Option(help="A shipped model, a folder or a hub name.")] = "mini",
    directions: Annotated[
        str,
        typer.Option(
            help="Comma-separated, such as D2S,T2S: D drone, P street panorama, S satellite, "
            "T text; the query first.",
            metavar="DIRECTIONS",
        ),
    ] = "all",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; without it only a table is printed.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="OPTION=VALUE",
            help="Option of the benchmark; of the suite: sweeps=A,B or transfer.NAME=CHECKPOINT.",
        ),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="`robustness`: sweeps on the simulated planet.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the model computes.")] = "cpu",
    list_benchmarks: Annotated[
        bool, typer.Option("--list", help="Name every benchmark, its layout and its options.")
    ] = False,
) -> None:
    """Measure a model by the rules of a published benchmark.

    Every measure comes with a 95 % interval, and recalls with what chance gives. Stopped at any
    moment, the same command goes on; run again with the same --out, it scores what is embedded.
    """
    if list_benchmarks:
        _list()
    elif suite is not None:
        if benchmark is not None or directions != "all":
            raise EvaluationError(
                "a suite has its own data and directions: leave out --benchmark and --directions, "
                "or leave out --suite."
            )
        _run_suite(suite, model, root, out, change or [], device)
    elif benchmark is None or root is None:
        raise EvaluationError(
            "evaluate needs --benchmark NAME and --root DIR: `geobridge evaluate --list` names "
            "the benchmarks and what their folders hold."
        )
    else:
        _run_benchmark(benchmark, root, model, directions, out, change or [], device)


def _run_benchmark(
    name: str,
    root: Path,
    model: str,
    directions: str,
    out: Path | None,
    changes: list[str],
    device: str,
) -> None:
    from geobridge.evaluation.benchmarks import benchmark_named
    from geobridge.evaluation.report import summary, write_report
    from geobridge.evaluation.run import evaluate as measure

    benchmark = benchmark_named(name)
    options, wanted = _options(changes), _directions(directions)
    if name.startswith("world-1k") and not (root / "places.parquet").exists():
        remarks().print(f"{root} holds no {name} yet: it is built first, which takes minutes")
    loaded = _load(model, device)
    with tempfile.TemporaryDirectory() as scratch, steps() as step:
        folder = out or Path(scratch)
        found = measure(
            loaded, benchmark, root, folder, directions=wanted, options=options, step=step
        )
        said = found.remarks
        if out is not None:
            step("writing the report")(0, None)
            said += write_report(out, found)
    console = output()
    console.print(summary(found))
    for remark in said:
        console.print(remark, markup=False)
    if out is not None:
        console.print(f"report: {out / 'table.md'}, {out / 'retrievals.html'}")


def _run_suite(
    suite: str, model: str, root: Path | None, out: Path | None, changes: list[str], device: str
) -> None:
    if suite != "robustness":
        raise EvaluationError(f"there is no suite {suite!r}: the one there is is `robustness`.")
    if out is None:
        raise EvaluationError("a suite writes figures and tables: name a folder with --out.")
    from geobridge.evaluation.robustness import run_suite

    options = _options(changes)
    sweeps = options.pop("sweeps", None)
    transfer = {key.removeprefix(_TRANSFER): path for key, path in options.items()}
    for key in options:
        if not key.startswith(_TRANSFER):
            raise EvaluationError(
                f"a suite has no option {key!r}: write sweeps=resolution,street or "
                f"transfer.NAME=CHECKPOINT."
            )
    with steps() as step:
        written = run_suite(
            _load(model, device),
            root or Path("runs"),
            out,
            sweeps=sweeps.split(",") if sweeps else None,
            transfer=transfer,
            step=step,
        )
    output().print(f"report: {written}")


def _list() -> None:
    from geobridge.evaluation.benchmarks import BENCHMARK_NAMES, benchmark_named

    console, layout = output(), ""
    for name in BENCHMARK_NAMES:
        benchmark = benchmark_named(name)
        options = ", ".join(
            f"{key}={field.get_default(call_default_factory=True)}"
            for key, field in benchmark.options.model_fields.items()
        )
        console.print(f"[b]{name}[/b]: {benchmark.title}", end="")
        console.print(f" (--set {options})" if options else "", markup=False)
        if benchmark.layout != layout:  # variants of one data set are laid out alike
            layout = benchmark.layout
            for line in layout.strip().splitlines():
                console.print(f"    {line}", markup=False)


def _load(model: str, device: str) -> Any:
    from geobridge.model.geobridge import GeoBridge

    remarks().print(f"loading {model}")
    return GeoBridge.load(model, device=device)


def _directions(text: str) -> list[Any] | None:
    from geobridge.views import Direction

    if text == "all":
        return None
    try:
        return [Direction.parse(word.strip()) for word in text.split(",")]
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def _options(changes: list[str]) -> dict[str, Any]:
    """`key=value` each; the benchmark reads numbers and words alike."""
    pairs = [change.partition("=") for change in changes]
    for change, (key, equals, _) in zip(changes, pairs, strict=True):
        if not (key and equals):
            raise EvaluationError(
                f"--set {change!r} is no option: write name=value, as in distractors=drop."
            )
    given = {key: value for key, _, value in pairs}
    if len(given) < len(pairs):
        raise EvaluationError("--set names an option twice: give one value for each.")
    return given
