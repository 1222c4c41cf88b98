"""The script that makes faults: it counts none where there are none, and goes on where it was stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "faults.py"


@pytest.mark.integration
def test_kills_of_what_is_replaced_lose_nothing_and_are_counted_once(tmp_path: Path) -> None:
    record = tmp_path / "faults.json"
    for kills in (1, 2):
        done = subprocess.run(
            [
                sys.executable,
                SCRIPT,
                f"--kills={kills}",
                "--only=poison,export",
                "--no-others",
                f"--json={record}",
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(record.read_text())
        assert [outcome["number"] for outcome in found["outcomes"]] == list(range(kills))
    assert {name: task["kills"] for name, task in found["tasks"].items()} == {"poison": 1, "export": 1}
    assert all(
        task[wrong] == 0 for task in found["tasks"].values() for wrong in ("lost", "changed", "unsaid")
    )
