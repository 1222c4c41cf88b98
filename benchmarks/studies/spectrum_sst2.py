"""Is the backdoor learned first? The low and high bands of SST-2 with BadNets and AddSent, as training goes.

For every attack, method (vanilla fine-tuning, and MuScleLoRA as its preset has it) and seed, the embedded
encoder is trained on the poisoned training rows, the bands of a fixed sample are recorded every so many
steps, and CACC and ASR are measured. The poison flags name the groups and nothing else. Every cell is kept
below --work, and goes on from its last checkpoint; the file is written after each.

A cell holds, for both groups and bands, the step at which the error first halved, with its bootstrap
interval; in how many resamples the triggered rows were earlier, also for each σ; the curves; and `seen`:
whether what the method rests on was seen (vanilla: the triggered rows' low band halves first in at least
97.5 % of the resamples; MuScleLoRA: it does not halve in the run, or halves first in at most half of them).

    python benchmarks/studies/spectrum_sst2.py --data DATA --json benchmarks/results/spectrum-sst2.json \
        --figures docs/spectrum
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch
from transformers.utils import logging

from musclelora.data import Table, load_table, select_trusted
from musclelora.errors import DataError
from musclelora.evaluation import evaluate
from musclelora.files import write_json
from musclelora.purification import METHODS, train_classifier
from musclelora.spectrum import SpectrumCallback, SpectrumSettings, analyse
from musclelora.spectrum.diagnosis import DECIDED

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import argument_parser, earlier, machine

ROOT = Path(__file__).parents[2]
TARGET = 1
POISONED = ("mix/0.1/train-poison", "clean/0.1/train-poison", "dirty/0.1/train-poison")
NAMES = {"full": "vanilla", "musclelora": "MuScleLoRA"}


def main() -> None:
    """Run the cells that the file does not hold; draw each attack's first seed."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared" / "data" / "sst-2" / "1",
        help="a folder with an OpenBackdoor folder for each attack",
    )
    parser.add_argument("--attacks", default="badnets,addsent", help="separated by commas")
    parser.add_argument("--methods", default="full,musclelora", help="separated by commas")
    parser.add_argument("--rows", type=int, help="train on so many rows drawn by the seed; default: all")
    parser.add_argument("--test-rows", type=int, help="only the first so many test rows; default: all")
    parser.add_argument("--sample", type=int, default=1000, help="rows whose bands are recorded")
    parser.add_argument("--every", type=int, default=20, help="steps between records")
    parser.add_argument("--epochs", type=float, help="default: the method's own")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N-1")
    parser.add_argument("--bf16", action="store_true", help="train under bfloat16 autocast")
    parser.add_argument("--threads", type=int, help="torch threads; default: torch's own")
    parser.add_argument("--work", type=Path, help="folder of the runs; default: beside --json")
    parser.add_argument("--figures", type=Path, help="draw into this folder")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    logging.disable_progress_bar()
    if options.threads:
        torch.set_num_threads(options.threads)
    work = options.work or options.json.with_suffix(".runs")
    settings = {
        "model": "all-minilm-l6-v2",
        **{
            name: getattr(options, name)
            for name in ("rows", "test_rows", "sample", "every", "epochs", "bf16")
        },
    }
    cells = earlier(options.json, settings, "cells")
    grid = itertools.product(range(options.seeds), options.attacks.split(","), options.methods.split(","))
    for seed, attack, method in grid:
        key = {"seed": seed, "attack": attack, "method": method}
        if not any(key.items() <= cell.items() for cell in cells):
            started = time.perf_counter()
            cell = {**key, **run_cell(options, work, seed, attack, method)}
            cells.append({**cell, "wall_seconds": round(time.perf_counter() - started, 1)})
            show(cells[-1])
        write_json(options.json, {**machine(), "settings": settings, "cells": cells})
    if options.figures:
        draw(options, work)


def run_cell(options: argparse.Namespace, work: Path, seed: int, attack: str, method: str) -> dict[str, Any]:
    """Train, record, measure and analyse one cell; what was done of it before is not done again."""
    folder = options.data / attack
    train = poisoned_rows(folder)
    if options.rows:
        chosen = np.random.default_rng(seed).permutation(len(train))[: options.rows]
        train = train.select(np.sort(chosen))
    names = train.label_names
    pool = load_table(folder / "dev-clean.csv", label_names=names)
    trusted, _ = select_trusted(pool, 96, seed=seed)
    arguments: dict[str, Any] = {
        "seed": seed,
        "bf16": options.bf16,
        "save_steps": 100,
        "logging_steps": options.every,
        "disable_tqdm": True,
    }
    if options.epochs:
        arguments["num_train_epochs"] = options.epochs
    path = work / f"{attack}-{NAMES[method]}-{seed}"
    settings = SpectrumSettings(rows=options.sample, every=options.every, seed=seed)
    run = train_classifier(
        path,
        train=train,
        trusted=trusted if METHODS[method].alignment else None,
        method=METHODS[method],
        arguments=arguments,
        select_best="last",
        resume=True,
        callbacks=[SpectrumCallback(path, train, settings)],
    )
    test = load_table(folder / "test-clean.csv", label_names=names, max_rows=options.test_rows)
    triggered = load_table(folder / "test-poison.csv", label_names=names, max_rows=options.test_rows)
    scored = evaluate(run.classifier, clean=test, triggered=triggered.texts, target=TARGET).to_dict()
    found = analyse(path)
    return {
        "train_rows": len(train),
        "steps": run.info["result"]["steps"],
        "cacc": scored["cacc"],
        "asr": scored["asr"],
        "seen": seen(method, found),
        **{
            name: found[name]
            for name in ("groups", "sigmas", "convergence", "order", "cost", "labels", "diagnosis")
        },
        "records": found["steps"],
        "curves": {
            group: {key: {k: v for k, v in curve.items() if k != "by_sigma"} for key, curve in curves.items()}
            for group, curves in found["curves"].items()
        },
    }


def seen(method: str, found: dict[str, Any]) -> bool:
    """Whether what the method rests on was seen in a cell."""
    share = found["order"]["low"]["earlier_share"]
    if method == "full":
        return bool(share >= DECIDED)
    return bool(found["convergence"]["triggered"]["low"]["value"] == "never" or share <= 0.5)


def poisoned_rows(folder: Path) -> Table:
    """The poisoned training rows of an OpenBackdoor folder."""
    for split in POISONED:
        if (folder / f"{split}.csv").is_file():
            return load_table(folder / f"{split}.csv")
    raise DataError(f"{folder}: found none of {', '.join(POISONED)}, expected one; name another --data")


def draw(options: argparse.Namespace, work: Path) -> None:
    """Vanilla training and MuScleLoRA side by side, for each attack's first seed."""
    from musclelora.spectrum import load_analysis
    from musclelora.spectrum.figures import draw_all

    for attack in options.attacks.split(","):
        runs = {
            NAMES[method]: load_analysis(work / f"{attack}-{NAMES[method]}-0")
            for method in options.methods.split(",")
        }
        draw_all(runs, options.figures / attack)


def show(cell: dict[str, Any]) -> None:
    """Print a cell in a line."""
    halved = {group: bands["low"]["value"] for group, bands in cell["convergence"].items()}
    print(
        f"seed {cell['seed']}, {cell['attack']}, {NAMES[cell['method']]}: CACC {cell['cacc']['value']:.3f}, "
        f"ASR {cell['asr']['value']:.3f}, e_low halved at {halved}, triggered earlier in "
        f"{cell['order']['low']['earlier_share']:.3f}, seen: {cell['seen']}, {cell['wall_seconds']:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
