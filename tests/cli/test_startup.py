"""The command line answers at once: nothing heavy is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "datasets", "sklearn", "scipy", "pandas", "matplotlib", "gradio")
COMMANDS = (
    "train",
    "tune",
    "evaluate",
    "predict",
    "play",
    "export",
    "demo",
    "info",
    "benchmark",
    "audit",
    "explain",
    "report",
)


def modules_after(code: str) -> set[str]:
    ending = "\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HELP = """
from musclelora.cli.main import main
try:
    main({arguments})
except SystemExit as ended:
    assert ended.code == 0
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["-h"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    modules = modules_after(HELP.format(arguments=arguments))
    assert not modules & {*HEAVY, "numpy"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_does_not_import_torch(command: str) -> None:
    assert not modules_after(HELP.format(arguments=[command, "--help"])) & set(HEAVY)


def test_the_help_of_a_grid_s_run_does_not_import_torch() -> None:
    assert not modules_after(HELP.format(arguments=["benchmark", "run", "--help"])) & set(HEAVY)


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not modules_after("import musclelora; dir(musclelora)") & {*HEAVY, "numpy"}


def test_a_table_is_read_without_torch() -> None:
    code = (
        "import musclelora\ntry: musclelora.load_table('/no/such/file.csv')\n"
        "except musclelora.MuScleLoraError: pass"
    )
    assert not modules_after(code) & {"torch", "transformers"}
