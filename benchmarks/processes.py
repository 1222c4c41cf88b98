"""What the benchmarks of whole commands share: a process that is watched to its end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def watched(
    command: Sequence[object], folder: Path, environment: Mapping[str, str] | None = None
) -> tuple[str, dict[str, float]]:
    """What a command prints, and what it costs.

    Args:
        command: the program and its arguments.
        folder: where it runs.
        environment: variables that it gets besides.

    Returns:
        Its standard output; ``seconds``, ``cpu_seconds`` (of the processor, which other work on the machine
        changes less) and ``peak_bytes`` of memory. Processes that it started and waited for count.

    Raises:
        SystemExit: it failed.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    out = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(f"{command[0]} … ended with {os.waitstatus_to_exitcode(status)}: {out[-500:]}")
    return out, {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }
