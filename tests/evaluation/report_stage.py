"""A small evaluation whose numbers are known: six queries of one direction, and their folder."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from geobridge.evaluation.run import Evaluation, query_table
from geobridge.evaluation.scores import Score, Value

RANKS = (1.0, 1.0, 2.0, 11.0, 40.0, math.nan)
ERRORS_M = (0.0, 30.0, 120.0, 900.0, 15_000.0, math.nan)
REGIONS = ("north", "north", "south", "south", "south", None)


def value(middle, low=math.nan, high=math.nan):
    return Value(middle, low, high)


def make_score(task="D2S", **changes):
    recall_1 = np.array([rank == 1 for rank in RANKS], np.float64)
    score = Score(
        task=task,
        direction=task[:3],
        queries=6,
        without_positive=1,
        gallery=50,
        chance={"R@1": 0.02, "R@5": 0.1},
        values={
            "mean rank": value(11.0, 1.5, 25.25),
            "R@1": value(2 / 6, 0.0, 0.75),
            "R@5": value(0.5, 1 / 6, 5 / 6),
            "AP (trapezoid)": value(0.4),
            "median error": value(120.0, 0.0, 15_000.0),
        },
        per_query={"rank": np.array(RANKS), "error_m": np.array(ERRORS_M), "R@1": recall_1},
        definitions={"R@1": "Share of queries | whose first <reference> is right.", "R@5": "Of 5."},
        headline=("R@1", "R@5", "AP (trapezoid)"),
        remarks=("A remark of the task.",),
    )
    return replace(score, **changes)


def make_evaluation(*scores, **changes):
    evaluation = Evaluation(
        model="mini_2 & co",
        fingerprint="c0ffee",
        benchmark="somewhere",
        title="Somewhere",
        source="the code of somebody",
        options={"distractors": "keep"},
        versions={"geobridge": "1"},
        scores=scores or (make_score(),),
        remarks=("3 pictures are missing.",),
    )
    return replace(evaluation, **changes)


def query_rows(score, **changes):
    count = score.queries
    return {
        "query": [f"q{row}" for row in range(count)],
        "query_file": [None] * count,
        "region": list(REGIONS),
        "query_lat": [48.0 + row / 1000 for row in range(count)],
        "query_lon": [11.0] * count,
        "positive": [*(f"r{row}" for row in range(count - 1)), None],
        "positive_file": [None] * count,
        "top1": [f"r{row}" if rank == 1 else "r49" for row, rank in enumerate(RANKS)],
        "top1_file": [None] * count,
        "similarity1": np.linspace(0.9, 0.4, count).astype(np.float32),
        **score.per_query,
        **changes,
    }


def write_folder(folder, evaluation, **changes):
    """What `run.evaluate` leaves behind but for the embeddings."""
    folder.mkdir(parents=True, exist_ok=True)
    for score in evaluation.scores:
        path = query_table(folder, score.task)
        path.parent.mkdir(exist_ok=True)
        pd.DataFrame(query_rows(score, **changes)).to_parquet(path, index=False)
    plain = asdict(replace(evaluation, scores=()))
    plain["scores"] = [score.to_json() for score in evaluation.scores]
    (folder / "evaluation.json").write_text(json.dumps(plain))
    return folder
