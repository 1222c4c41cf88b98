"""The command line as one process of several, of which the first waits before a checkpoint."""

from __future__ import annotations

import os
import runpy
import sys
import time
from pathlib import Path


def wait_at(checkpoint: str, folder: Path) -> None:
    """Before `checkpoint` is made, say so with a file `waits` and go on once there is a file `go`."""

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.mkdir" and str(arguments[0]).endswith(checkpoint) and not (folder / "go").exists():
            (folder / "waits").touch()
            while not (folder / "go").exists():
                time.sleep(0.01)

    sys.addaudithook(look)


if __name__ == "__main__":
    checkpoint, folder = sys.argv[1:3]
    del sys.argv[1:3]
    if os.environ["RANK"] == "0":
        wait_at(checkpoint, Path(folder))
    runpy.run_module("musclelora", run_name="__main__", alter_sys=True)
