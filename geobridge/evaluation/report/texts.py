"""Files of a report that are text."""

from pathlib import Path

from geobridge.errors import EvaluationError


def write_text(path: Path, text: str) -> None:
    """Write a file of a report, UTF-8 with the same line ends everywhere.

    Raises:
        EvaluationError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise EvaluationError(
            f"{path} cannot be written ({error.strerror or error}): free space or make the folder "
            f"writable, and write the report again."
        ) from error
