"""Send signals to commands at many moments, and check how each one ends.

    python benchmarks/interrupts.py --folder /tmp/interrupts train predict

Every command runs on a tiny model in a process group of its own, and the whole group gets the signal, as from
a terminal. A command must end within ten seconds with its code (or have been done), with one line that begins
``musclelora: `` and is the last, and with no process left. A signal that comes before the command's first
instruction, while Python starts, cannot be answered and is counted apart.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "training"), str(ROOT / "tests" / "benchmark")]

from tiny_grids import GRID  # noqa: E402
from tiny_runs import make_rows, run, write_csv, write_model  # noqa: E402

LIMIT = 10.0
WAYS = {
    "SIGINT": (signal.SIGINT,),
    "SIGTERM": (signal.SIGTERM,),
    "twice": (signal.SIGINT, signal.SIGINT),
}


def prepared(folder: Path) -> dict[str, list[object]]:
    """The commands, less where they write."""
    model = write_model(folder / "bert")
    for name, (count, seed) in {
        "train": (40, 0),
        "trusted": (12, 1),
        "test": (16, 2),
        "long": (4000, 3),
    }.items():
        write_csv(folder / f"{name}.csv", make_rows(count, seed))
    grid = {"models": [str(model)], **GRID, "seeds": 4}
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
    train = ["train", "--train", folder / "train.csv", "--trusted", folder / "trusted.csv", "--model", model]
    train += ["--method", "musclelora"]
    code, _, err = run(*train, "--epochs", 1, "--output", folder / "run")
    if code:
        raise SystemExit(err)
    grid_ = ["benchmark", "run", folder / "grid.yaml"]
    long = folder / "long.csv"
    return {
        "train": [*train, "--epochs", 500, "--output"],
        "auto": [*train, "--method", "purify", "--epochs", 500, "--output"],
        "predict": ["predict", folder / "run", long, "--batch-size", 4],
        "evaluate": ["evaluate", folder / "run", "--clean", long, "--batch-size", 4],
        "poison": ["poison", long, "--attack", "style:bible", "--rate", 0.2, "--target", "good", "--output"],
        "export": ["export", folder / "run", "--format", "merged", "--output"],
        "benchmark": [*grid_, "--workers", 2, "--output"],
        "ray": [*grid_, "--workers", "ray", "--output"],
    }


def processes_of(mark: str) -> list[int]:
    """The processes, but zombies, that a command started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def trial(arguments: list[object], folder: Path, moment: float, way: str) -> str:
    """How a command ended to which signals were sent after `moment` seconds: a word, or what was wrong."""
    mark, said = f"trial-{uuid.uuid4().hex}", folder / "said"
    with said.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "musclelora", *map(str, arguments)],
            stdout=file,
            stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MARK": mark},
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        time.sleep(moment)
        for number in WAYS[way]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            time.sleep(0.02)
        sent = time.monotonic()
        try:
            code = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"hangs: {said.read_text()[-300:]}"
    took = time.monotonic() - sent
    left = processes_of(mark)
    for one in left:
        os.kill(one, signal.SIGKILL)
    return judged(code, said, left, 128 + WAYS[way][0]) + (f" in over {int(took)} s" if took > 2 else "")


def judged(code: int, said: Path, left: list[int], expected: int) -> str:
    """What became of one trial."""
    text = said.read_text()
    time.sleep(0.2)
    lines = text.splitlines()
    own = [line for line in lines if line.startswith("musclelora: ")]
    if left:
        return f"leaves {len(left)} processes"
    if said.read_text() != text:
        return f"prints later: {said.read_text()[len(text) :]}"
    if code == 0 and not own:
        return "done"
    if code == expected and len(own) == 1 and lines[-1] == own[0] and "Traceback" not in text:
        return "interrupted"
    early = code in (-signal.SIGTERM, -signal.SIGINT, 1, 130) and not own
    if early and "entry" not in text.replace("musclelora.entry", "").replace("entry.py", ""):
        return f"before the first instruction ({code})"
    return f"WRONG: code {code}: {text[-600:]}"


def main() -> None:
    """Run the trials and count how they ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="+")
    parser.add_argument("--folder", type=Path, required=True, help="a new one")
    parser.add_argument("--every", type=float, default=0.05, help="seconds between moments")
    parser.add_argument("--until", type=float, default=6.0, help="the last moment")
    parser.add_argument("--first", type=float, default=0.0, help="the first moment")
    parser.add_argument("--ways", default=",".join(WAYS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    commands = prepared(options.folder)
    counts: Counter[tuple[str, str]] = Counter()
    number, ways = 0, options.ways.split(",")
    for name in options.commands:
        moment = options.first
        while moment <= options.until:
            arguments = list(commands[name])
            if "--output" in map(str, arguments[-1:]):
                arguments.append(options.folder / f"out-{name}-{number}")
            ended = trial(arguments, options.folder, moment, ways[number % len(ways)])
            counts[name, ended] += 1
            if ended not in ("done", "interrupted"):
                print(f"{name} {moment:.2f} {ways[number % len(ways)]}: {ended}", flush=True)
            moment += options.every
            number += 1
    for (name, ended), count in sorted(counts.items()):
        print(f"{name}: {count} {ended[:80]}")
    hidden = [path for path in options.folder.rglob(".*") if path.name != ".lock"]
    print(f"{len(hidden)} hidden files left: {hidden[:5]}")


if __name__ == "__main__":
    main()
