"""How much a model loses when something changes: sweeps on the simulated planet.

Add a sweep as a function of a `Lab` in `sweeps.py` that returns a `Sweep`, and its name to
`SWEEPS`; embedding, figure, table and numbers follow.
"""

from geobridge.evaluation.robustness.suite import run_suite
from geobridge.evaluation.robustness.sweeps import SWEEPS

__all__ = ["SWEEPS", "run_suite"]
