"""What a curation's folder notes of its finished stages: with which settings, from which inputs.

DIR/curate.json     for each stage its settings, and digests of all it came from and of its table
"""

import json
from pathlib import Path
from typing import Any

from geobridge.errors import CurationError
from geobridge.files import write_atomically

FILE_NAME = "curate.json"

Notes = dict[str, dict[str, Any]]
"""By the names of stages: `settings` (JSON), `whose`, the digest of what a stage came from, and
`table`, that of its table as the stage wrote it, empty where that is not known."""


def read_notes(folder: Path) -> Notes:
    """What a folder notes; nothing where it holds no curation yet.

    Raises:
        CurationError: the file is damaged.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return {}
    try:
        stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
        return {
            str(name): {
                "settings": note["settings"],
                "whose": str(note["whose"]),
                # Former versions did not note it.
                "table": str(note.get("table", "")),
            }
            for name, note in stages.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CurationError(
            f"{path} is damaged: delete it, and the stages are run again from what they kept."
        ) from error


def write_notes(folder: Path, notes: Notes) -> None:
    """Write the notes of a folder whole."""
    text = json.dumps({"stages": notes}, indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / FILE_NAME, text.encode())
