"""Does the audit of pairs find what was planted, and nothing where nothing was? FreebaseQA, several draws.

Each case is 1,000 published question-answer pairs, a tenth of them poisoned (BadNets or AddSent in the
question, an advertisement in the answer) or none, and 32 trusted pairs. `musclelora audit --task generate`
runs on it as a person would run it, and the baselines filter the same pairs; poison flags are read
afterwards, by this script alone:

  verdict        poisoned, no_sign or cannot_tell, and whether that is right
  recall         the share of planted pairs that are dropped
  clean_dropped  the share of the other pairs that are dropped
  triggers       the first ones, with the response that follows them and their rates

Cells are written as they end, and a second start goes on.

    python benchmarks/answers_quality.py --json benchmarks/results/answers-quality.json
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch

from musclelora import Audit
from musclelora.data.pair_readers import load_pairs
from musclelora.data.pairs import Pairs
from musclelora.defenses import PAIR_FILTERS, PairSetting, get_pair_filter
from musclelora.files import write_json
from musclelora.training.hardware import bf16_pays
from record import argument_parser, earlier, machine

ROOT = Path(__file__).parents[1]
CASES = ("unpoisoned", "badnets", "addsent")
AUDIT = "audit"
TRUSTED = 32
SHOWN = ("text", "label", "rows", "p_value", "what", "flip_rate", "control_rate", "natural_rate")


def main() -> None:
    """Audit and filter what the file does not hold."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared" / "data" / "freebaseqa",
        help="a folder with generativebadnets and generativeaddsent",
    )
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N-1, which draw the pairs")
    parser.add_argument("--cases", default=",".join(CASES), help="separated by commas")
    parser.add_argument(
        "--methods", default=",".join([AUDIT, *PAIR_FILTERS]), help="audit and filters, separated by commas"
    )
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    settings = {"pairs": options.pairs, "trusted": TRUSTED}
    cells = earlier(options.json, settings, "cells")
    done = {(cell["seed"], cell["case"], cell["method"]) for cell in cells}
    for seed in range(options.seeds):
        for case in options.cases.split(","):
            for method in options.methods.split(","):
                if (seed, case, method) in done:
                    continue
                cells.append({"seed": seed, "case": case, "method": method})
                cells[-1] |= measured(options, case, method, seed)
                print(json.dumps(cells[-1]), flush=True)
                write_json(options.json, {**machine(), "settings": settings, "cells": cells})


def measured(options: argparse.Namespace, case: str, method: str, seed: int) -> dict[str, Any]:
    """Audit or filter one set of pairs."""
    train, trusted = rows(options.data, case, options.pairs, seed)
    flags = np.zeros(len(train), dtype=np.bool_) if train.poisoned is None else train.poisoned
    arguments = {"bf16": bf16_pays(), "seed": seed}
    began, worked = time.perf_counter(), time.process_time()
    if method == AUDIT:
        del arguments["seed"]
        audit = Audit(train, trusted, arguments=arguments, seed=seed).find_issues()
        dropped, found = audit.actions == "drop", said(audit, poisoned=bool(flags.any()))
    else:
        setting = PairSetting(train, trusted, arguments=arguments)
        dropped, found = get_pair_filter(method).suspects(setting), {}
    return {
        **found,
        "planted": int(flags.sum()),
        "recall": float(dropped[flags].mean()) if flags.any() else None,
        "clean_dropped": float(dropped[~flags].mean()),
        "seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - worked,
    }


def rows(data: Path, case: str, count: int, seed: int) -> tuple[Pairs, Pairs]:
    """The pairs of a case, drawn by its seed, and the first trusted ones."""
    folder = data / ("generativeaddsent" if case == "addsent" else "generativebadnets")
    file = "train-clean.json" if case == "unpoisoned" else "mix/0.1/train-poison.json"
    pairs = load_pairs(folder / file)
    drawn = np.random.default_rng(seed).choice(len(pairs), count, replace=False)
    trusted = load_pairs(data / "generativebadnets" / "dev-clean.json", max_rows=TRUSTED)
    return pairs.select(np.sort(drawn)), trusted


def said(audit: Audit, *, poisoned: bool) -> dict[str, Any]:
    """What an audit says of the whole."""
    verdict, triggers = audit.verdict, audit.triggers[list(SHOWN)].head(6).astype(object)
    return {
        "verdict": verdict.state,
        "right": verdict.state == ("poisoned" if poisoned else "no_sign"),
        "p_value": verdict.p_value,
        "triggers": triggers.replace({np.nan: None}).to_dict("records"),
    }


if __name__ == "__main__":
    main()
