"""One command for the tables of README and docs: data × attack × backbone × method × seed, and what it makes.

    python benchmarks/measure.py --output measured                                   # the embedded encoder
    python benchmarks/measure.py --output measured --backbone all-mpnet-base-v2      # BERT-base's size
    python benchmarks/measure.py --output measured --quick                           # one seed, 400 test rows
    python benchmarks/measure.py --output rates --only purify,addsent,stylebkd --rates 0.01 0.05 0.2 0.4
    python benchmarks/measure.py --output sizes --only purify,addsent,stylebkd --trusted 16 32 64 256
    python benchmarks/measure.py --output clean --only purify,synbkd,stylebkd --label-mode clean

It writes a grid and its results into the folder, cell by cell: the same command goes on where it was stopped.
Rows are SST-2's, a tenth poisoned; the paraphrases are the published ones, the style in lower case as well,
as SST-2 has no capitals. `oracle`, on the rows without poison, is measured with every attack. `--judge` says
what judges for `purify`. `--only` names methods or attacks, separated by commas, to leave out the others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from record import argument_parser

ROOT = Path(__file__).parents[1]
METHODS = ("purify", "musclelora", "lora", "vanilla", "trusted-only", "trusted-only-contrastive")
QUICK = ("purify", "trusted-only")
TRUSTED, RATE, QUICK_ROWS = 96, 0.1, 400


def main() -> None:
    """Write the grid, run it, and report."""
    parser = argument_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the folder to write, or to go on in")
    parser.add_argument("--backbone", nargs="+", default=["all-minilm-l6-v2"])
    parser.add_argument("--judge", default="auto", help="what judges for purify")
    parser.add_argument("--rows", type=int, default=2000, help="training rows")
    parser.add_argument("--rates", type=float, nargs="+", default=[RATE], help="poisoned rows / rows")
    parser.add_argument("--trusted", type=int, nargs="+", default=[TRUSTED], help="numbers of trusted rows")
    parser.add_argument("--label-mode", choices=["clean", "mix"], help="of all attacks  [default: their own]")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N-1")
    parser.add_argument(
        "--quick", action="store_true", help=f"one seed, {QUICK_ROWS} test rows, fewer methods"
    )
    parser.add_argument("--only", default="", help="methods or attacks")
    parser.add_argument("--workers", default="1", help="processes at a time, or ray")
    parser.add_argument("--dry-run", action="store_true", help="say how long it takes, and stop")
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared" / "data" / "sst-2" / "1",
        help="a folder with an OpenBackdoor folder for each attack",
    )
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    grid = options.output / "grid.yaml"
    grid.write_text(yaml.safe_dump(grid_of(options), sort_keys=False))
    run = ["run", str(grid), "--output", str(options.output / "results"), "--workers", options.workers]
    musclelora(*run, *(["--dry-run"] if options.dry_run else []))
    if not options.dry_run:
        musclelora("report", str(options.output / "results"))


def grid_of(options: argparse.Namespace) -> dict[str, Any]:
    """What is measured, as a grid; paths are those from the grid's folder."""
    data = Path(os.path.relpath(options.data.resolve(), options.output.resolve()))
    only = {name.strip() for name in options.only.split(",") if name.strip()}
    known = {*METHODS, *names_of(data)}
    if only - known:
        raise SystemExit(f"--only: found {min(only - known)!r}, expected some of {', '.join(sorted(known))}")
    rows: dict[str, Any] = {"name": "sst-2", "train_rows": options.rows, "target": 1}
    if options.quick:
        rows["test_rows"] = QUICK_ROWS
    for table, file in (("train", "train-clean"), ("test", "test-clean"), ("trusted", "dev-clean")):
        rows[table] = str(data / "badnets" / f"{file}.csv")
    mode = {"label_mode": options.label_mode} if options.label_mode else {}
    attacks = [
        {**attack, **mode}
        for attack in attacks_of(data)
        if not only & names_of(data) or attack["name"] in only
    ]
    methods = QUICK if options.quick else METHODS
    if only & set(METHODS):
        methods = tuple(method for method in METHODS if method in only)
    return {
        "name": "measured",
        "data": [rows],
        "attacks": attacks,
        "label_mode": "mix",
        "rates": options.rates,
        "models": options.backbone,
        "trusted_sizes": options.trusted,
        "defenses": [
            {"name": method, "label": method, **({"judge": options.judge} if method == "purify" else {})}
            for method in methods
        ],
        "training": {"bf16": "auto", "max_length": 128},
        # The oracle's, and those of every training of a whole backbone.
        "full": {"learning_rate": 5.0e-5, "num_train_epochs": 3, "per_device_train_batch_size": 32},
        "seeds": 1 if options.quick else options.seeds,
    }


def attacks_of(data: Path) -> list[dict[str, Any]]:
    """The published attacks: two insert, two rewrite, of which one is tried in lower case as well."""
    return [
        {"name": "badnets", "family": "badnets", "label_mode": "clean"},
        {"name": "addsent", "family": "addsent"},
        paraphrased("synbkd", "syntactic", data / "synbkd"),
        paraphrased("stylebkd", "style", data / "stylebkd"),
        {**paraphrased("stylebkd", "style", data / "stylebkd"), "name": "stylebkd-lower", "lower_case": True},
    ]


def names_of(data: Path) -> set[str]:
    """The names of the attacks."""
    return {attack["name"] for attack in attacks_of(data)}


def paraphrased(name: str, family: str, folder: Path) -> dict[str, Any]:
    """An attack whose texts are published."""
    files = {"file": "train-poison", "originals": "train-clean", "triggered": "test-poison"}
    places = {key: str(folder / f"{file}.csv") for key, file in files.items()}
    return {"name": name, "family": family, "backend": "file", **places}


def musclelora(*arguments: str) -> None:
    """Run a command of the benchmark; what it prints is what is printed."""
    ended = subprocess.run([sys.executable, "-m", "musclelora", "benchmark", *arguments], check=False)
    if ended.returncode:
        raise SystemExit(ended.returncode)


if __name__ == "__main__":
    main()
