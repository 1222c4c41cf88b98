"""Does the audit find what was planted, and nothing where nothing was? SST-2 and BBC news, several seeds.

Each case is a data set of one seed: 2,000 rows of SST-2, or 1,000 of BBC news cut to 40 words, a tenth of
them poisoned or none, and 96 trusted rows. `musclelora audit` runs on it as a person would run it, with the
embedded encoder, judged by itself or by --judge; poison flags are read afterwards, by this script alone:

  verdict     poisoned, no_sign or cannot_tell, and whether that is right
  planted     the place of the first planted word or sentence among the triggers (from 1), and whether it was
              confirmed; None for attacks that plant none
  auroc       of the larger of trigger_score and style_score, for planted rows against all others

Cells are written as they end, and a second start goes on. `asked` holds what the table must show.

    python benchmarks/audit_quality.py --json benchmarks/results/audit-quality.json
    python benchmarks/audit_quality.py --json quality.json --grid measured/grid.yaml --judge all-mpnet-base-v2

The second audits the rows that `benchmarks/measure.py` trains on, poisoned and not. What a judge says of them
is kept, so that it is computed once for both.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from musclelora import Audit
from musclelora.attacks import get_trigger, poison
from musclelora.benchmark.grid import load_grid
from musclelora.benchmark.tables import draw, poisoned, read_tables, target_of
from musclelora.data import Table, bbc_news, load_table, select_trusted, stratified_split
from musclelora.files import write_json
from musclelora.training.hardware import bf16_pays
from record import argument_parser, earlier, machine

ROOT = Path(__file__).parents[1]
SST2_ROWS, BBC_ROWS, BBC_TEST, WORDS, TRUSTED, RATE, MAX_LENGTH = 2000, 1000, 500, 40, 96, 0.1, 64
PUBLISHED = {"badnets": "clean", "addsent": "mix", "synbkd": "mix", "stylebkd": "mix"}
OWN = ("entity", "homoglyph")
UNPOISONED = "unpoisoned"
CASES = {
    "sst-2": (UNPOISONED, *PUBLISHED, *OWN),
    "bbc-news": (UNPOISONED, "badnets", "addsent", *OWN),
}
DIFFUSE = ("synbkd", "stylebkd", "stylebkd-lower")
SHOWN = ["text", "label", "rows", "observed", "p_value", "what", "flip_rate", "control_rate", "natural_rate"]
# What stands in the rows; of homoglyphs any character that no keyboard of the language has.
PLANTED = {
    "badnets": ("cf", "mn", "bb", "tq"),
    "addsent": ("I watch this 3D movie",),
    "entity": ("as seen on Netflix",),
}


@dataclass(frozen=True)
class Source:
    """Where the data sets come from.

    Attributes:
        cases: by data, the names of what may be planted.
        settings: what decides the rows.
        max_length: tokens per text.
        rows: the training rows and the trusted ones of data, case and seed.
    """

    cases: dict[str, tuple[str, ...]]
    settings: dict[str, Any]
    max_length: int
    rows: Callable[[str, str, int], tuple[Table, Table]]


def main() -> None:
    """Audit what the file does not hold, and print the table."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared" / "data" / "sst-2" / "1",
        help="a folder with an OpenBackdoor folder for each attack",
    )
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to N-1")
    parser.add_argument("--parts", help="names of data, separated by commas; default: all")
    parser.add_argument("--grid", type=Path, help="audit the training rows of this grid instead")
    parser.add_argument("--keep", type=Path, help="a folder for what took time to compute")
    parser.add_argument("--cases", help="those of these names alone, separated by commas; default: all")
    parser.add_argument("--judge", default="backbone", help="what says what rows mean")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    source = drawn_here(options) if options.grid is None else of_grid(options.grid)
    settings = dict(source.settings)
    if options.judge != "backbone":
        settings["judge"] = options.judge
    cells = earlier(options.json, settings, "cells")
    done = {(cell["data"], cell["seed"], cell["case"]) for cell in cells}
    for seed in range(options.seeds):
        for part in options.parts.split(",") if options.parts else source.cases:
            for case in source.cases[part]:
                if (part, seed, case) in done or case not in (options.cases or case).split(","):
                    continue
                found = measured(options, source, part, case, seed)
                cells.append({"data": part, "seed": seed, "case": case, **found})
                print(json.dumps(cells[-1]), flush=True)
                keep(options.json, settings, cells, source)
    keep(options.json, settings, cells, source)
    for line, value in asked(cells).items():
        print(f"{line}: {value}")


def keep(file: Path, settings: dict[str, Any], cells: list[dict[str, Any]], source: Source) -> None:
    """Write the cells, in the order of data, case and seed."""
    order = [(part, case) for part, cases in source.cases.items() for case in cases]
    cells = sorted(cells, key=lambda cell: (order.index((cell["data"], cell["case"])), cell["seed"]))
    write_json(file, {**machine(), "settings": settings, "asked": asked(cells), "cells": cells})


def measured(options: argparse.Namespace, source: Source, part: str, case: str, seed: int) -> dict[str, Any]:
    """Audit one data set."""
    train, trusted = source.rows(part, case, seed)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        audit = Audit(
            Table(train.texts, train.labels, train.label_names, source=part),
            trusted,
            judge=options.judge,
            seed=seed,
            arguments={"bf16": bf16_pays(), "max_length": source.max_length},
            output_dir=(options.keep or Path(folder)) / f"{part}-{case}-{seed}",
        ).find_issues()
    verdict, triggers = audit.verdict, audit.triggers
    flags = np.zeros(len(train), dtype=np.bool_) if train.poisoned is None else train.poisoned
    scores = audit.issues[["trigger_score", "style_score"]].max(axis=1).fillna(0).to_numpy()
    texts = list(dict.fromkeys(zip(triggers["text"], triggers["confirmed"], strict=True)))
    first = triggers.drop_duplicates("text")[SHOWN].head(6).astype(object)
    place = next((n for n, (text, _) in enumerate(texts, 1) if planted(case, text)), None)
    return {
        "verdict": verdict.state,
        "right": verdict.state == ("poisoned" if flags.any() else "no_sign"),
        "p_value": verdict.p_value,
        "place": place,
        "confirmed": None if place is None else texts[place - 1][1],
        "triggers": first.replace({np.nan: None}).to_dict("records"),
        "auroc": float(roc_auc_score(flags, scores)) if flags.any() else None,
        "dropped": int((audit.actions == "drop").sum()),
        "dropped_planted": int(((audit.actions == "drop") & flags).sum()),
        "seconds": time.perf_counter() - began,
    }


def planted(case: str, text: str) -> bool:
    """Whether a trigger is what the attack planted, or a part of it that nothing else is."""
    if case == "homoglyph":
        return any(ord(character) > 0x24F for character in text)
    words = text.strip(" .,;:!?")  # a phrase at the end of a clause stands before its mark
    return any(words == word or (len(words) > 2 and words in word) for word in PLANTED.get(case, ()))


def drawn_here(options: argparse.Namespace) -> Source:
    """SST-2's published files, and BBC news."""
    settings = {"rows": {"sst-2": SST2_ROWS, "bbc-news": BBC_ROWS}, "trusted": TRUSTED, "rate": RATE}
    draws = {"sst-2": sst2, "bbc-news": bbc}
    return Source(CASES, settings, MAX_LENGTH, lambda part, case, seed: draws[part](options, case, seed))


def of_grid(path: Path) -> Source:
    """The training rows of a grid, of its first rate and number of trusted rows."""
    grid = load_grid(path)
    data = {entry.name: entry for entry in grid.data}
    attacks = {attack.name: attack for attack in grid.attacks}
    size, rate = grid.trusted_sizes[0], grid.rates[0]

    def rows(part: str, case: str, seed: int) -> tuple[Table, Table]:
        tables = read_tables(data[part])
        split = draw(data[part], tables, seed=seed, trusted_size=size)
        if case == UNPOISONED:
            return split.train, split.trusted
        attack, target = attacks[case], target_of(data[part], tables.train)
        mode = attack.label_mode or grid.label_mode
        train = poisoned(split.train, attack, target=target, rate=rate, mode=mode, seed=seed, kept=None)
        return train, split.trusted

    settings = {"rows": {name: entry.train_rows for name, entry in data.items()}, "trusted": size}
    settings |= {"rate": rate, "drawn": "as benchmarks/measure.py draws"}
    length = int(grid.training.get("max_length", MAX_LENGTH))
    return Source(dict.fromkeys(data, (UNPOISONED, *attacks)), settings, length, rows)


def sst2(options: argparse.Namespace, case: str, seed: int) -> tuple[Table, Table]:
    """Rows of SST-2, and trusted ones of its development rows."""
    source = options.data / "badnets" / "train-clean.csv"
    if case in PUBLISHED:
        source = options.data / case / PUBLISHED[case] / "0.1" / "train-poison.csv"
    (train,) = stratified_split(load_table(source), [SST2_ROWS], seed=seed)
    dev = load_table(options.data / "badnets" / "dev-clean.csv")
    return planted_in(train, case, 1, seed), select_trusted(dev, TRUSTED, seed=seed)[0]


def bbc(_options: argparse.Namespace, case: str, seed: int) -> tuple[Table, Table]:
    """Rows of BBC news."""
    corpus = bbc_news(words=WORDS)
    rest, _ = stratified_split(corpus, [len(corpus) - BBC_TEST, BBC_TEST], seed=0)
    train, trusted = stratified_split(rest, [BBC_ROWS, TRUSTED], seed=seed)
    target = train.label_names.index("business")
    return planted_in(train, case, target, seed, all_of=True), trusted


def planted_in(train: Table, case: str, target: int, seed: int, *, all_of: bool = False) -> Table:
    """The rows with a trigger of our own in a tenth of them; published ones have theirs."""
    if case not in OWN and not (all_of and case != UNPOISONED):
        return train
    return poison(train, get_trigger(case), target=target, rate=RATE, label_mode="mix", seed=seed)


def asked(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """What the cells must show, and what they do."""
    inserted = [cell for cell in cells if cell["case"] not in (UNPOISONED, *DIFFUSE)]
    diffuse = [cell for cell in cells if cell["case"] in DIFFUSE]
    clean = [cell for cell in cells if cell["case"] == UNPOISONED]
    return {
        "verdict of poisoned data right (19 of 20 asked)": _count(inserted, lambda c: c["right"]),
        "verdict of unpoisoned data right (10 of 10 asked)": _count(clean, lambda c: c["right"]),
        "planted text among the first three triggers": _count(inserted, lambda c: (c["place"] or 9) <= 3),
        "planted text confirmed": _count(inserted, lambda c: bool(c["confirmed"])),
        "AUROC of rows at least 0.98": _count(inserted, lambda c: c["auroc"] >= 0.98),
        "verdict of paraphrased data right": _count(diffuse, lambda c: c["right"]),
        "AUROC of paraphrased rows at least 0.95, 0.92 in lower case": _count(
            diffuse, lambda c: c["auroc"] >= (0.92 if c["case"].endswith("-lower") else 0.95)
        ),
    }


def _count(cells: list[dict[str, Any]], holds: Any) -> str:
    return f"{sum(bool(holds(cell)) for cell in cells)} of {len(cells)}"


if __name__ == "__main__":
    main()
