import sys
from pathlib import Path

import pytest

# Tests are imported by path, so that their helpers have to be findable.
sys.path.insert(0, str(Path(__file__).parent))

from world_stage import Stage

from geobridge.world import World


@pytest.fixture(scope="session")
def town():
    return World(0).town("albion", 0)


@pytest.fixture
def stage():
    return Stage()
