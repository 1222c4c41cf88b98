"""What the benchmark scripts share: where a measurement was made, and going on with an interrupted one."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of a script's options, whose help is the script's docstring as it is."""
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=formatter)


def machine() -> dict[str, str]:
    """Where, when and how it was measured; the command is the one that runs."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["python", _script(), *sys.argv[1:]]),
    }


def earlier(path: Path | None, settings: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The rows under `key` of an interrupted measurement with the same settings."""
    if path is None or not path.exists():
        return []
    found = json.loads(path.read_text())
    if found["settings"] != settings:
        raise SystemExit(f"{path} holds a measurement with other settings; name another file")
    rows: list[dict[str, Any]] = found[key]
    return rows


def _script() -> str:
    script, root = Path(sys.argv[0]).resolve(), Path(__file__).resolve().parents[1]
    return str(script.relative_to(root)) if script.is_relative_to(root) else script.name
