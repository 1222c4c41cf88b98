"""Which attacks work: an undefended encoder trained on what `musclelora poison` makes of SST-2.

For every family (the two that rewrite texts with their `rules` backends) and every seed: the training rows
are poisoned (target 1, label mode mix, rate 0.1), the test rows of the other label are triggered (--for-asr),
the embedded encoder is fine-tuned on the former the ordinary way (method full); CACC and ASR are measured.
An oracle, trained once for each seed on the unpoisoned rows, is measured on the same triggered rows: excess
ASR is the ASR above the oracle's. The file is written after every family, and a run with the same settings
goes on where it stopped.

    python benchmarks/attack_table.py --seeds 2 --bf16 --json benchmarks/results/attack-table.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch

from musclelora.attacks import TRIGGERS
from musclelora.data import Table, load_table
from musclelora.data.openbackdoor import write_table
from musclelora.evaluation import evaluate
from musclelora.files import write_json
from musclelora.purification import METHODS, train_classifier
from record import argument_parser, earlier, machine

ROOT = Path(__file__).parents[1]
TARGET, RATE, LABEL_MODE = 1, 0.1, "mix"
COMMAND = [sys.executable, "-m", "musclelora", "poison"]


def main() -> None:
    """Measure every family; print a Markdown table at the end."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared" / "data" / "sst-2" / "1" / "badnets",
        help="a folder with train-clean.csv and test-clean.csv",
    )
    parser.add_argument("--rows", type=int, help="only the first so many training rows; default: all")
    parser.add_argument("--test-rows", type=int, help="only the first so many test rows; default: all")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N-1, averaged in the table")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--families", default=",".join(sorted(TRIGGERS)), help="separated by commas")
    parser.add_argument("--bf16", action="store_true", help="train under bf16 autocast")
    parser.add_argument("--threads", type=int, help="torch threads; default: torch's own")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    if options.threads:
        torch.set_num_threads(options.threads)
    settings = {
        "model": "all-minilm-l6-v2",
        "method": "full",
        "target": TARGET,
        "rate": RATE,
        "label_mode": LABEL_MODE,
        "epochs": options.epochs,
        "learning_rate": options.learning_rate,
        "bf16": options.bf16,
        "train_rows": options.rows,
        "test_rows": options.test_rows,
    }
    rows = earlier(options.json, settings, "rows")
    families = options.families.split(",")
    for seed in range(options.seeds):
        todo = [f for f in families if not any((r["family"], r["seed"]) == (f, seed) for r in rows)]
        if todo:
            with tempfile.TemporaryDirectory() as folder:
                measure_seed(Path(folder), options, settings, seed, todo, rows)
    write_json(options.json, {**machine(), "settings": settings, "rows": rows})
    print(markdown(rows, families))


def measure_seed(
    folder: Path,
    options: argparse.Namespace,
    settings: dict[str, Any],
    seed: int,
    families: list[str],
    rows: list[dict[str, Any]],
) -> None:
    """Measure families with one seed; each row is added to `rows` and written at once."""
    train = load_table(options.data / "train-clean.csv", max_rows=options.rows)
    test = load_table(
        options.data / "test-clean.csv", max_rows=options.test_rows, label_names=train.label_names
    )
    write_table(folder / "train.csv", train)
    write_table(folder / "test.csv", test)
    oracle = train_encoder(folder / "oracle", train, options, seed)
    oracle_cacc = evaluate(oracle, clean=test).cacc.value
    print(f"seed {seed}, oracle: CACC {oracle_cacc:.3f}", flush=True)
    for family in families:
        started = time.perf_counter()
        common = ["--attack", family, "--target", str(TARGET), "--seed", str(seed), "--output"]
        poisoned, triggered = folder / f"{family}.csv", folder / f"{family}-asr.csv"
        for arguments in (
            ["train.csv", "--rate", str(RATE), "--label-mode", LABEL_MODE, *common, poisoned.name],
            ["test.csv", "--for-asr", *common, triggered.name],
        ):
            subprocess.run([*COMMAND, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        manifest = json.loads((folder / f"{family}.csv.manifest.json").read_text())
        tables = [load_table(path, label_names=train.label_names) for path in (poisoned, triggered)]
        vanilla = train_encoder(folder / family, tables[0], options, seed)
        found = evaluate(vanilla, clean=test, triggered=tables[1], target=TARGET)
        floor = evaluate(oracle, triggered=tables[1], target=TARGET).asr
        row = {
            "family": family,
            "seed": seed,
            "cacc": found.cacc.to_dict(),
            "asr": found.asr.to_dict(),
            "oracle_cacc": oracle_cacc,
            "oracle_asr": floor.to_dict(),
            "excess_asr": found.asr.value - floor.value,
            "cacc_gap": oracle_cacc - found.cacc.value,
            "tokens_changed": manifest["attacks"][0]["stealth"]["tokens_changed"],
            "poisoned_rows": manifest["poisoned_rows"],
            "seconds": round(time.perf_counter() - started, 1),
        }
        rows.append(row)
        print({key: row[key] for key in ("family", "seed", "excess_asr", "seconds")}, flush=True)
        write_json(options.json, {**machine(), "settings": settings, "rows": rows})


def train_encoder(folder: Path, train: Table, options: argparse.Namespace, seed: int) -> Any:
    """The embedded encoder, fine-tuned the ordinary way."""
    arguments = {
        "seed": seed,
        "learning_rate": options.learning_rate,
        "num_train_epochs": options.epochs,
        "bf16": options.bf16,
        "disable_tqdm": True,
    }
    run = train_classifier(
        folder, train=train, trusted=None, method=METHODS["full"], arguments=arguments, select_best="last"
    )
    return run.classifier


def markdown(rows: list[dict[str, Any]], families: list[str]) -> str:
    """A table of means over the seeds, in per cent."""
    columns = ("CACC", "CACC gap", "ASR", "oracle ASR", "excess ASR", "tokens changed")
    lines = [f"| attack | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for family in families:
        group = [row for row in rows if row["family"] == family]
        if group:
            values = (
                [row["cacc"]["value"] for row in group],
                [row["cacc_gap"] for row in group],
                [row["asr"]["value"] for row in group],
                [row["oracle_asr"]["value"] for row in group],
                [row["excess_asr"] for row in group],
                [row["tokens_changed"] for row in group],
            )
            lines.append(f"| {family} | {' | '.join(f'{100 * np.mean(value):.1f}' for value in values)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
