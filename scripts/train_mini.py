"""Train the embedded default, `mini`, from nothing, on two cores.

    python scripts/train_mini.py --data ../shared/data --run runs/mini --minutes 45

It builds its part of the simulated planet if it is not there yet, trains, and writes the
checkpoint to RUN/checkpoint. Stopped at any moment, the same command continues.

    python scripts/train_mini.py --planet-alone --run runs/alone --minutes 45
    python scripts/train_mini.py --init runs/alone --run runs/mini --minutes 45

The first of these reads no real picture; the second goes on from its weights with all data.

What a batch holds (one row is one place, with the views it has):

- places of the planet: drone, street, satellite, text;
- `naip_years`: one year as the drone's view, another as the satellite's, one crop a tile;
  the city TEST_CITY is never read;
- `ucm_captions`: two looks at one picture, and one of its five captions; every tenth picture of a
  scene is never read.

Every aerial look is a random footprint through a random sensor (`geobridge.imagery.augment`): the
drone's differs from the satellite's in heading, scale, position, perspective and colour.
"""

import argparse
import copy
import csv
import json
import math
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from geobridge.evaluation.retrieval import Held, retrieve
from geobridge.imagery.augment import GroundCrop, crop_ground, random_sensor, uniform
from geobridge.imagery.decode import read_image
from geobridge.imagery.street import street_field
from geobridge.model.geobridge import GeoBridge
from geobridge.model.objective import FalseNegatives, ObjectiveConfig, anchor_objective
from geobridge.model.tokens import train_tokenizer
from geobridge.places.table import iter_places
from geobridge.views import NINE_DIRECTIONS, VIEWS

TEST_CITY = "santa_monica"
UCM_TEST_EVERY = 10
BATCH = {"planet": 80, "naip": 72, "ucm": 48}
PLANET_ALONE_BATCH = 128
NEIGHBOURS_FROM, NEIGHBOURS_FULL = 0.15, 0.6  # of the time: hard negatives come in between
PEAK_LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
WARMUP_STEPS = 50
SAVE_EVERY_S = 120
NEAR_M = 40.0  # places of the planet nearer than this show much the same ground


@dataclass
class Ground:
    """Pictures of the ground, uint8 (N, Y, 3, S, S): N places in Y years; with texts or without."""

    pictures: Tensor
    texts: list[list[str]]
    groups: np.ndarray  # (N,) rows of one group may share a text


@dataclass
class Planet:
    """Aligned views of N simulated places, uint8 tensors, and their texts and positions."""

    views: dict[str, Tensor]
    texts: list[str]
    lat_lon: np.ndarray


def as_tensor(pictures: list[np.ndarray]) -> Tensor:
    """uint8 (N, 3, H, W) from N pictures (H, W, 3)."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def load_naip(folder: Path) -> Ground:
    """Every place of `naip_years` outside TEST_CITY, its years in order."""
    with (folder / "tiles.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["city"] != TEST_CITY]
    places: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: (row["place"], row["year"])):
        places.setdefault(row["place"], []).append(row["file"])
    pictures = [
        as_tensor([read_image(folder / name) for name in names]) for names in places.values()
    ]
    return Ground(torch.stack(pictures), [[] for _ in places], np.arange(len(places)))


def load_ucm(folder: Path) -> Ground:
    """The training part of `ucm_captions`: nine of ten pictures of each scene."""
    entries = json.loads((folder / "captions.json").read_text())
    seen: dict[str, int] = {}
    kept = []
    for entry in entries:
        rank = seen.get(entry["scene"], 0)
        seen[entry["scene"]] = rank + 1
        if rank % UCM_TEST_EVERY != UCM_TEST_EVERY - 1:
            kept.append(entry)
    pictures = as_tensor([center_of(read_image(folder / entry["image"]), 240) for entry in kept])
    # 0.3 m a pixel is twice as fine as the network looks: halve now, once, without aliasing.
    halved = torch.nn.functional.interpolate(
        pictures, size=(160, 160), mode="bicubic", antialias=True
    )
    scenes = sorted(seen)
    groups = np.array([scenes.index(entry["scene"]) for entry in kept])
    return Ground(halved[:, None], [entry["captions"] for entry in kept], groups)


def center_of(picture: np.ndarray, side: int) -> np.ndarray:
    """The centred square; some UCM pictures lack a row or a column."""
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return picture[top : top + side, left : left + side]


def build_planet(folder: Path, towns: int, places: int, seed: int) -> None:
    """Let the command line build the places data set; it continues where it was stopped."""
    command = [sys.executable, "-m", "geobridge.cli.app", "world", "build", str(folder)]
    command += ["--towns", str(towns), "--places", str(places), "--seed", str(seed)]
    command += ["--regions", "known", "--size", "128", "--drone", "either"]
    subprocess.run(command, check=True)


def load_planet(folder: Path, model: GeoBridge) -> Planet:
    """Read a places data set at the model's own sizes."""
    cache = folder / "pictures.pt"
    rows = [place for place in iter_places(folder) if place.text]
    if not cache.exists():
        views: dict[str, list[Tensor]] = {view: [] for view in VIEWS}
        for place in rows:
            for view in VIEWS:
                picture = read_image(getattr(place, view))
                field = street_field(picture.shape[1], picture.shape[0])
                prepared = (
                    model.prepare(view, picture, field)
                    if view == "street"
                    else as_tensor([picture])[0]
                )
                views[view].append(prepared)
        torch.save({view: torch.stack(pictures) for view, pictures in views.items()}, cache)
    return Planet(
        torch.load(cache, weights_only=True),
        [place.text for place in rows],
        np.array([[place.lat, place.lon] for place in rows]),
    )


def two_looks(count: int, generator: torch.Generator) -> tuple[GroundCrop, GroundCrop]:
    """The same ground as a satellite and as a drone see it: two crops of each source picture."""

    def sample(low: float, high: float, *shape: int) -> Tensor:
        return uniform(low, high, *shape, generator=generator)

    side = sample(0.48, 0.8, count)
    slack = ((1 - side) / 2)[:, None] + 0.05
    center = 0.5 + sample(-1, 1, count, 2) * slack
    base_yaw = sample(0, 360, count)
    satellite = GroundCrop(
        center, side, base_yaw + sample(-4, 4, count), sample(-0.02, 0.02, count, 4, 2)
    )
    lost_heading = torch.rand(count, generator=generator) < 0.15
    turn = torch.where(lost_heading, sample(-180, 180, count), sample(-24, 24, count))
    tilt = sample(-0.07, 0.07, count, 4, 2)
    # A camera tilted forwards: the far (top) edge spans more ground than the near one.
    oblique = (torch.rand(count, generator=generator) < 0.3) * sample(0.05, 0.45, count)
    tilt[:, 0, 0] -= oblique
    tilt[:, 1, 0] += oblique
    tilt[:, :2, 1] -= oblique[:, None] * 0.6
    drone = GroundCrop(
        center + sample(-0.13, 0.13, count, 2) * side[:, None],
        side * torch.exp(sample(-0.28, 0.22, count)),
        base_yaw + turn,
        tilt,
    )
    return drone, satellite


def near_looks(count: int, turn_deg: float, generator: torch.Generator) -> GroundCrop:
    """Slight changes of a picture that already is one view of its place."""
    return GroundCrop(
        0.5 + uniform(-0.05, 0.05, count, 2, generator=generator),
        uniform(0.8, 1.05, count, generator=generator),
        uniform(-turn_deg, turn_deg, count, generator=generator),
        uniform(-0.03, 0.03, count, 4, 2, generator=generator),
    )


def random_street(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Panoramas, half of them of unknown heading, a sixth cut to a limited field of view."""
    count, _, _, width = pictures.shape
    shift = torch.randint(0, width, (count,), generator=generator)
    shift[torch.rand(count, generator=generator) < 0.5] = 0
    columns = (torch.arange(width)[None, :] + shift[:, None]) % width
    turned = torch.gather(pictures, 3, columns[:, None, None, :].expand_as(pictures)).float() / 255
    seen = random_sensor(turned, generator, strength=0.7)
    limited = torch.rand(count, generator=generator) < 0.17
    field = uniform(60, 120, count, generator=generator) / 360 * width / 2
    outside = (torch.arange(width)[None, :] - width / 2 + 0.5).abs() > field[:, None]
    blank = (limited[:, None] & outside)[:, None, None, :]
    return torch.where(blank, seen.new_tensor(0.5), seen)


class Batches:
    """Draws batches; everything it holds stays in memory as uint8."""

    def __init__(self, planet: Planet, naip: Ground | None, ucm: Ground | None, size: int) -> None:
        self.planet, self.naip, self.ucm, self.size = planet, naip, ucm, size

    def draw(self, step: int, progress: float) -> dict:
        """The batch of a step, at a share `progress` of the run; each step has its own draws."""
        generator = torch.Generator().manual_seed(1_000_003 + step)
        torch.manual_seed(step)
        parts = [self._planet(generator, progress)]
        if self.naip is not None:
            parts.append(self._ground(self.naip, BATCH["naip"], generator))
        if self.ucm is not None:
            parts.append(self._ground(self.ucm, BATCH["ucm"], generator))
        return join(parts)

    def _planet(self, generator: torch.Generator, progress: float) -> dict:
        alone = self.naip is None and self.ucm is None
        count = PLANET_ALONE_BATCH if alone else BATCH["planet"]
        everywhere = torch.randperm(len(self.planet.texts), generator=generator)
        start = int(everywhere[0])
        # In the end half of the batch are neighbours of one another (one town), the hard
        # negatives; from the start they would keep the loss where it begins. Every batch has
        # the same shape, or the convolutions would be compiled anew each step.
        ramp = (progress - NEIGHBOURS_FROM) / (NEIGHBOURS_FULL - NEIGHBOURS_FROM)
        neighbours = round(min(1.0, max(0.0, ramp)) * count / 2)
        near = (torch.arange(neighbours) + start) % len(self.planet.texts)
        scattered = everywhere[~torch.isin(everywhere, near)][: count - len(near)]
        rows = torch.cat([scattered, near])
        drone = crop_ground(
            self.planet.views["drone"][rows], near_looks(len(rows), 20, generator), self.size
        )
        satellite = crop_ground(
            self.planet.views["satellite"][rows], near_looks(len(rows), 4, generator), self.size
        )
        return {
            "drone": random_sensor(drone, generator),
            "satellite": random_sensor(satellite, generator),
            "street": random_street(self.planet.views["street"][rows], generator),
            "text": [self.planet.texts[row] for row in rows],
            "same_ground": near_mask(self.planet.lat_lon[rows.numpy()]),
            "groups": -1 - rows.numpy(),
        }

    def _ground(self, ground: Ground, count: int, generator: torch.Generator) -> dict:
        rows = torch.randperm(len(ground.pictures), generator=generator)[:count]
        years = torch.stack(
            [
                torch.randperm(ground.pictures.shape[1], generator=generator).repeat(2)[:2]
                for _ in rows
            ]
        )
        drone, satellite = two_looks(len(rows), generator)
        seen = crop_ground(ground.pictures[rows, years[:, 0]], drone, self.size)
        mapped = crop_ground(ground.pictures[rows, years[:, 1]], satellite, self.size)
        texts = [
            captions[int(torch.randint(len(captions), (1,), generator=generator))]
            if (captions := ground.texts[row])
            else None
            for row in rows.tolist()
        ]
        return {
            "drone": random_sensor(seen, generator),
            "satellite": random_sensor(mapped, generator),
            "street": None,
            "text": texts,
            "same_ground": torch.zeros(len(rows), len(rows), dtype=torch.bool),
            "groups": ground.groups[rows.numpy()],
        }


def near_mask(lat_lon: np.ndarray) -> Tensor:
    """(B, B), true where two different places lie nearer than NEAR_M (flat earth is enough)."""
    north = lat_lon[:, 0] * 111_200
    east = lat_lon[:, 1] * 111_200 * np.cos(np.deg2rad(lat_lon[:, 0]))
    distance = np.hypot(north[:, None] - north[None], east[:, None] - east[None])
    return torch.from_numpy((distance < NEAR_M) & ~np.eye(len(lat_lon), dtype=bool))


def join(parts: list[dict]) -> dict:
    """One batch from parts: pictures per view with the rows they belong to."""
    sizes = [len(part["text"]) for part in parts]
    starts = np.cumsum([0, *sizes])
    batch: dict = {"count": int(starts[-1]), "pictures": {}, "rows": {}}
    for view in VIEWS:
        held = [(part[view], start) for part, start in zip(parts, starts, strict=False)]
        held = [(pictures, start) for pictures, start in held if pictures is not None]
        batch["pictures"][view] = torch.cat([pictures for pictures, _ in held])
        batch["rows"][view] = torch.cat(
            [torch.arange(len(pictures)) + int(start) for pictures, start in held]
        )
    texts = [text for part in parts for text in part["text"]]
    batch["rows"]["text"] = torch.tensor([row for row, text in enumerate(texts) if text])
    batch["texts"] = [text for text in texts if text]
    batch["same_ground"] = torch.block_diag(*[part["same_ground"] for part in parts])
    # Captions repeat within a scene of UCM: a text is not pushed from pictures of its scene.
    scenes = np.concatenate(
        [
            np.where(part["groups"] < 0, part["groups"], part["groups"] + 10**6 * number)
            for number, part in enumerate(parts)
        ]
    )
    same = torch.from_numpy(scenes[:, None] == scenes[None])
    batch["same_text"] = (same | batch["same_ground"]) & ~torch.eye(len(same), dtype=torch.bool)
    return batch


def embed_batch(model: GeoBridge, batch: dict) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Embeddings (B, D) per modality, zero rows where absent, and who is present (B,)."""
    embeddings, present = {}, {}
    for modality in (*VIEWS, "text"):
        rows = batch["rows"][modality]
        with torch.autocast("cpu", torch.bfloat16):
            if modality == "text":
                found = model.encode_texts(batch["texts"])
            else:
                pictures = (batch["pictures"][modality] * 255).round().byte()
                found = model.encode_images(modality, pictures)
        full = torch.zeros(batch["count"], found.shape[1])
        embeddings[modality] = full.index_copy(0, rows, found.float())
        present[modality] = torch.zeros(batch["count"], dtype=torch.bool).index_fill(0, rows, True)
    return embeddings, present


def step_loss(model: GeoBridge, batch: dict) -> tuple[Tensor, dict[str, float]]:
    """L_img + L_text of the paper over the places that have each pair."""
    embeddings, present = embed_batch(model, batch)
    config = ObjectiveConfig()
    loss, terms = anchor_objective(
        embeddings,
        present,
        config.clamped_scale(model.logit_scale),
        config,
        FalseNegatives(batch["same_ground"], batch["same_text"]),
    )
    return loss, {name: float(value) for name, value in terms.items()}


class Standardizer:
    """Batch normalisation of what each last layer receives, folded into the weights in the end.

    Drawn weights give nearly the same row for every picture (cosine 0.98), and a contrastive loss
    answers by making all rows one: it stays at log B exactly. Rows of standardised features with
    no constant added cannot be one. Statistics are each view's own.
    """

    MOMENTUM = 0.05

    def __init__(self, model: GeoBridge) -> None:
        self.mean: dict[str, Tensor] = {}
        self.variance: dict[str, Tensor] = {}
        for name, layer in last_layers(model).items():
            self.mean[name] = torch.zeros(layer.in_features)
            self.variance[name] = torch.ones(layer.in_features)
            if layer.bias is not None:
                layer.bias.requires_grad_(False).zero_()
            layer.register_forward_pre_hook(
                lambda layer, inputs, name=name: self._standardize(name, inputs[0], layer.training)
            )

    def _standardize(self, name: str, rows: Tensor, training: bool) -> Tensor:
        rows = rows.float()
        mean, variance = self.mean[name], self.variance[name]
        if training:
            variance, mean = torch.var_mean(rows, dim=0)
            self.mean[name].lerp_(mean.detach(), self.MOMENTUM)
            self.variance[name].lerp_(variance.detach(), self.MOMENTUM)
        return (rows - mean) / (variance + 1e-5).sqrt()

    @torch.no_grad()
    def folded(self, model: GeoBridge) -> GeoBridge:
        """A copy of the model that needs no standardising."""
        model = copy.deepcopy(model)
        for name, layer in last_layers(model).items():
            layer._forward_pre_hooks.clear()
            deviation = (self.variance[name] + 1e-5).sqrt()
            if layer.bias is not None:
                layer.weight /= deviation
                layer.bias.copy_(-layer.weight @ self.mean[name])
            else:
                # The text's last layer adds no constant, but the normalisation before it does.
                before = model.text.trunk.text_model.final_layer_norm
                before.weight /= deviation
                before.bias.sub_(self.mean[name]).div_(deviation)
        return model


def last_layers(model: GeoBridge) -> dict[str, torch.nn.Linear]:
    """The layer that makes the embedding, by modality."""
    heads = {view: model.heads[view].projection for view in VIEWS}
    return {**heads, "text": model.text.trunk.text_projection}


@torch.inference_mode()
def validate(model: GeoBridge, planet: Planet) -> dict[str, float]:
    """R@1 of the nine directions on places of towns that training never saw."""
    model.eval()
    rows = {
        view: np.concatenate(
            [model.embed_prepared(view, part) for part in native(planet, view, model).split(64)]
        )
        for view in VIEWS
    }
    rows["text"] = model.embed("text", planet.texts)
    model.train()
    found = {name: Held(part, np.arange(len(part))) for name, part in rows.items()}
    return {way.short: retrieve(found, way).recall(1) for way in NINE_DIRECTIONS}


def native(planet: Planet, view: str, model: GeoBridge) -> Tensor:
    """Pictures of a view at the size the model takes."""
    shape = (model.config.preprocess[view].height, model.config.preprocess[view].width)
    return torch.nn.functional.interpolate(
        planet.views[view], size=shape, mode="bicubic", antialias=True
    )


def learning_rate(progress: float, step: int) -> float:
    """Linear warm-up, then a cosine to zero over the share of the time budget used."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return PEAK_LEARNING_RATE * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train(
    model: GeoBridge,
    batches: Batches,
    held_out: Planet,
    run: Path,
    minutes: float,
    init: Path | None,
) -> None:
    """Fit until the time is used up; RUN/state.pt is replaced every SAVE_EVERY_S seconds.

    A run that begins takes the weights of the run `init`, where there is one.
    """
    standardizer = Standardizer(model)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0}],
        betas=(0.9, 0.98),
    )
    if (run / "state.pt").exists() or init is None:
        step, used_s = restore(run, model, standardizer, optimizer)
    else:
        restore(init, model, standardizer, None)
        step, used_s = 0, 0.0
    budget_s, last_save, started = minutes * 60, time.monotonic(), time.monotonic()
    model.train()
    while used_s < budget_s:
        begin = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(used_s / budget_s, step)
        batch = batches.draw(step, used_s / budget_s)
        drawn = time.monotonic()
        loss, terms = step_loss(model, batch)
        if not torch.isfinite(loss):
            raise SystemExit(
                f"step {step}: the loss is {loss.item()}; state.pt is the last good one"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        used_s += time.monotonic() - begin
        if step % 10 == 0:
            words = " ".join(f"{name} {value:.2f}" for name, value in terms.items())
            waited = (drawn - begin) / (time.monotonic() - begin)
            print(
                f"step {step} {used_s / 60:.1f} min loss {loss.item():.3f} {words} "
                f"scale {model.logit_scale.exp().item():.1f} drawing {waited:.0%}",
                flush=True,
            )
        if time.monotonic() - last_save > SAVE_EVERY_S or used_s >= budget_s:
            last_save = time.monotonic()
            save_state(run, model, standardizer, optimizer, step, used_s)
            recall = " ".join(f"{k} {v:.3f}" for k, v in validate(model, held_out).items())
            print(f"held-out towns, R@1: {recall}", flush=True)
    print(f"{step} steps, {(time.monotonic() - started) / 60:.1f} minutes")


def save_state(
    run: Path,
    model: GeoBridge,
    standardizer: Standardizer,
    optimizer: torch.optim.Optimizer,
    step: int,
    used_s: float,
) -> None:
    """Write RUN/state.pt in one rename, and the checkpoint beside it."""
    state = {
        "model": model.state_dict(),
        "mean": standardizer.mean,
        "variance": standardizer.variance,
        "optimizer": optimizer.state_dict(),
        "step": step,
        "used_s": used_s,
    }
    temporary = run / "state.pt.part"
    torch.save(state, temporary)
    temporary.replace(run / "state.pt")
    standardizer.folded(model).save(run / "checkpoint")


def restore(
    run: Path,
    model: GeoBridge,
    standardizer: Standardizer,
    optimizer: torch.optim.Optimizer | None,
) -> tuple[int, float]:
    """Load what a run has reached; its step and seconds used, zeros where nothing is there."""
    if not (run / "state.pt").exists():
        return 0, 0.0
    state = torch.load(run / "state.pt", weights_only=True)
    model.load_state_dict(state["model"])
    standardizer.mean.update(state["mean"])
    standardizer.variance.update(state["variance"])
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer"])
    print(f"continuing after step {state['step']} of {run}")
    return state["step"], state["used_s"]


def tokenizer_of(run: Path, data: Path) -> Tokenizer:
    """A vocabulary for the planet's texts, and for captions of real pictures where there are any.

    Words are no pictures: also what trains on the planet alone may go on with real captions.
    """
    texts = [place.text for place in iter_places(run / "planet") if place.text]
    if (data / "ucm_captions").is_dir():
        texts += [words for captions in load_ucm(data / "ucm_captions").texts for words in captions]
    return train_tokenizer(texts, 4096)


def main() -> None:
    """Read the options, build what is missing, train, and say where the checkpoint is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--planet-alone", action="store_true", help="read no real picture")
    parser.add_argument("--init", type=Path, help="run to take the first weights from")
    parser.add_argument("--run", type=Path, default=Path("runs/mini"))
    parser.add_argument("--minutes", type=float, default=45, help="of training, planet excluded")
    parser.add_argument("--towns", type=int, default=14, help="towns of each region")
    parser.add_argument("--places", type=int, default=48, help="places of each town")
    arguments = parser.parse_args()
    if not arguments.planet_alone and not arguments.data.is_dir():
        parser.error(f"{arguments.data} is no folder: say where the data is, or --planet-alone")
    if arguments.init and not (arguments.init / "state.pt").is_file():
        parser.error(f"{arguments.init} holds no state.pt: name the folder of a run")
    run: Path = arguments.run
    run.mkdir(parents=True, exist_ok=True)
    build_planet(run / "planet", arguments.towns, arguments.places, seed=1)
    build_planet(run / "planet-held-out", 1, 40, seed=2)
    naip = None if arguments.planet_alone else load_naip(arguments.data / "naip_years")
    ucm = None if arguments.planet_alone else load_ucm(arguments.data / "ucm_captions")
    if arguments.init:
        model = GeoBridge.load(arguments.init / "checkpoint")
    else:
        model = GeoBridge.from_preset("mini", seed=0, tokenizer=tokenizer_of(run, arguments.data))
    planet, held_out = (load_planet(run / name, model) for name in ("planet", "planet-held-out"))
    size = model.config.preprocess["drone"].height
    batches = Batches(planet, naip, ucm, size)
    train(model, batches, held_out, run, arguments.minutes, arguments.init)
    print(f"checkpoint: {run / 'checkpoint'}")


if __name__ == "__main__":
    main()
