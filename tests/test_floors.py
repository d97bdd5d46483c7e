"""The floors of the house: a package imports only from floors below its own."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "reprolens"
BELOW = {
    "config": set(),
    "voc": set(),
    "convert": {"voc"},
    "loading": {"voc"},
    "models": {"voc", "convert", "loading"},
    "training": {"voc", "convert", "loading", "models"},
    "evaluation": {"voc", "convert", "loading", "models"},
    "inference": set(),
    "export": {"voc", "convert", "loading", "models", "training", "evaluation", "inference"},
    "tracking": set(),
    "sweeps": {"tracking"},
    "comparison": {"voc", "evaluation", "tracking", "sweeps"},
    "commands": {"voc", "convert", "loading", "models", "evaluation"}
    | {"inference", "export", "tracking", "sweeps", "comparison"},
}
"""What each package may import, besides `config` and the modules that belong to no package."""


def imported(path: Path) -> set[str]:
    """Return the packages of reprolens that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("reprolens.")} & set(BELOW)


@pytest.mark.parametrize("package", BELOW)
def test_package_imports_only_from_floors_below(package: str) -> None:
    allowed = BELOW[package] | {package} | ({"config"} if package != "voc" else set())
    for path in sorted((SOURCE / package).rglob("*.py")):
        assert imported(path) <= allowed, path.name


def test_every_package_has_its_floor() -> None:
    assert {path.parent.name for path in SOURCE.glob("*/__init__.py")} == set(BELOW)


@pytest.mark.parametrize("package", ["tracking", "sweeps"])
def test_book_keeping_never_imports_torch(package: str) -> None:
    for path in sorted((SOURCE / package).rglob("*.py")):
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        modules = [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
        assert not any(module.startswith("torch") for module in modules), path.name
