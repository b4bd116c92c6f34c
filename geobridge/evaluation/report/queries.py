"""The single queries of an evaluation, as reports read them."""

from pathlib import Path

import numpy as np
import pandas as pd

from geobridge.errors import EvaluationError
from geobridge.evaluation.run import query_table

_NUMBERS = ("query_lat", "query_lon", "query_x_m", "query_y_m", "rank", "error_m")
_WORDS = ("place", "query_file", "region", "positive", "positive_file")


def read_queries(folder: Path, task: str) -> pd.DataFrame:
    """What came of the queries of one task, a row each.

    Args:
        folder: that `run.evaluate` has written.
        task: its name.

    Returns:
        The columns of `run.write_queries`. `query_lat`, `query_lon`, `query_x_m`, `query_y_m`,
        `rank` and `error_m` are float64 with NaN, `place`, `query_file`, `region`, `positive` and
        `positive_file` words with None, where nothing is known, also where the file has no such
        column.

    Raises:
        EvaluationError: the file is missing, damaged, or names its queries not or twice.
    """
    path = query_table(folder, task)
    try:
        table = pd.read_parquet(path)
    except OSError as error:
        raise EvaluationError(
            f"{path} cannot be read ({error.strerror or error}): run `geobridge evaluate` again."
        ) from error
    except ValueError as error:  # what pyarrow raises for other bytes
        raise EvaluationError(
            f"{path} is no table of queries ({error}): run `geobridge evaluate` again."
        ) from error
    if "query" not in table or table["query"].duplicated().any():
        raise EvaluationError(
            f"{path} has no name for each query, or one twice: run `geobridge evaluate` again."
        )
    for name in _NUMBERS:
        held = table[name] if name in table else pd.Series(np.nan, table.index)
        table[name] = pd.to_numeric(held).astype(np.float64)
    for name in _WORDS:
        held = table[name] if name in table else pd.Series(None, table.index, object)
        table[name] = held.astype(object).where(held.notna(), None)
    return table


def with_positions(queries: pd.DataFrame) -> pd.DataFrame:
    """The queries with a latitude and longitude; where none has, those on a map in metres."""
    on_earth = queries[["query_lat", "query_lon"]].notna().all(axis=1)
    on_map = queries[["query_x_m", "query_y_m"]].notna().all(axis=1)
    return queries[on_earth if on_earth.any() else on_map]


def region_names(queries: pd.DataFrame) -> pd.Series:
    """The region of each query: `no region` where it has none, `all` where no query has one."""
    held = queries["region"].notna()
    return queries["region"].where(held, "no region" if held.any() else "all").astype(str)
