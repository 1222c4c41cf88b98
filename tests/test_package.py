"""The package as it is imported."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import musclelora

ROOT = Path(__file__).parents[1]


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, musclelora; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_audit_does_not_import_torch() -> None:
    code = "import sys; from musclelora import Audit; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_function_is_longer_than_eighty_lines() -> None:
    long = [
        f"{file.relative_to(ROOT)}: {node.name}"
        for file in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 80
    ]
    assert long == []


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(musclelora, name) is not None for name in musclelora.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(musclelora, "nothing")


FLOORS = (
    (
        "errors",
        "figures",
        "files",
        "hashes",
        "interrupts",
        "launched",
        "limits",
        "printable",
        "progress",
        "state",
        "streams",
    ),
    ("data", "outputs"),
    ("cards",),
    ("attacks", "alignment", "adapter"),
    ("training", "evaluation"),
    ("generation",),
    ("audit",),
    ("purification",),
    ("spectrum", "tuning"),
    ("defenses",),
    ("benchmark", "playground", "report"),
    ("demo",),
    ("cli",),
    ("entry", "__main__"),
)
"""The rooms from the ground up; each imports from its own floor and those below."""


def imports() -> dict[str, set[str]]:
    """The modules of the package, and what each imports of it, wherever in the file that stands."""
    package = ROOT / "src" / "musclelora"
    found: dict[str, set[str]] = {}
    for file in package.rglob("*.py"):
        tree = ast.parse(file.read_text())
        typed = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        names = set()
        for node in ast.walk(tree):
            if id(node) in typed:
                continue
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "musclelora":
                names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "musclelora"}
        found[".".join(("musclelora", *file.relative_to(package).with_suffix("").parts))] = names
    return found


def room_of(module: str) -> str | None:
    """The room of a module; None: the package itself, which has but lazy names."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] not in ("__init__", "__version__") else None


def test_every_room_stands_on_a_floor() -> None:
    rooms = {room_of(module) for module in imports()} - {None}
    assert rooms == {room for floor in FLOORS for room in floor}


def test_no_room_imports_from_a_floor_above() -> None:
    height = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    upward = [
        f"{module} imports {name}"
        for module, names in imports().items()
        for name in names
        if (here := room_of(module)) and (there := room_of(name)) and height.get(there, -1) > height[here]
    ]
    assert upward == []


def test_no_rooms_import_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for module, names in imports().items():
        here = room_of(module)
        if here:
            edges.setdefault(here, set()).update(
                room
                for name in names
                if (room := room_of(name)) and room != here and room in edges | {room: 0}
            )
    order = graphlib.TopologicalSorter(edges)
    order.prepare()  # raises CycleError


def test_the_alignment_room_knows_nothing_of_hugging_face() -> None:
    for file in (ROOT / "src" / "musclelora" / "alignment").glob("*.py"):
        assert not re.search(
            r"^\s*(from|import) (transformers|peft|accelerate)", file.read_text(), re.MULTILINE
        )
