"""One command for the tables of README and docs: data × attack × backbone × method × seed, and what it makes.

    python benchmarks/measure.py --output measured                                   # the embedded encoder
    python benchmarks/measure.py --output measured --backbone all-mpnet-base-v2      # BERT-base's size
    python benchmarks/measure.py --output measured --quick                           # one seed, 400 test rows
    python benchmarks/measure.py --output rates --only purify,addsent,stylebkd --rates 0.01 0.05 0.2 0.4
    python benchmarks/measure.py --output sizes --only purify,addsent,stylebkd --trusted 16 32 64 256
    python benchmarks/measure.py --output clean --only purify,synbkd,stylebkd --label-mode clean
    python benchmarks/measure.py --output measured --record measured.json            # over several days

It writes a grid and its results into the folder, cell by cell: the same command goes on where it was stopped.
Rows are SST-2's, a tenth poisoned; the paraphrases are the published ones, the style in lower case as well,
as SST-2 has no capitals. `oracle`, on the rows without poison, is measured with every attack. `--judge` says
what judges for `purify`. `--only` names methods or attacks, separated by commas, to leave out the others.
`--record` names a file that each finished cell goes to, with the state of the code that measured it. Cells
in it are not run again: a measurement may take days, on several machines.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from musclelora.audit.judges import AUTO, BACKBONE, STRONGEST
from musclelora.benchmark.grid import load_grid
from musclelora.benchmark.plan import Cell, plan
from musclelora.benchmark.runner import bf16_in
from musclelora.benchmark.store import finished_rows, open_store
from musclelora.data.embedded import is_installed
from musclelora.files import write_json
from record import argument_parser, machine

ROOT = Path(__file__).parents[1]
METHODS = ("purify", "musclelora", "lora", "vanilla", "trusted-only", "trusted-only-contrastive")
QUICK = ("purify", "trusted-only")
TRUSTED, RATE, QUICK_ROWS = 96, 0.1, 400
EVERY = 30  # seconds after which finished cells are recorded


def main() -> None:
    """Write the grid, run it, and report."""
    parser = argument_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the folder to write, or to go on in")
    parser.add_argument("--backbone", nargs="+", default=["all-minilm-l6-v2"])
    parser.add_argument(
        "--judge", default=AUTO, help="what judges for purify  [default: the strongest that is installed]"
    )
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
    parser.add_argument(
        "--record", type=Path, help="a JSON file of finished cells, to go on from and to write"
    )
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
    results = options.output / "results"
    run = ["run", str(grid), "--output", str(results), "--workers", options.workers]
    if options.dry_run:
        musclelora(*run, "--dry-run")
    elif options.record is None:
        musclelora(*run)
    else:
        cells, made_by = take_up(options.record, grid, results), commit()
        keep(options.record, results, cells, None)  # those that are there already
        with started(*run) as process:
            try:
                while process.poll() is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(EVERY)
                    keep(options.record, results, cells, made_by)
            finally:
                process.wait()
                keep(options.record, results, cells, made_by)
            check(process.returncode)
    if not options.dry_run:
        musclelora("report", str(results))


def take_up(record: Path, grid: Path, results: Path) -> list[Cell]:
    """Put the cells that were recorded into the folder of results; returns all cells of the grid."""
    wanted = load_grid(grid)
    bf16 = bf16_in(results, wanted)
    cells = plan(wanted, bf16=bf16)
    known = {row["cell"]: row for row in recorded(record)}
    with open_store(results, grid, wanted, cells, bf16=bf16) as store:
        for cell in cells:
            if cell.id in known and not store.is_done(cell.id):
                store.write({"status": "done", "error": None, **known[cell.id]})
    return cells


def keep(record: Path, results: Path, cells: list[Cell], made_by: str | None) -> None:
    """Add the cells that are finished to the record, as measured by a commit; None: nobody knows which."""
    rows = {row["cell"]: row for row in recorded(record)}
    done = finished_rows(results, [cell.id for cell in cells])
    new = {name: row for name, row in done.items() if name not in rows and row["status"] == "done"}
    for name, row in new.items():
        facts = {k: v for k, v in row.items() if k not in ("status", "error", "details")}
        rows[name] = {**facts, "commit": made_by, "transformers": machine()["transformers"]}
    if new:
        write_json(record, {"rows": [rows[name] for name in sorted(rows)]})


def recorded(record: Path) -> list[dict[str, Any]]:
    """The cells that a record holds."""
    rows: list[dict[str, Any]] = json.loads(record.read_text())["rows"] if record.exists() else []
    return rows


def commit() -> str | None:
    """The commit of the code that runs, with a mark where it was altered; None: it is no clone."""
    here = ["git", "-C", str(ROOT)]
    asked = subprocess.run(
        [*here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        return None
    altered = subprocess.run([*here, "diff", "--quiet", "HEAD", "--", "src", "benchmarks/*.py"], check=False)
    return asked.stdout.strip() + ("-dirty" if altered.returncode else "")


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
    judge = options.judge
    if judge == AUTO:  # by name, as cells of several machines are one measurement
        judge = STRONGEST if is_installed(STRONGEST) else BACKBONE
    methods: tuple[str, ...] = QUICK if options.quick else METHODS
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
            {"name": method, "label": method, **({"judge": judge} if method == "purify" else {})}
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
    with started(*arguments) as process:
        check(process.wait())


def started(*arguments: str) -> subprocess.Popen[bytes]:
    """A command of the benchmark that was started."""
    return subprocess.Popen([sys.executable, "-m", "musclelora", "benchmark", *arguments])


def check(status: int) -> None:
    """End as a command did that failed."""
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
