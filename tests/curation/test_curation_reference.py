"""docs/curation-keys.md says what the settings say."""

import importlib.util
from pathlib import Path

from pydantic import Field

from geobridge.model.config import Settings

ROOT = Path(__file__).parents[2]


def script():
    path = ROOT / "scripts" / "curation_reference.py"
    spec = importlib.util.spec_from_file_location("curation_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_settings_are_today():
    page = (ROOT / "docs" / "curation-keys.md").read_text(encoding="utf-8")

    assert page == script().page(), "run `python scripts/curation_reference.py`"


def test_every_table_has_its_section():
    page = (ROOT / "docs" / "curation-keys.md").read_text(encoding="utf-8")
    headings = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]

    # Written by hand, so that a generator that misses what lies deeper is found out.
    for words in (
        *("seeds", "seeds.catalogue", "seeds.facts.PATTERN", "street", "crop", "clean.drone"),
        *("street.providers, kind mapillary", "satellite.tiles", "satellite.stac"),
        *("describe.endpoint", "describe.fit", "describe.price", "publish.splits"),
    ):
        assert words in headings


class Base(Settings):
    """What is shared.

    Attributes:
        sides_m: of the squares,
            in metres.
    """

    sides_m: tuple[float, ...] = Field(default=(80.0, 100.5), min_length=1)


class Whole(Base):
    """A table of its own.

    More about it.

    Attributes:
        name: what it | is called.
        share: of all.
    """

    name: str
    share: float | None = Field(default=None, gt=0, le=1)


def test_keys_are_told_with_their_bounds_defaults_and_meanings():
    assert script().section("whole", Whole) == (
        "## whole\n\nA table of its own.\n\nMore about it.\n\n"
        "| key | value | if left out | meaning |\n|---|---|---|---|\n"
        "| `sides_m` | list of numbers | `[80, 100.5]` | of the squares, in metres. |\n"
        "| `name` | text | has to be given | what it \\| is called. |\n"
        "| `share` | number, above 0, at most 1 | none | of all. |\n"
    )
