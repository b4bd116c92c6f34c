"""Runs that processes train together; run by `torchrun`, or imported by a test.

    python -m torch.distributed.run --standalone --nproc-per-node 2 joint_runs.py OUT RUN.json...

Each RUN.json is a configuration, OUT/RUN the folder of its run. Every process leaves OUT/RUN.RANK:
what `Watcher` saw, or the sentence of the error it met.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from geobridge.errors import TrainingError
from geobridge.model.geobridge import GeoBridge
from geobridge.training import fit as fitting
from geobridge.training.config import parse_train_config
from geobridge.training.sources import PictureSource

RANK = int(os.environ.get("RANK", 0))
HALFWAY = 2
"""The step of whose state a run's folder is kept, as OUT/RUN.halfway: RUN_resumed goes on there."""


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


class Watcher:
    """Sees the first gradients of a run and the weights and clock it ends with.

    While it watches, places are seen plainly: random looks differ between processes, so that two
    could not see what one sees.
    """

    def __init__(self, out, patch):
        self.out = out
        self.found = {}
        self._watch_pictures(patch)
        self._watch_steps(patch)

    def _watch_pictures(self, patch):
        draw = PictureSource.draw
        patch(PictureSource, "draw", lambda source, rows, generator: draw(source, rows, None))  # noqa: ARG005

    def _watch_steps(self, patch):
        module = fitting.FitModule
        gradients, step, end = module._gradients, module.training_step, module.on_train_end

        def watched_gradients(module, batch, terms):
            loss = gradients(module, batch, terms)
            if "gradients" not in self.found:
                self.found["loss"] = loss
                self.found["gradients"] = {
                    name: whole(weight.grad).clone()
                    for name, weight in module.named_parameters()
                    if weight.grad is not None
                }
            return loss

        def watched_step(module, count):
            step(module, count)
            kept = self.out.with_suffix(".halfway")
            if RANK == 0 and module.trainer.global_step == HALFWAY + 1 and not kept.exists():
                shutil.copytree(self.out, kept)

        def watched_end(module):
            end(module)
            weights = dict(module.named_parameters()) | dict(module.named_buffers())
            self.found |= {
                "weights": {name: whole(weight).detach() for name, weight in weights.items()},
                "divided": [name for name in weights if hasattr(weights[name], "full_tensor")],
                "used_s": module.used_s,
                "steps": module.trainer.global_step,
            }

        patch(module, "_gradients", watched_gradients)
        patch(module, "training_step", watched_step)
        patch(module, "on_train_end", watched_end)

    def run(self, path):
        """Train a configuration.

        Returns:
            What was seen of it.
        """
        self.out, self.found = self.out.parent / path.stem, {}
        config = parse_train_config(json.loads(path.read_text()), path.stem)
        try:
            fitting.fit(config, self.out)
        except TrainingError as error:
            self.found = {"error": str(error)}
        return self.found


def take_up(out):
    """Lay the folder of halfway where a run will go on from it."""
    if RANK == 0:
        former = out.with_name(out.name.removesuffix("_resumed"))
        shutil.copytree(former.with_suffix(".halfway"), out)
    dist.barrier()


def blind_second():
    """From now on the second process sees nothing but NaN."""
    features = GeoBridge.image_features
    factor = float("nan") if RANK == 1 else 1.0
    GeoBridge.image_features = lambda *inputs: features(*inputs) * factor


def stop_second():
    """From now on the second process cannot go on, and the first can."""

    def stop(module, batch, number):  # noqa: ARG001
        if RANK == 1:
            raise TrainingError("a picture has vanished.")

    fitting.FitModule.on_train_batch_start = stop


def main():
    out, *runs = map(Path, sys.argv[1:])
    watcher = Watcher(out / "none", setattr)
    for path in runs:
        if path.stem.endswith("_resumed"):
            take_up(out / path.stem)
        if path.stem == "blind":
            blind_second()
        if path.stem == "stopped":
            stop_second()
        torch.save(watcher.run(path), out / f"{path.stem}.{RANK}")


if __name__ == "__main__":
    main()
