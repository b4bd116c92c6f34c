"""The house keeps its floors: imports point down, the face stays small and light."""

import ast
import subprocess
import sys
from pathlib import Path

import geobridge

PACKAGE = Path(geobridge.__file__).parent
# From the ground up; a room may import itself and those before it.
FLOORS = [
    "errors",
    "files",
    "groups",
    "progress",
    "views",
    "geo",
    "imagery",
    "places",
    "world",
    "model",
    "evaluation",
    "training",
    "gallery",
    "localization",
    "curation",
    "api",
    "service",
    "cli",
]


def imported_rooms(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports from the top, `from geobridge. ...`"
            names.add(node.module or "")
    return {name.split(".")[1] for name in names if name.startswith("geobridge.")}


def test_imports_point_down():
    upward = [
        f"{path.relative_to(PACKAGE)} imports {room}"
        for path in PACKAGE.rglob("*.py")
        if path.parent != PACKAGE or path.stem != "__init__"
        for room in imported_rooms(path)
        if FLOORS.index(room) > FLOORS.index(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    ]

    assert not upward


def test_every_public_name_is_there():
    assert geobridge.__all__ == [
        "Candidate",
        "Direction",
        "Estimate",
        "Gallery",
        "GeoBridge",
        "GeoBridgeError",
        "Modality",
        "Query",
        "View",
        "World",
        "__version__",
    ]
    for name in geobridge.__all__:
        assert getattr(geobridge, name) is not None


def test_importing_the_package_loads_nothing_heavy():
    heavy = "{'torch', 'numpy', 'transformers', 'lance', 'rasterio', 'pandas'}"
    code = f"import sys, geobridge; print(sorted({heavy} & set(sys.modules)))"

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert printed.stdout.decode().strip() == "[]"
