"""Write a page that is made from the code, or say that it is stale."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path


def write_or_check(page: Path, make: Callable[[], str], doc: str | None) -> None:
    """Write what `make` gives into a page, or with `--check` exit with 1 if the page differs.

    Args:
        page: the file.
        make: gives the whole page.
        doc: of the script that was called; its first line is what `--help` says.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail if stale")
    check = parser.parse_args().check
    wanted = make()
    if not check:
        page.write_text(wanted, encoding="utf-8")
    elif not page.is_file() or page.read_text(encoding="utf-8") != wanted:
        sys.exit(f"docs/{page.name} is stale: run `python scripts/{Path(sys.argv[0]).name}`.")
