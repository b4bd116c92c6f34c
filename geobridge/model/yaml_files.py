"""Settings in YAML files, read so that a slip of the pen is told and not guessed at.

Needs `pyyaml`, which comes with the extras that have such files: modules that import this one say
which extra is missing.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any, cast

import yaml

from geobridge.errors import GeoBridgeError


def read_yaml(path: Path, what: str, error: type[GeoBridgeError]) -> dict[str, Any]:
    """The table of keys and values in a YAML file.

    Args:
        path: of the file, UTF-8.
        what: the file should hold, for messages ("training configuration").
        error: what is raised.

    Raises:
        GeoBridgeError: of the given class; the file is missing, no YAML, holds no table, or has
            a key twice.
    """
    try:
        # The loader derives from the safe one.
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506
    except FileNotFoundError:
        raise error(f"there is no file {path}: name the YAML file of the {what}.") from None
    except yaml.MarkedYAMLError as problem:
        line = f", line {problem.problem_mark.line + 1}" if problem.problem_mark else ""
        raise error(
            f"{path} cannot be read as YAML ({problem.problem}{line}): correct it."
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        reason = str(problem).splitlines()[0]
        raise error(f"{path} cannot be read as YAML ({reason}): correct it.") from None
    if not isinstance(data, dict):
        raise error(f"{path} is no {what}: write `key: value` lines.")
    return data


class _Loader(yaml.SafeLoader):
    """Refuses a key that comes twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [cast(str, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in set(keys):
            if keys.count(key) > 1 and key != "<<":
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} comes twice in one table",
                    problem_mark=node.start_mark,
                )
        return super().construct_mapping(node, deep)
