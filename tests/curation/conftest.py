import sys
from pathlib import Path

# Tests are imported by path, so that their helpers have to be findable.
sys.path.insert(0, str(Path(__file__).parent))
