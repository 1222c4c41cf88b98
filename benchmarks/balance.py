"""Do the default settings win without knowing the attack? SST-2's four published attacks, and BBC news.

MuScleLoRA as `musclelora train` runs it (`--preset auto`) beside the oracle and training on the trusted rows
alone, all with the embedded encoder, 96 trusted rows and nothing that reads a poison flag but the ASR:

  sst-2       badnets (clean labels), addsent, synbkd and stylebkd (mixed), a tenth of the rows poisoned, as
              published, and the unpoisoned rows; `--rows` takes a part of them, for all of the methods. The
              published style has capital letters, which SST-2 has not: it is there in lower case as well
  bbc-news    the demo's 512 articles: addsent and badnets, dirty and mixed at 10 %, mixed at 1, 5, 20, 40 %

Every cell is written as it ends, and a second start goes on. `asked` holds what the table must show, and
whether it does; means are over seeds.

    python benchmarks/balance.py --seeds 3 --json benchmarks/results/balance.json
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch
from transformers.utils import logging

from musclelora.attacks import get_trigger, poison, trigger_test_set
from musclelora.data import Table, load_table, select_trusted
from musclelora.demo import MAX_LENGTH, TARGET, split_corpus
from musclelora.evaluation import evaluate
from musclelora.files import write_json
from musclelora.training import METHODS, Run, fit
from musclelora.training.auto import REPEATS
from musclelora.training.hardware import bf16_pays
from record import argument_parser, earlier, machine

ROOT = Path(__file__).parents[1]
SST2_TARGET, TRUSTED = 1, 96
ATTACKS = {"badnets": "clean", "addsent": "mix", "synbkd": "mix", "stylebkd": "mix"}
BBC = [(attack, mode, 0.1) for attack in ("addsent", "badnets") for mode in ("dirty", "mix")] + [
    (attack, "mix", rate) for attack in ("addsent", "badnets") for rate in (0.01, 0.05, 0.2, 0.4)
]
# Few rows make few steps: at the usual rate the fully trained oracle stays half trained.
BBC_ORACLE = {"learning_rate": 2e-4, "per_device_train_batch_size": 16}


def main() -> None:
    """Run the cells that the file does not hold, and print the table."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared" / "data" / "sst-2" / "1",
        help="a folder with an OpenBackdoor folder for each attack",
    )
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N-1")
    parser.add_argument("--parts", default="sst-2,bbc-news", help="separated by commas")
    parser.add_argument("--rows", type=int, help="SST-2 training rows, drawn by the seed; default: all")
    parser.add_argument("--test-rows", type=int, help="SST-2 test rows, the first; default: all")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    logging.disable_progress_bar()
    settings = {"rows": options.rows, "test_rows": options.test_rows, "trusted": TRUSTED}
    settings["trusted_repeats"] = REPEATS
    cells = earlier(options.json, settings, "cells")
    parts: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {"sst-2": sst2, "bbc-news": bbc}
    for part in options.parts.split(","):
        for seed in range(options.seeds):
            done = {(c["case"], c["method"]) for c in cells if (c["data"], c["seed"]) == (part, seed)}
            for cell in parts[part](options, seed, done):
                cells.append({"data": part, "seed": seed, **cell})
                show(cells[-1])
                found = {"settings": settings, "asked": asked(cells), "cells": cells}
                write_json(options.json, {**machine(), **found})
    print_table(cells)
    for line, value in asked(cells).items():
        print(f"{line}: {value}")


def sst2(options: argparse.Namespace, seed: int, done: set[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """The cells of SST-2 that are not done."""

    def read(attack: str, split: str, most: int | None = None) -> Table:
        return load_table(options.data / attack / f"{split}.csv", label_names=("0", "1"), max_rows=most)

    test = read("badnets", "test-clean", options.test_rows)
    triggered = {attack: read(attack, "test-poison", options.test_rows) for attack in ATTACKS}
    clean = read("badnets", "train-clean")
    trusted, _ = select_trusted(read("badnets", "dev-clean"), TRUSTED, seed=seed)
    order = np.random.default_rng(seed).permutation(len(clean))[: options.rows]

    def measure(run: Run, attacks: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {"cacc": evaluate(run.classifier, clean=test).cacc.to_dict()}
        for attack in attacks:
            texts = triggered[attack].texts
            found[attack] = evaluate(run.classifier, triggered=texts, target=SST2_TARGET).asr.to_dict()
        return found

    rows = clean.select(np.sort(order))
    every = list(ATTACKS)
    for method, train in (("oracle", rows), ("trusted-only", trusted)):
        if ("any", method) not in done:
            yield {
                "case": "any",
                "method": method,
                **trained(method, train, trusted, seed, {}, measure, every),
            }
    for attack, mode in ATTACKS.items():
        if (attack, "musclelora") not in done:
            train = read(attack, f"{mode}/0.1/train-poison").select(np.sort(order))
            cell = trained("musclelora", train, trusted, seed, {}, measure, [attack])
            yield {"case": attack, "method": "musclelora", **cell}
    if ("stylebkd in lower case", "musclelora") not in done:
        train = read("stylebkd", f"{ATTACKS['stylebkd']}/0.1/train-poison").select(np.sort(order))
        train = dataclasses.replace(train, texts=tuple(text.lower() for text in train.texts))
        cell = trained("musclelora", train, trusted, seed, {}, measure, ["stylebkd"])
        yield {"case": "stylebkd in lower case", "attack": "stylebkd", "method": "musclelora", **cell}
    if ("unpoisoned", "musclelora") not in done:
        cell = trained("musclelora", rows, trusted, seed, {}, measure, every)
        yield {"case": "unpoisoned", "method": "musclelora", **cell}


def bbc(_options: argparse.Namespace, seed: int, done: set[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """The cells of BBC news that are not done."""
    split = split_corpus(seed)
    target = split.test.label_names.index(TARGET)
    triggered = {
        attack: trigger_test_set(split.test, get_trigger(attack), target=target, seed=seed).texts
        for attack in ("addsent", "badnets")
    }

    def measure(run: Run, attacks: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {"cacc": evaluate(run.classifier, clean=split.test).cacc.to_dict()}
        for attack in attacks:
            texts = triggered[attack]
            found[attack] = evaluate(run.classifier, triggered=texts, target=target).asr.to_dict()
        return found

    short = {"max_length": MAX_LENGTH}
    for method, train, more in (("oracle", split.train, BBC_ORACLE), ("trusted-only", split.trusted, {})):
        if ("any", method) not in done:
            cell = trained(method, train, split.trusted, seed, short | more, measure, list(triggered))
            yield {"case": "any", "method": method, **cell}
    for attack, mode, rate in BBC:
        case = f"{attack} {mode} {rate:g}"
        if (case, "musclelora") not in done:
            train = poison(
                split.train, get_trigger(attack), target=target, rate=rate, label_mode=mode, seed=seed
            )
            cell = trained("musclelora", train, split.trusted, seed, short, measure, [attack])
            yield {"case": case, "attack": attack, "method": "musclelora", **cell}


def trained(
    method: str,
    train: Table,
    trusted: Table,
    seed: int,
    arguments: dict[str, Any],
    measure: Callable[[Run, list[str]], dict[str, Any]],
    attacks: list[str],
) -> dict[str, Any]:
    """Train and measure; what MuScleLoRA chose is kept."""
    started = time.perf_counter()
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        run = fit(
            Path(folder) / "run",
            train=train,
            trusted=None if method == "oracle" else trusted,
            method=METHODS["full" if method == "oracle" else method],
            arguments={"seed": seed, "bf16": bf16_pays(), "disable_tqdm": True, **arguments},
            say=said.append,
        )
        seconds = time.perf_counter() - started
        info = run.info
        found = measure(run, attacks)
    automatic = info["auto"]
    chose = automatic and {
        "settings": automatic["chosen"],
        "why": automatic["why"],
        "tried": automatic["tried"],
        "trusted_accuracy": automatic["judgement"]["trusted_accuracy"],
        "left_out": len(automatic["judgement"]["left_out"]),
        "alike": len(automatic["judgement"]["alike"]),
        "shortcuts": [line.split(maxsplit=1)[1] for line in said if line.startswith(("shortcut ", "signs "))],
        "let_back": len(automatic["judgement"]["let_back"]),
        "look_accuracy": automatic["judgement"]["look_accuracy"],
    }
    return {"train_rows": len(train), "seconds": round(seconds, 1), "chose": chose, **found}


def compared(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each data set and case: means over seeds of MuScleLoRA, the oracle and trusted-only."""
    rows = []
    for data, case in dict.fromkeys((c["data"], c["case"]) for c in cells if c["method"] == "musclelora"):
        ours = [c for c in cells if (c["data"], c["case"]) == (data, case)]
        attack = ours[0].get("attack", case)
        row: dict[str, Any] = {"data": data, "case": case, "seeds": len(ours)}
        for name in ("musclelora", "oracle", "trusted-only"):
            group = ours if name == "musclelora" else [_beside(cells, c, name) for c in ours]
            row[name] = {"cacc": 100 * float(np.mean([c["cacc"]["value"] for c in group]))}
            if attack in group[0]:
                row[name]["asr"] = 100 * float(np.mean([c[attack]["value"] for c in group]))
        rows.append(row)
    return rows


def asked(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """What the table must show (in points), and whether it does; None where it is not measured yet."""
    rows = compared(cells)
    sst = [r for r in rows if r["data"] == "sst-2" and "asr" in r["musclelora"] and r["case"] in ATTACKS]
    excess = [r["musclelora"]["asr"] - r["oracle"]["asr"] for r in sst]
    whole = len(sst) == len(ATTACKS)
    clean = [r for r in rows if r["case"] == "unpoisoned"]
    lost = [
        r["case"]
        for r in rows
        if r["data"] == "bbc-news"
        and r["musclelora"]["cacc"] < r["trusted-only"]["cacc"]
        and r["musclelora"]["asr"] > r["trusted-only"]["asr"]
    ]

    def margin(other: str, sign: int) -> float:
        return min(sign * (r["musclelora"]["cacc"] - r[other]["cacc"]) for r in sst)

    return {
        "sst-2: excess ASR at most 15 for each attack": max(excess) <= 15 if whole else None,
        "sst-2: mean excess ASR at most 8": float(np.mean(excess)) <= 8 if whole else None,
        "sst-2: CACC at least 5 above trusted-only": margin("trusted-only", 1) >= 5 if whole else None,
        "sst-2: CACC at most 5 below the oracle": margin("oracle", 1) >= -5 if whole else None,
        "sst-2: unpoisoned rows cost at most 3 of CACC": (
            clean[0]["oracle"]["cacc"] - clean[0]["musclelora"]["cacc"] <= 3 if clean else None
        ),
        "bbc-news: cases worse than trusted-only in both CACC and ASR": (
            lost if any(r["data"] == "bbc-news" for r in rows) else None
        ),
    }


def _beside(cells: list[dict[str, Any]], cell: dict[str, Any], method: str) -> dict[str, Any]:
    return next(c for c in cells if c["method"] == method and all(c[k] == cell[k] for k in ("data", "seed")))


def show(cell: dict[str, Any]) -> None:
    """Print a cell in a line."""
    rates = ", ".join(
        f"{k} {100 * v['value']:.1f}" for k, v in cell.items() if isinstance(v, dict) and "value" in v
    )
    name = f"{cell['data']}, seed {cell['seed']}, {cell['case']}, {cell['method']}"
    print(f"{name}: {rates} ({cell['seconds']:.0f} s)", flush=True)
    for line in (cell["chose"] or {}).get("shortcuts", []):
        print(f"    {line}", flush=True)


def print_table(cells: list[dict[str, Any]]) -> None:
    """The comparison as Markdown, in per cent."""
    print("| data | case | CACC | trusted-only | oracle | ASR | trusted-only | oracle |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in compared(cells):
        names = ("musclelora", "trusted-only", "oracle")
        values = [
            f"{row[name][key]:.1f}" if key in row[name] else "" for key in ("cacc", "asr") for name in names
        ]
        print(f"| {row['data']} | {row['case']} | {' | '.join(values)} |")


if __name__ == "__main__":
    main()
