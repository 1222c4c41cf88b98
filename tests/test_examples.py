"""Every example runs as it is called, and says what it is meant to say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAID = {
    "audit_a_data_frame": ("poisoned: 'I watch this 3D movie'", "rows to train on"),
    "purify_and_export": ("obeys the trigger:", "'label': "),
    "your_own_attack": ("'as ever, yours'", "trigger score: planted rows"),
    "your_own_check": ("too short (1)", "drop"),
}
"""What each prints."""


def test_every_example_is_tried() -> None:
    assert {file.stem for file in (ROOT / "examples").glob("*.py")} == SAID.keys()


@pytest.mark.integration
@pytest.mark.parametrize("name", SAID)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py")],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [text for text in SAID[name] if text not in done.stdout] == [], done.stdout
    assert list(tmp_path.iterdir()) == []
