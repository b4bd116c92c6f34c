"""The pages keep their word: snippets compile, commands exist, links lead somewhere."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer

from geobridge.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
SHELLS = ("bash", "sh", "shell", "console")

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def snippets(*languages):
    """Every fenced block of these languages: page, number of its first line, content."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in _FENCE.finditer(text):
            if block[1] in languages:
                line = text.count("\n", 0, block.start()) + 2
                yield pytest.param(page, line, block[2], id=f"{page.name}:{line}")


def commands(block):
    """Commands of a shell block, as words. Where lines have prompts, the others are output."""
    lines = block.replace("\\\n", " ").splitlines()
    prompted = [line for line in lines if line.startswith("$ ")]
    for line in prompted or lines:
        words = shlex.split(line.removeprefix("$ "), comments=True)
        # `a && b` and `a | b` are two commands.
        start = 0
        for end, word in enumerate([*words, ";"]):
            if word in (";", "&&", "||", "|"):
                if words[start:end]:
                    yield words[start:end]
                start = end + 1


@cache
def root_command():
    return typer.main.get_command(app)


def problem_of(words):
    """What is wrong with a `geobridge` command, or None."""
    command, name = root_command(), "geobridge"
    rest = list(words[1:])
    while hasattr(command, "list_commands") and rest and not rest[0].startswith("-"):
        name, command = f"{name} {rest[0]}", command.get_command(None, rest.pop(0))
        if command is None:
            return f"there is no `{name}`"
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    unknown = [word for word in rest if word.startswith("--") and word.split("=")[0] not in known]
    return f"`{name}` has no {unknown[0]}" if unknown else None


def slug(heading):
    """The anchor of a heading, as the usual Markdown sites make it."""
    words = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return words.replace(" ", "-")


@pytest.mark.parametrize(("page", "line", "code"), list(snippets("python")))
def test_python_snippets_compile(page, line, code):
    compile("\n" * (line - 1) + code, str(page), "exec")


@pytest.mark.parametrize(("page", "line", "block"), list(snippets(*SHELLS)))
def test_commands_and_their_options_exist(page, line, block):
    for words in commands(block):
        if words[0] == "geobridge":
            assert problem_of(words) is None, f"{page.name}:{line}"
        if words[0].endswith("python") and words[1:] and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), f"{page.name}:{line}: there is no {words[1]}"
        if words[0] == "make":
            targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(words[1:]) <= set(targets), f"{page.name}:{line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_pages_resolve(page):
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            text = _FENCE.sub("", target.read_text(encoding="utf-8"))
            headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name} links to {link}"


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("geobridge index a.tif --view satellite --out g", None),
        ("geobridge locate --gallery g --no-panorama --street s.jpg", None),
        ("geobridge world map albion/0 --out=town.tif", None),
        ("geobridge --version", None),
        ("geobridge teach", "there is no `geobridge teach`"),
        ("geobridge world swim albion/0", "there is no `geobridge world swim`"),
        ("geobridge index a.tif --zoom 3", "`geobridge index` has no --zoom"),
        ("geobridge world map albion/0 --track t", "`geobridge world map` has no --track"),
    ],
)
def test_the_check_of_commands_tells_right_from_wrong(command, problem):
    assert problem_of(shlex.split(command)) == problem


def test_commands_are_found_in_a_block():
    block = "geobridge info g  # what it holds\nmake demo && geobridge index a.tif \\\n  --out g\n"

    assert list(commands(block)) == [
        ["geobridge", "info", "g"],
        ["make", "demo"],
        ["geobridge", "index", "a.tif", "--out", "g"],
    ]


def test_what_a_command_printed_is_no_command():
    block = "$ geobridge info g\ngeobridge: it isn't there\n"

    assert list(commands(block)) == [["geobridge", "info", "g"]]
