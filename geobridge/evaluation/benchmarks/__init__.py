"""Public benchmarks by name, one module each; see `benchmark.Benchmark` for what each has.

To add one, write a module with a `Benchmark` in it, as `cvusa` does, and a line below.
"""

from difflib import get_close_matches
from importlib import import_module
from typing import Any

from geobridge.errors import EvaluationError
from geobridge.evaluation.benchmarks.benchmark import Benchmark

_PUBLIC = {
    "places": "places:BENCHMARK",
    "geoloc": "geoloc:BENCHMARK",
    "university-1652": "university1652:BENCHMARK",
    "sues-200": "sues200:BENCHMARK",
    "denseuav": "denseuav:BENCHMARK",
    "cvusa": "cvusa:BENCHMARK",
    "cvact": "cvact:BENCHMARK",
    "vigor": "vigor:BENCHMARK",
    "gta-uav": "gtauav:BENCHMARK",
    "geotext-1652": "geotext1652:BENCHMARK",
    "cvg-text": "cvgtext:BENCHMARK",
    "rsicd": "rsicd:RSICD",
    "rsieval": "rsicd:RSIEVAL",
    "ucm-captions": "rsicd:UCM_CAPTIONS",
    "fongyuan": "real:FONGYUAN",
    "ariel": "real:ARIEL",
    "street-sat": "real:STREET_SAT",
    "naip-years": "real:NAIP_YEARS",
    "ucm-scenes": "real:UCM_SCENES",
}
_WORLD = tuple(
    f"world-1k{region}{variant}"
    for region in ("", "-far")
    for variant in ("", "-2m", "-5m", "-10m", "-missing", "-noise")
)

BENCHMARK_NAMES: tuple[str, ...] = (*_WORLD, *_PUBLIC)
"""Every name that `benchmark_named` knows."""


def benchmark_named(name: str) -> Benchmark[Any]:
    """The benchmark of that name; its module is imported only now.

    Raises:
        EvaluationError: there is none; the message has the closest name.
    """
    if name in _WORLD:
        from geobridge.evaluation.benchmarks.world import world_benchmark

        return world_benchmark(name)
    if name not in _PUBLIC:
        near = get_close_matches(name, BENCHMARK_NAMES, n=1)
        raise EvaluationError(
            f"there is no benchmark {name!r}: "
            + (f"did you mean {near[0]!r}?" if near else f"choose {', '.join(BENCHMARK_NAMES)}.")
        )
    module, _, attribute = _PUBLIC[name].partition(":")
    found: Benchmark[Any] = getattr(
        import_module(f"geobridge.evaluation.benchmarks.{module}"), attribute
    )
    return found
