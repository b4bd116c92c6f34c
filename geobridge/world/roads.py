"""Streets of a town: a network drawn in a plain plan, then bent."""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from geobridge.world.regions import Region

RoadKind = Literal["main road", "street", "lane"]


@dataclass(frozen=True)
class Road:
    """One edge of the network between two nodes.

    Attributes:
        index: its place in the network's list.
        kind: main road, street or lane.
        points: (N, 2) float64, metres east and north of the town's centre, about 8 m apart.
        half_width_m: half the carriageway.
        paved: asphalt, otherwise earth.
        nodes: the two ends' node numbers.
    """

    index: int
    kind: RoadKind
    points: np.ndarray
    half_width_m: float
    paved: bool
    nodes: tuple[int, int]

    @property
    def length_m(self) -> float:
        """Length along the centre line."""
        return float(np.hypot(*np.diff(self.points, axis=0).T).sum())

    def at(self, station_m: float) -> tuple[float, float, float, float]:
        """Position and unit direction (x, y, dx, dy) `station_m` from the first end."""
        steps = np.diff(self.points, axis=0)
        lengths = np.hypot(steps[:, 0], steps[:, 1])
        ends = np.cumsum(lengths)
        i = min(int(np.searchsorted(ends, station_m)), len(lengths) - 1)
        share = (station_m - (ends[i] - lengths[i])) / max(lengths[i], 1e-9)
        x, y = self.points[i] + share * steps[i]
        dx, dy = steps[i] / max(lengths[i], 1e-9)
        return float(x), float(y), float(dx), float(dy)


@dataclass
class Network:
    """Nodes (x, y) with the roads that meet there."""

    nodes: list[tuple[float, float]]
    roads: list[Road]
    roundabouts: set[int] = field(default_factory=set)

    def meeting(self, node: int) -> list[Road]:
        """The roads that end at a node."""
        return [road for road in self.roads if node in road.nodes]


Plan = tuple[list[tuple[float, float]], list[tuple[int, int, RoadKind]]]


def _grid(region: Region, rng: np.random.Generator, extent: float, jitter: float) -> Plan:
    """Lines in two directions with uneven spacing; `jitter` moves each crossing by that share."""

    def lines() -> list[float]:
        block = float(rng.uniform(*region.block_m))
        at = [-extent + float(rng.uniform(0, block))]
        while at[-1] < extent:
            at.append(at[-1] + block * float(rng.uniform(0.75, 1.3)))
        return at

    columns, rows = lines(), lines()
    mains = {("c", int(rng.integers(len(columns) // 3, 2 * len(columns) // 3 + 1)))}
    mains.add(("r", int(rng.integers(len(rows) // 3, 2 * len(rows) // 3 + 1))))
    nodes: list[tuple[float, float]] = []
    number: dict[tuple[int, int], int] = {}
    for i, x in enumerate(columns):
        for j, y in enumerate(rows):
            number[i, j] = len(nodes)
            move = rng.uniform(-1, 1, 2) * jitter * min(region.block_m)
            nodes.append((x + float(move[0]), y + float(move[1])))
    edges: list[tuple[int, int, RoadKind]] = []
    for i in range(len(columns)):
        for j in range(len(rows)):
            for di, dj, line in ((1, 0, ("r", j)), (0, 1, ("c", i))):
                if (i + di, j + dj) not in number:
                    continue
                main = line in mains
                if main or rng.random() > region.dropped_streets:
                    edges.append(
                        (number[i, j], number[i + di, j + dj], "main road" if main else "street")
                    )
    return nodes, edges


def _radial(region: Region, rng: np.random.Generator, extent: float) -> Plan:
    """Rings around a centre and spokes that multiply outwards."""
    nodes: list[tuple[float, float]] = [(0.0, 0.0)]
    edges: list[tuple[int, int, RoadKind]] = []
    spokes = int(rng.integers(5, 8))
    block = float(rng.uniform(*region.block_m))
    inner = [0] * spokes
    turn, radius = float(rng.uniform(0, 2 * math.pi)), block * 0.7
    ring = 0
    while radius < extent * 1.15:
        count = spokes if ring < 2 else 2 * spokes if ring < 5 else 4 * spokes
        ratio = count // len(inner)
        current = []
        for k in range(count):
            angle = turn + 2 * math.pi * k / count + float(rng.uniform(-0.06, 0.06))
            r = radius * float(rng.uniform(0.94, 1.06))
            current.append(len(nodes))
            nodes.append((r * math.sin(angle), r * math.cos(angle)))
        for k in range(count):
            if rng.random() > region.dropped_streets:
                kind: RoadKind = "main road" if ring == 2 else "street"
                edges.append((current[k], current[(k + 1) % count], kind))
            if k % ratio == 0:
                main = k % (count // spokes) == 0 and (k // (count // spokes)) % 2 == 0
                edges.append((inner[k // ratio], current[k], "main road" if main else "street"))
        inner, ring, radius = current, ring + 1, radius + block * float(rng.uniform(0.85, 1.2))
    return nodes, edges


def _ribbon(region: Region, rng: np.random.Generator, extent: float) -> Plan:
    """One road through, lanes leaving it on both sides, some of which branch again."""
    nodes: list[tuple[float, float]] = []
    edges: list[tuple[int, int, RoadKind]] = []
    x, previous = -extent * 1.1, -1
    y = float(rng.uniform(-60, 60))
    while x < extent * 1.1:
        nodes.append((x, y))
        here = len(nodes) - 1
        if previous >= 0:
            edges.append((previous, here, "main road"))
        for side in (-1, 1):
            if rng.random() < 0.62:
                end, lateral = here, 0.0
                for _ in range(int(rng.integers(1, 4))):
                    lateral += float(rng.uniform(85, 150))
                    nodes.append((x + float(rng.uniform(-30, 30)), y + side * lateral))
                    edges.append((end, len(nodes) - 1, "street"))
                    end = len(nodes) - 1
                    if rng.random() < 0.45:
                        reach = float(rng.choice([-1, 1])) * min(region.block_m) * 0.62
                        nodes.append((x + reach, y + side * lateral + float(rng.uniform(-25, 25))))
                        edges.append((end, len(nodes) - 1, "lane"))
        previous = here
        x += float(rng.uniform(*region.block_m))
        y += float(rng.uniform(-22, 22))
    return nodes, edges


def street_network(region: Region, rng: np.random.Generator, half_size_m: float) -> Network:
    """The streets of one town of `region`, reaching a little beyond its square."""
    extent = half_size_m * 1.25
    if region.pattern == "radial":
        nodes, edges = _radial(region, rng, extent)
    elif region.pattern == "ribbon":
        nodes, edges = _ribbon(region, rng, extent)
    else:
        jitter = 0.2 if region.pattern == "organic" else 0.02
        nodes, edges = _grid(region, rng, extent, jitter)

    turn = float(rng.uniform(-math.pi / 4, math.pi / 4))
    if rng.random() < 0.3 and region.pattern == "grid":
        turn = float(rng.uniform(-0.06, 0.06))
    waves = [
        (rng.uniform(-1, 1, 2) * 2 * math.pi / rng.uniform(230, 520), rng.uniform(0, 6.28, 2))
        for _ in range(4)
    ]
    # Bends are limited to half of what would fold the plan over itself.
    bend = region.warp_m / 2

    def bent(points: np.ndarray) -> np.ndarray:
        moved = points.copy()
        for wave, phase in waves:
            at = points @ wave
            moved[:, 0] += bend * np.sin(at + phase[0])
            moved[:, 1] += bend * np.sin(at + phase[1])
        cosine, sine = math.cos(turn), math.sin(turn)
        turned: np.ndarray = moved @ np.array([[cosine, -sine], [sine, cosine]])
        return turned

    roads: list[Road] = []
    for a, b, kind in edges:
        start, end = np.array(nodes[a]), np.array(nodes[b])
        count = max(2, int(np.hypot(*(end - start)) / 8) + 1)
        points = bent(start + np.linspace(0, 1, count)[:, None] * (end - start))
        if np.abs(points).min(axis=0).max() > half_size_m * 1.1:
            continue
        width = region.main_width_m if kind == "main road" else region.street_width_m
        width *= float(rng.uniform(0.9, 1.15)) * (0.75 if kind == "lane" else 1.0)
        paved = kind == "main road" or rng.random() < region.paved_streets
        roads.append(Road(len(roads), kind, points, width / 2, paved, (a, b)))
    placed = bent(np.array(nodes, dtype=np.float64))
    network = Network([(float(x), float(y)) for x, y in placed], roads)
    degree: dict[int, list[Road]] = {}
    for road in roads:
        for node in road.nodes:
            degree.setdefault(node, []).append(road)
    for node, meeting in degree.items():
        main = any(road.kind == "main road" for road in meeting)
        if len(meeting) >= 3 and rng.random() < region.roundabouts * (0.8 if main else 0.15):
            network.roundabouts.add(node)
    return network
