"""Imports go down only, and nothing reaches for another module's private names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From the ground up. A module may import from the layers before its own and from its own package.
LAYERS = (
    ("errors", "progress", "camera", "standard_face", "version", "files", "devices"),
    ("nets",),
    ("checkpoints", "portrait", "surface"),
    ("views",),
    ("capture_file", "capture"),
    ("inversion",),
    ("engine", "training"),
    ("console", "doctor", "cli_models", "cli", "__main__", "server"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# What may be imported sideways within these layers, where the packages would otherwise be strangers.
GROUND = {"errors", "progress", "camera", "standard_face", "version", "files", "devices"}
TOP_SIDEWAYS = {
    ("capture", "capture_file"),
    ("__main__", "cli"),
    ("cli", "cli_models"),
    ("cli", "console"),
    ("cli", "doctor"),
    ("cli", "server"),
    ("cli_models", "console"),
}


def modules() -> list[Path]:
    found = sorted((ROOT / "tpn_engine").rglob("*.py")) + sorted((ROOT / "server").rglob("*.py"))
    return [path for path in found if path != ROOT / "tpn_engine" / "__init__.py"]


def part_of(dotted: list[str]) -> str | None:
    """The part of the house a dotted module name belongs to; None outside the house."""
    if dotted[0] == "server":
        return "server"
    if dotted[0] == "tpn_engine" and len(dotted) > 1:
        return dotted[1]
    return None


def imports(path: Path) -> Iterator[tuple[int, list[str], str | None]]:
    """Line, dotted module and imported name (None for `import module`), relative imports made absolute."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split("."), None
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield node.lineno, base + (node.module.split(".") if node.module else []), alias.name


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    own = part_of(list(path.relative_to(ROOT).with_suffix("").parts))
    assert own in LEVEL, f"{path} belongs to no layer"
    for line, dotted, name in imports(path):
        if dotted == ["tpn_engine"] and name is not None:
            dotted = ["tpn_engine", name]
        other = part_of(dotted)
        if other is None or other == own:
            continue
        where = f"{path}:{line} imports {'.'.join(dotted)}"
        assert other in LEVEL, f"{where}, which belongs to no layer"
        sideways = own in GROUND or (own, other) in TOP_SIDEWAYS
        assert LEVEL[other] < LEVEL[own] or (LEVEL[other] == LEVEL[own] and sideways), where


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_stay_at_home(path: Path) -> None:
    for line, dotted, name in imports(path):
        if dotted[0] not in ("tpn_engine", "server"):
            continue
        for part in [*dotted, *([name] if name else [])]:
            assert not part.startswith("_") or part.startswith("__"), f"{path}:{line} imports {part}"
