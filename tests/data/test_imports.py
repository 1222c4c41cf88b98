"""Reading data needs no deep-learning library until a format asks for one."""

from __future__ import annotations

import subprocess
import sys


def test_the_room_opens_without_heavy_imports():
    heavy = ("torch", "transformers", "datasets", "pyarrow", "sklearn")
    code = f"import sys, musclelora.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
