"""Write docs/curation-keys.md from the settings of the stages and what their docstrings say.

python scripts/curation_reference.py
python scripts/curation_reference.py --check
"""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from geobridge.curation.config import CurateConfig
from geobridge.model.config import Settings

PAGE = Path(__file__).parents[1] / "docs" / "curation-keys.md"

INTRODUCTION = """\
# Keys of a curation's configuration

Every key of the YAML file that `geobridge curate` reads, with what it is when it is left out.
`python scripts/curation_reference.py` writes this page out of the settings themselves; a test fails
when it is stale, so change the settings and not the page. [Curation](curation.md) tells what the
stages do.

Paths begin in the folder in which the command runs. Secrets are in the environment, never in the
file: `MAPILLARY_TOKEN`, `GOOGLE_MAPS_KEY`, and the variables that `key_variable` names.
"""

_WORDS = {
    "number": "number",
    "integer": "whole number",
    "boolean": "`true` or `false`",
    "string": "text",
    "date": "date, as 2024-05-01",
    "path": "path",
}

_ATTRIBUTE = re.compile(r"^(\w+): (.*)$")


def page() -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION]
    paths: dict[type[Settings], str] = {}
    for path, settings in walk("", CurateConfig):
        if settings in paths:
            parts.append(
                f"## {path}\n\nThe keys of [{paths[settings]}](#{anchor(paths[settings])}).\n"
            )
            continue
        paths[settings] = path
        parts.append(section(path, settings))
    return "\n".join(parts)


def walk(path: str, settings: type[Settings]) -> Iterator[tuple[str, type[Settings]]]:
    """Tables of the file and the settings in each, in the order of the keys."""
    yield path or "The file", settings
    for name, field in settings.model_fields.items():
        for inner, among in nested(field.annotation):
            below = f"{path}.{name}" if path else name
            if among == "dict":
                below += ".PATTERN"
            elif among == "tuple":
                below += f", kind {inner.model_fields['kind'].default}"
            yield from walk(below, inner)


def nested(annotation: Any, among: str = "") -> Iterator[tuple[type[Settings], str]]:
    """The settings in a key's value, and whether they are in a `dict` or a `tuple`."""
    if inspect.isclass(annotation) and issubclass(annotation, Settings):
        yield annotation, among
    origin = getattr(annotation, "__origin__", None)
    for part in get_args(annotation):
        yield from nested(part, origin.__name__ if origin in (dict, tuple) else among)


def section(path: str, settings: type[Settings]) -> str:
    """Heading, introduction and keys of a table."""
    schema = settings.model_json_schema()
    told = {name: words for base in reversed(settings.__mro__) for name, words in explained(base)}
    lines = ["| key | value | if left out | meaning |", "|---|---|---|---|"]
    for name, field in settings.model_fields.items():
        if name not in told:
            raise SystemExit(f"{settings.__name__} does not explain {name} in its docstring.")
        default = "has to be given"
        # A provider is told by its kind, though each kind has but one word for it.
        if not field.is_required() and "const" not in schema["properties"][name]:
            default = shown(field.get_default(call_default_factory=True))
        cells = (f"`{name}`", value(schema["properties"][name]), default, told[name])
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    doc = inspect.cleandoc(settings.__doc__ or "").partition("\nAttributes:")[0]
    return f"## {path}\n\n{doc.strip()}\n\n" + "\n".join(lines) + "\n"


def explained(settings: type) -> Iterator[tuple[str, str]]:
    """The attributes that a class explains itself."""
    doc = inspect.cleandoc(settings.__dict__.get("__doc__") or "")
    name, words = "", ""
    for line in doc.partition("\nAttributes:\n")[2].splitlines():
        match = _ATTRIBUTE.match(line.removeprefix("    ")) if line[4:5].strip() else None
        if match:
            if name:
                yield name, words
            name, words = match.groups()
        elif line.strip():
            words += f" {line.strip()}"
    if name:
        yield name, words


def value(schema: dict[str, Any]) -> str:
    """What a key takes, in words."""
    if "anyOf" in schema:
        parts = [value(part) for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(parts)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{word}`" for word in schema["enum"])
    if "$ref" in schema or "oneOf" in schema:
        return "table, see below"
    match schema.get("type"):
        case "array":
            if "prefixItems" in schema:
                return f"list of {len(schema['prefixItems'])} numbers"
            inner = value(schema["items"])
            return f"list of {inner}".replace("number", "numbers").replace("table", "tables")
        case "object":
            inner = value(schema["additionalProperties"])
            return f"table: a name, and {inner.partition(',')[0]} for each"
        case "string" if "format" in schema:
            return _WORDS[schema["format"]]
        case word:
            return _WORDS[str(word)] + bounds(schema)


def bounds(schema: dict[str, Any]) -> str:
    """What a number has to be between."""
    told = [
        f"{sign} {schema[name]:g}"
        for name, sign in (
            ("exclusiveMinimum", "above"),
            ("minimum", "at least"),
            ("maximum", "at most"),
        )
        if name in schema
    ]
    return f", {', '.join(told)}" if told else ""


def shown(default: Any) -> str:
    """A default as it would stand in the file."""
    if default is None:
        return "none"
    if isinstance(default, Settings):
        return "as below"
    if isinstance(default, tuple) and any(isinstance(part, Settings) for part in default):
        return ", ".join(f"`{{kind: {part.kind}}}`" for part in default)
    if isinstance(default, tuple | dict) and not default:
        return "none"
    text = json.dumps(list(default) if isinstance(default, tuple) else default)
    whole = re.sub(r"(\d)\.0\b", r"\1", text)
    return f"`{whole}`"


def anchor(heading: str) -> str:
    """The name of a heading in links, as GitHub makes it."""
    return re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    from reference_page import write_or_check

    write_or_check(PAGE, page, __doc__)
