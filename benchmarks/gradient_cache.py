"""What gradient caching costs and saves beside the batch at once, within one run.

    python benchmarks/gradient_cache.py

prints the peak memory and the CPU time per place of one training step of a batch at once and of a
much larger one in parts, and how far the gradients of the two ways lie apart on the same batch.
Every measurement has a process of its own; they take turns. Nothing else should be running.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads that spin count as CPU time

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from geobridge.model.geobridge import GeoBridge
from geobridge.model.objective import ObjectiveConfig, anchor_objective
from geobridge.model.tokens import train_tokenizer
from geobridge.training.caching import cached_step
from geobridge.views import MODALITIES, Modality

SENTENCE = "a street with red roofs, a school in the north and a car park behind number"
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--direct", type=int, default=256, help="places of the batch at once")
    parser.add_argument("--cached", type=int, default=4096, help="places of the batch in parts")
    parser.add_argument("--chunk", type=int, default=64, help="items of a part")
    parser.add_argument("--preset", default="mini", help="model (weights are drawn)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(MEASUREMENTS[options.only](options)))
        return
    print(f"One step of {options.preset}, all four modalities, {options.precision},")
    print(f"  {torch.get_num_threads()} torch threads, median of {options.repeats}")
    runs = [
        {name: measure_apart(name) for name in ("small", "direct", "cached")}
        for _ in range(options.repeats)
    ]
    report("small", f"{options.chunk} places at once", runs)
    report("direct", f"{options.direct} places at once", runs)
    report("cached", f"{options.cached} places in parts of {options.chunk}", runs)
    ratios = [run["cached"]["cpu_ms"] / run["direct"]["cpu_ms"] - 1 for run in runs]
    print(f"  overhead of parts per place: {100 * median(ratios):.0f} % (target under 40 %)")
    error = measure_apart("error")["error"]
    print(f"  relative error of the gradient, {options.direct} places: {error:.1e} (target 1e-4)")


def measure_apart(name: str) -> dict[str, float]:
    """A measurement of this name in a new process, with the options of this one."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def report(name: str, words: str, runs: list[dict[str, dict[str, float]]]) -> None:
    peak, cpu, wall = (
        median([run[name][key] for run in runs]) for key in ("peak_mib", "cpu_ms", "wall_ms")
    )
    print(f"  {words}: {peak:,.0f} MiB beyond model and pictures,")
    print(f"    {cpu:.1f} ms CPU a place ({wall:.1f} ms on the clock)")


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


# What runs in a process of its own


class Step:
    """A batch of places with everything, drawn; the same for the same number of places."""

    def __init__(self, options: argparse.Namespace, places: int) -> None:
        words = train_tokenizer([f"{SENTENCE} {number}" for number in range(100)], 300)
        self.model = GeoBridge.from_preset(options.preset, pretrained=False, tokenizer=words)
        self.model.train()
        self.precision = getattr(torch, options.precision)
        generator = torch.Generator().manual_seed(0)
        self.pictures = {
            view: torch.randint(
                0, 256, (places, 3, settings.height, settings.width),
                dtype=torch.uint8, generator=generator,
            )
            for view, settings in self.model.config.preprocess.items()
        }  # fmt: skip
        self.texts = [f"{SENTENCE} {number}" for number in range(places)]
        self.objective = ObjectiveConfig()

    def encode(self, modality: Modality, first: int, last: int) -> Tensor:
        """Features of some items of a modality."""
        with torch.autocast("cpu", self.precision, enabled=self.precision != torch.float32):
            if modality == "text":
                return self.model.text_features(self.texts[first:last])
            return self.model.image_features(modality, self.pictures[modality][first:last])

    def loss_of(self, features: dict[Modality, Tensor]) -> Tensor:
        """The paper's objective of all places."""
        embeddings = {name: self.model.project(name, rows) for name, rows in features.items()}
        scale = self.model.logit_scale.exp()
        return anchor_objective(embeddings, {}, scale, self.objective)[0]

    def run(self, places: int, chunk: int) -> None:
        """Loss and gradients of the first places."""
        self.model.zero_grad()
        sizes: dict[Modality, int] = dict.fromkeys(MODALITIES, places)
        cached_step(self.encode, sizes, chunk, self.loss_of, Tensor.backward)

    def gradient(self) -> Tensor:
        """Of all parameters, in one row."""
        found = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
        return torch.cat(found)


def cost_of_step(
    places_of: Callable[[argparse.Namespace], int], options: argparse.Namespace, whole: bool
) -> dict[str, float]:
    """Peak memory beyond model and pictures, and time of each place, of a step."""
    places = places_of(options)
    step = Step(options, places)
    chunk = places if whole else options.chunk
    before = peak_mib()
    # The first time takes memory from the system, the second one reuses it and is measured.
    step.run(places if whole else min(places, 2 * chunk), chunk)
    cpu, wall = time.process_time(), time.perf_counter()
    step.run(places, chunk)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "peak_mib": peak_mib() - before,
        "cpu_ms": 1e3 * cpu / places,
        "wall_ms": 1e3 * wall / places,
    }


def gradient_error(options: argparse.Namespace) -> dict[str, float]:
    """Relative error of the gradient in parts against that of the batch at once."""
    step = Step(options, options.direct)
    step.run(options.direct, options.direct)
    expected = step.gradient()
    step.run(options.direct, options.chunk)
    return {"error": ((step.gradient() - expected).norm() / expected.norm()).item()}


def peak_mib() -> float:
    """Largest resident memory of this process so far (kilobytes on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "small": partial(cost_of_step, lambda options: options.chunk, whole=True),
    "direct": partial(cost_of_step, lambda options: options.direct, whole=True),
    "cached": partial(cost_of_step, lambda options: options.cached, whole=False),
    "error": gradient_error,
}

if __name__ == "__main__":
    main()
