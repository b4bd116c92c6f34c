import functools
import sys
from pathlib import Path

import pytest

# Tests are imported by path, so that their helpers have to be findable.
sys.path.insert(0, str(Path(__file__).parent))

from training_stage import tiny_run, write_tiny_places, write_tiny_table


@pytest.fixture(scope="session")
def tiny_places(tmp_path_factory):
    """Folder of the stage's places; shared, so not to be changed (see `write_tiny_places`)."""
    return write_tiny_places(tmp_path_factory.mktemp("places"))


@pytest.fixture(scope="session")
def tiny_table(tmp_path_factory):
    """The stage's table of pictures; shared, so not to be changed (see `write_tiny_table`)."""
    return write_tiny_table(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="session")
def tiny_config(tiny_places):
    """A function from changes (`fit={"steps": 2}`) to the `TrainConfig` of a run on tiny places."""
    return functools.partial(tiny_run, tiny_places)
