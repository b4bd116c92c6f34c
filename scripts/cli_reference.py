"""Write docs/cli.md from what the command line says of itself.

python scripts/cli_reference.py
python scripts/cli_reference.py --check
"""

import os
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
WIDTH = 96

# typer reads these when it is imported: the page must not depend on whose terminal made it.
for variable in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS"):
    os.environ.pop(variable, None)
os.environ["TERMINAL_WIDTH"] = str(WIDTH)
os.environ["NO_COLOR"] = "1"

INTRODUCTION = """\
# Command line

What `--help` prints, verb by verb. `python scripts/cli_reference.py` writes this page; a test
fails when it is stale, so change the command and not the page.

Answers go to standard output; progress, remarks and errors to standard error. Exit codes: 0 done,
1 `data doctor` found problems or `data rebuild` could not have all pictures, 2 bad input (one
sentence says what, where and what to do), 130 interrupted by Ctrl-C.
"""


def verbs(command: object, name: str) -> Iterator[str]:
    """The words of a command and of every command below it, such as `geobridge world map`."""
    yield name
    if hasattr(command, "list_commands"):
        for word in command.list_commands(None):
            yield from verbs(command.get_command(None, word), f"{name} {word}")


def help_of(words: list[str]) -> str:
    """What a command prints for `--help`, without the blanks at the ends of lines."""
    from typer.testing import CliRunner

    from geobridge.cli.app import app

    result = CliRunner().invoke(app, [*words, "--help"], prog_name="geobridge")
    if result.exit_code:
        raise SystemExit(f"geobridge {' '.join(words)} --help failed: {result.output}")
    lines = [line.rstrip() for line in result.output.strip("\n").splitlines()]
    # The usage is set one blank in from the boxes.
    return "\n".join(line.removeprefix(" ") for line in lines).strip("\n")


def page() -> str:
    """The whole page as Markdown."""
    import typer

    from geobridge.cli.app import app

    parts = [INTRODUCTION]
    for name in verbs(typer.main.get_command(app), "geobridge"):
        shown = help_of(name.split()[1:])
        parts.append(f"## {name}\n\n```text\n{shown}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    from reference_page import write_or_check

    write_or_check(PAGE, page, __doc__)
