"""The package as it is imported."""

from __future__ import annotations

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


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(musclelora, name) is not None for name in musclelora.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(musclelora, "nothing")


def test_rooms_import_only_from_rooms_above() -> None:
    order = [
        *("data", "attacks", "adapter", "alignment", "training", "evaluation"),
        *("defenses", "spectrum", "benchmark", "report", "cli"),
    ]
    for position, room in enumerate(order):
        for file in (ROOT / "src" / "musclelora" / room).glob("*.py"):
            for other in re.findall(r"from musclelora\.(\w+)", file.read_text()):
                if other in order:
                    assert order.index(other) <= position, f"{file.name} of {room} imports {other}"


def test_the_alignment_room_knows_nothing_of_hugging_face() -> None:
    for file in (ROOT / "src" / "musclelora" / "alignment").glob("*.py"):
        assert not re.search(
            r"^\s*(from|import) (transformers|peft|accelerate)", file.read_text(), re.MULTILINE
        )
