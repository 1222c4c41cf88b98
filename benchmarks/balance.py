"""Do the default settings win without knowing the attack? SST-2's four published attacks, and BBC news.

What `musclelora train` does by default (purify) beside the oracle and training on the trusted rows
alone, all with the embedded encoder, 96 trusted rows and nothing that reads a poison flag but the ASR:

  sst-2       badnets (clean labels), addsent, synbkd and stylebkd (mixed), a tenth of the rows poisoned, as
              published, and the unpoisoned rows; `--rows` takes a part of them, for all of the methods. The
              published style has capital letters, which SST-2 has not: it is there in lower case as well
  bbc-news    the demo's 512 articles: addsent and badnets, dirty and mixed at 10 %, mixed at 1, 5, 20, 40 %

Every cell is written as it ends, and a second start goes on. With `--workers 2` two cells train
at a time, each on half of the processors, which is faster than one after the other on all of them. `asked`
holds what the table must show, and whether it does; means are over seeds.

    python benchmarks/balance.py --seeds 3 --json benchmarks/results/balance.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch
from transformers.utils import logging

from musclelora.attacks import get_trigger, poison, trigger_test_set
from musclelora.data import Table, bbc_news, load_table, select_trusted, stratified_split
from musclelora.evaluation import evaluate
from musclelora.files import write_json
from musclelora.purification import METHODS, train_classifier
from musclelora.purification.auto import REPEATS
from musclelora.training.hardware import bf16_pays
from record import argument_parser, earlier, machine

ROOT = Path(__file__).parents[1]
SST2_TARGET, TRUSTED = 1, 96
BBC_TARGET, BBC_WORDS, BBC_ROWS, BBC_TEST_ROWS, MAX_LENGTH = "business", 40, 512, 500, 64
ATTACKS = {"badnets": "clean", "addsent": "mix", "synbkd": "mix", "stylebkd": "mix"}
LOWER_CASE = {"stylebkd in lower case": "stylebkd"}
BBC_ATTACKS = ("addsent", "badnets")
BBC = {
    f"{attack} {mode} {rate:g}": (attack, mode, rate)
    for attack in BBC_ATTACKS
    for mode, rate in [("dirty", 0.1), ("mix", 0.1), ("mix", 0.01), ("mix", 0.05), ("mix", 0.2), ("mix", 0.4)]
}
Job = tuple[str, int, str, str]
"""Data set, seed, case and method."""
BASELINES = [("any", "oracle"), ("any", "trusted-only")]
CASES = {
    "sst-2": BASELINES + [(case, "purify") for case in (*ATTACKS, *LOWER_CASE, "unpoisoned")],
    "bbc-news": BASELINES + [(case, "purify") for case in BBC],
}
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
    parser.add_argument("--workers", type=int, default=1, help="cells at a time; they share the processors")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    if options.workers < 1:
        parser.error(f"--workers: found {options.workers}, expected at least 1")
    settings = {"rows": options.rows, "test_rows": options.test_rows, "trusted": TRUSTED}
    settings["trusted_repeats"] = REPEATS
    cells = earlier(options.json, settings, "cells")
    kept = {}  # what a person wrote of a file that was made in parts
    if cells and "provenance" in (before := json.loads(options.json.read_text())):
        kept["provenance"] = before["provenance"]
    done = {(c["data"], c["seed"], c["case"], c["method"]) for c in cells}
    missing = [
        (part, seed, case, method)
        for part in options.parts.split(",")
        for seed in range(options.seeds)
        for case, method in CASES[part]
        if (part, seed, case, method) not in done
    ]
    for job, measured in trained_side_by_side(options, missing):
        part, seed, case, method = job
        cells.append({"data": part, "seed": seed, "case": case, "method": method, **measured})
        show(cells[-1])
        found = {"settings": settings, "asked": asked(cells), "cells": in_order(cells)}
        write_json(options.json, {**machine(), **kept, **found})
    print_table(in_order(cells))
    for line, value in asked(cells).items():
        print(f"{line}: {value}")


def trained_side_by_side(
    options: argparse.Namespace, missing: Sequence[Job]
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Cells as they end. When one fails no other is begun; those that train end first, then it is said."""
    # A process takes its number of threads from the environment, which it gets from this one.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.workers)))
    waiting, failed = deque(missing), dict[Job, BaseException]()
    options.bf16 = bool(missing) and bf16_pays()  # decided once: beside others a trial would say little
    with ProcessPoolExecutor(options.workers, get_context("spawn"), initializer=prepare) as pool:
        running: dict[Future[dict[str, Any]], Job] = {}
        while running or (waiting and not failed):
            while waiting and not failed and len(running) < options.workers:
                job = waiting.popleft()
                running[pool.submit(measured_cell, options, *job)] = job
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job, error = running.pop(future), future.exception()
                if error is None:
                    yield job, future.result()
                else:
                    failed[job] = error
    for job, error in failed.items():
        raise RuntimeError(f"{', '.join(map(str, job))}: {error}") from error


def prepare() -> None:
    """A process that trains: quick with the smallest numbers, and quiet."""
    torch.set_flush_denormal(True)
    logging.disable_progress_bar()


def measured_cell(
    options: argparse.Namespace, part: str, seed: int, case: str, method: str
) -> dict[str, Any]:
    """Train and measure one cell."""
    return {"sst-2": sst2, "bbc-news": bbc}[part](options, seed, case, method)


def in_order(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cells as a reader looks for them, however they ended: by data set, seed and case."""

    def place(cell: dict[str, Any]) -> tuple[int, int, int]:
        part = cell["data"]
        return list(CASES).index(part), cell["seed"], CASES[part].index((cell["case"], cell["method"]))

    return sorted(cells, key=place)


def sst2(options: argparse.Namespace, seed: int, case: str, method: str) -> dict[str, Any]:
    """A cell of SST-2."""

    def read(attack: str, split: str, most: int | None = None) -> Table:
        return load_table(options.data / attack / f"{split}.csv", label_names=("0", "1"), max_rows=most)

    test = read("badnets", "test-clean", options.test_rows)
    trusted, _ = select_trusted(read("badnets", "dev-clean"), TRUSTED, seed=seed)
    attack = LOWER_CASE.get(case, case)
    file = f"{ATTACKS[attack]}/0.1/train-poison" if attack in ATTACKS else "train-clean"
    train = read(attack if attack in ATTACKS else "badnets", file)
    order = np.random.default_rng(seed).permutation(len(train))[: options.rows]
    train = trusted if method == "trusted-only" else train.select(np.sort(order))
    if case in LOWER_CASE:
        train = dataclasses.replace(train, texts=tuple(text.lower() for text in train.texts))
    triggered = {
        name: read(name, "test-poison", options.test_rows).texts
        for name in ([attack] if attack in ATTACKS else ATTACKS)
    }
    arguments = {"bf16": options.bf16}
    found = trained(method, train, trusted, seed, arguments, test, triggered, SST2_TARGET)
    return {"attack": attack, **found} if case in LOWER_CASE else found


def bbc(options: argparse.Namespace, seed: int, case: str, method: str) -> dict[str, Any]:
    """A cell of BBC news."""
    train, trusted, test = bbc_split(seed)
    target = test.label_names.index(BBC_TARGET)
    names = list(BBC_ATTACKS)
    arguments: dict[str, Any] = {"max_length": MAX_LENGTH, "bf16": options.bf16}
    if method == "trusted-only":
        train = trusted
    elif method == "oracle":
        arguments |= BBC_ORACLE
    else:
        attack, mode, rate = BBC[case]
        names = [attack]
        train = poison(train, get_trigger(attack), target=target, rate=rate, label_mode=mode, seed=seed)
    triggered = {
        name: trigger_test_set(test, get_trigger(name), target=target, seed=seed).texts for name in names
    }
    found = trained(method, train, trusted, seed, arguments, test, triggered, target)
    return {"attack": names[0], **found} if case in BBC else found


def bbc_split(seed: int) -> tuple[Table, Table, Table]:
    """Training and trusted rows, drawn by `seed`, and test rows, always the same; no text is in two."""
    corpus = bbc_news(words=BBC_WORDS)
    rest, test = stratified_split(corpus, [len(corpus) - BBC_TEST_ROWS, BBC_TEST_ROWS], seed=0)
    tested = set(test.texts)
    first = {text: row for row, text in reversed(list(enumerate(rest.texts))) if text not in tested}
    rest = rest.select(sorted(first.values()))
    train, trusted = stratified_split(rest, [BBC_ROWS, TRUSTED], seed=seed)
    return train, trusted, test


def trained(
    method: str,
    train: Table,
    trusted: Table,
    seed: int,
    arguments: dict[str, Any],
    test: Table,
    triggered: Mapping[str, Sequence[str]],
    target: int,
) -> dict[str, Any]:
    """Train and measure; what purify chose is kept."""
    started = time.perf_counter()
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        run = train_classifier(
            Path(folder) / "run",
            train=train,
            trusted=None if method == "oracle" else trusted,
            method=METHODS["full" if method == "oracle" else method],
            arguments={"seed": seed, "disable_tqdm": True, **arguments},
            say=said.append,
        )
        seconds = time.perf_counter() - started
        info = run.info
        found = {"cacc": evaluate(run.classifier, clean=test).cacc.to_dict()}
        for attack, texts in triggered.items():
            found[attack] = evaluate(run.classifier, triggered=texts, target=target).asr.to_dict()
    automatic = info["auto"]
    chose = automatic and {
        "settings": automatic["chosen"],
        "why": automatic["why"],
        "tried": automatic["tried"],
        "trusted_accuracy": automatic["judgement"]["trusted_accuracy"],
        "left_out": len(automatic["judgement"]["left_out"]),
        "style_issues": len(automatic["judgement"]["style_issues"]),
        "shortcuts": [line.split(maxsplit=1)[1] for line in said if line.startswith(("shortcut ", "signs "))],
        "restored": len(automatic["judgement"]["restored"]),
        "recheck_accuracy": automatic["judgement"]["recheck_accuracy"],
    }
    seconds = round(seconds, 1)
    return {"train_rows": len(train), "bf16": arguments["bf16"], "seconds": seconds, "chose": chose, **found}


def compared(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each data set and case: means over seeds of purify, the oracle and trusted-only."""
    rows = []
    baselines = {(c["data"], c["seed"], c["method"]) for c in cells if c["method"] != "purify"}
    for data, case in dict.fromkeys((c["data"], c["case"]) for c in cells if c["method"] == "purify"):
        ours = [
            c
            for c in cells
            if (c["data"], c["case"]) == (data, case)
            and {(data, c["seed"], name) for _, name in BASELINES} <= baselines
        ]
        if not ours:
            continue
        attack = ours[0].get("attack", case)
        row: dict[str, Any] = {"data": data, "case": case, "seeds": len(ours)}
        for name in ("purify", "oracle", "trusted-only"):
            group = ours if name == "purify" else [_beside(cells, c, name) for c in ours]
            row[name] = {"cacc": 100 * float(np.mean([c["cacc"]["value"] for c in group]))}
            if attack in group[0]:
                row[name]["asr"] = 100 * float(np.mean([c[attack]["value"] for c in group]))
        rows.append(row)
    return rows


def asked(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """What the table must show (in points), and whether it does; None where it is not measured yet."""
    rows = compared(cells)
    sst = [r for r in rows if r["data"] == "sst-2" and "asr" in r["purify"] and r["case"] in ATTACKS]
    excess = [r["purify"]["asr"] - r["oracle"]["asr"] for r in sst]
    whole = len(sst) == len(ATTACKS)
    clean = [r for r in rows if r["case"] == "unpoisoned"]
    lost = [
        r["case"]
        for r in rows
        if r["data"] == "bbc-news"
        and r["purify"]["cacc"] < r["trusted-only"]["cacc"]
        and r["purify"]["asr"] > r["trusted-only"]["asr"]
    ]

    def margin(other: str, sign: int) -> float:
        return min(sign * (r["purify"]["cacc"] - r[other]["cacc"]) for r in sst)

    return {
        "sst-2: excess ASR at most 15 for each attack": max(excess) <= 15 if whole else None,
        "sst-2: mean excess ASR at most 8": float(np.mean(excess)) <= 8 if whole else None,
        "sst-2: CACC at least 5 above trusted-only": margin("trusted-only", 1) >= 5 if whole else None,
        "sst-2: CACC at most 5 below the oracle": margin("oracle", 1) >= -5 if whole else None,
        "sst-2: unpoisoned rows cost at most 3 of CACC": (
            clean[0]["oracle"]["cacc"] - clean[0]["purify"]["cacc"] <= 3 if clean else None
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
        names = ("purify", "trusted-only", "oracle")
        values = [
            f"{row[name][key]:.1f}" if key in row[name] else "" for key in ("cacc", "asr") for name in names
        ]
        print(f"| {row['data']} | {row['case']} | {' | '.join(values)} |")


if __name__ == "__main__":
    main()
