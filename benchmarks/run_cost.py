"""What a whole run costs: plain fine-tuning, the default, the audit alone, the published method.

SST-2, all its training rows, a tenth of them with AddSent; the embedded encoder, four epochs; each command
is a process of its own, one after the other, with the same number of threads. The bounds aimed at are
ratios to `plain`: 1.2 for `default`, 0.5 for `audit`, 1.25 for `published`, 1.7 for `default-judge` (judged
by all-mpnet-base-v2), and 1.3 for the peak memory of each. Processor seconds are compared, as other work on
the machine changes them less.

    python benchmarks/run_cost.py --json benchmarks/results/run-cost.json
    python benchmarks/run_cost.py --json small.json --rows 1000 --only plain,audit

Rows are written as they come, and a second start goes on.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from musclelora.attacks import get_trigger, poison
from musclelora.data import load_table, select_trusted
from musclelora.data.embedded import EMBEDDED_MODELS
from musclelora.data.writers import write_csv
from musclelora.files import write_json
from processes import watched
from record import argument_parser, earlier, machine

ROOT = Path(__file__).parents[1]
TRUSTED, EPOCHS = 96, 4
MODEL = next(iter(EMBEDDED_MODELS))
WANTED = {"plain": 1.0, "default": 1.2, "audit": 0.5, "published": 1.25, "default-judge": 1.7}


def main() -> None:
    """Run what the file does not hold, and print the ratios."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared" / "data" / "sst-2" / "1" / "addsent",
        help="an OpenBackdoor folder",
    )
    parser.add_argument("--rows", type=int, help="training rows  [default: all]")
    parser.add_argument("--only", default=",".join(WANTED), help="separated by commas")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    settings = {"rows": options.rows, "trusted": TRUSTED, "epochs": EPOCHS, "model": MODEL}
    settings["threads"] = os.environ.get("OMP_NUM_THREADS")
    runs = earlier(options.json, settings, "runs")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_tables(options.data, options.rows, place)
        for name in options.only.split(","):
            if name not in {run["name"] for run in runs}:
                _, cost = watched(command_of(name), place)
                runs.append({"name": name, **cost})
                write_json(options.json, {**machine(), "settings": settings, "runs": with_ratios(runs)})
                show(with_ratios(runs)[-1])


def write_tables(data: Path, count: int | None, place: Path) -> None:
    """The training rows, a tenth of them poisoned, and the trusted ones, as CSV files."""
    clean = load_table(data / "train-clean.csv")
    if count is not None:
        clean = clean.select(np.random.default_rng(0).permutation(len(clean))[:count])
    trusted, _ = select_trusted(load_table(data / "dev-clean.csv"), TRUSTED, seed=0)
    train = poison(clean, get_trigger("addsent"), target=1, rate=0.1, label_mode="mix", seed=0)
    for name, table in (("train", train), ("trusted", trusted)):
        labels = [table.label_names[label] for label in table.labels]
        write_csv(place / f"{name}.csv", ("text", "label"), zip(table.texts, labels, strict=True))


def command_of(name: str) -> list[Any]:
    """What is run."""
    if name == "plain":
        from musclelora.data.model_source import model_source

        folder = model_source(MODEL).path
        return [sys.executable, ROOT / "benchmarks" / "plain_lora.py", folder, "train.csv", name, EPOCHS]
    program = [sys.executable, "-m", "musclelora"]
    judge = "all-mpnet-base-v2" if name == "default-judge" else "backbone"
    if name == "audit":
        rows = ["train.csv", "--trusted", "trusted.csv"]
        return [*program, "audit", *rows, "--judge", judge, "--output", name]
    rows = ["--train", "train.csv", "--trusted", "trusted.csv", "--epochs", EPOCHS, "--output", name]
    if name == "published":
        return [*program, "train", *rows, "--method", "musclelora"]
    if name in ("default", "default-judge"):
        return [*program, "train", *rows, "--judge", judge]
    raise SystemExit(f"--only: found {name!r}, expected some of {', '.join(WANTED)}")


def with_ratios(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs, with their cost as a ratio to that of `plain`."""
    plain = next((run for run in runs if run["name"] == "plain"), None)
    if plain is None:
        return runs
    ratios = {"cpu_ratio": "cpu_seconds", "seconds_ratio": "seconds", "memory_ratio": "peak_bytes"}
    return [
        {**run, **{ratio: round(run[cost] / plain[cost], 3) for ratio, cost in ratios.items()}}
        for run in runs
    ]


def show(run: dict[str, Any]) -> None:
    """Print one run, and what is aimed at."""
    said = f"{run['name']:<14}{run['cpu_seconds']:>9.1f} s of the processor, {run['peak_bytes'] / 1e9:.2f} GB"
    if "cpu_ratio" in run:
        said += f", {run['cpu_ratio']:.2f} of plain (aimed at {WANTED[run['name']]})"
    print(f"{said}, memory {run.get('memory_ratio', 1):.2f}", flush=True)


if __name__ == "__main__":
    main()
