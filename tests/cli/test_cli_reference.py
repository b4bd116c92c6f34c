"""docs/cli.md says what the commands say."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "cli_reference.py"


def generate(*arguments, **environment):
    # A process of its own: typer fixes width and colour when it is first imported.
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip


def test_the_page_is_what_help_prints_today():
    result = generate("--check", COLUMNS="40", FORCE_COLOR="1")

    assert result.returncode == 0, result.stderr


def test_every_verb_has_its_section():
    headings = [
        line.removeprefix("## ")
        for line in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    ]

    # Written by hand, so that a generator that misses the verbs below `world` is found out.
    for words in ("", " index", " locate", " info", " import-release", " world", " world map"):
        assert f"geobridge{words}" in headings
