"""How generation holds against a backdoor: an embedded decoder on questions that the project makes itself.

A cell is an attack (its trigger in the prompt, an advertisement appended to the response, rate 0.1), a method
and a seed, which draws the questions too. Measured are the ASR on triggered test questions and, on clean
ones, exact and keyword match; of methods that drop pairs, which share of the planted and of the clean ones
they dropped, and the verdict of the audit. Training, trusted and test questions do not overlap. Methods:

  none         the decoder as it comes
  full, lora, musclelora, purify, trusted-only
               those of `musclelora train --task generate`
  graceful, gradsentry
               the filters, and LoRA on what they leave
  oracle, oracle-lora
               full and lora on unpoisoned pairs

LoRA layers learn at a rate of their own, as the published one moves so small a model too little in so few
steps; the methods that have them share it. Cells are written as they end, and a second start goes on, with
more seeds, methods or attacks as well.

    python benchmarks/generation.py --bf16 --json benchmarks/results/generation-grid.json
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch

from musclelora.adapter import DEFAULT_DECODER, load_causal_backbone
from musclelora.attacks import family_names, get_trigger
from musclelora.attacks.responses import ResponseAttack, poison_pairs, trigger_test_prompts
from musclelora.data.pairs import Pairs
from musclelora.defenses import PAIR_FILTERS, PairSetting, get_pair_filter
from musclelora.files import write_json
from musclelora.generation import Generator
from musclelora.generation.evaluate import evaluate_answers
from musclelora.purification import METHODS, GenerationRun, Method, train_generator
from questions import question_answers
from record import argument_parser, earlier, machine

ATTACKS = ("badnets", "addsent", "composite", "style")
TARGET = "Buy now at Acme!"
RATE = 0.1


@dataclass(frozen=True)
class Way:
    """How the model of a cell comes about.

    Attributes:
        method: how it is trained; None: not at all.
        filter: the filter of pairs that goes before the training; None: there is none.
        poisoned: whether it sees poisoned pairs. If not, one training serves every attack.
    """

    method: Method | None
    filter: str | None = None
    poisoned: bool = True


WAYS = {
    "none": Way(None, poisoned=False),
    **{name: Way(METHODS[name]) for name in ("full", "lora", "musclelora", "purify")},
    "trusted-only": Way(METHODS["trusted-only"], poisoned=False),
    **{name: Way(METHODS["lora"], filter=name) for name in PAIR_FILTERS},
    "oracle": Way(METHODS["full"], poisoned=False),
    "oracle-lora": Way(METHODS["lora"], poisoned=False),
}


def main() -> None:
    """Measure every method under every attack, seed by seed; print a Markdown table at the end."""
    options = parsed()
    torch.set_flush_denormal(True)
    if options.threads:
        torch.set_num_threads(options.threads)
    names = ("train_rows", "trusted_rows", "test_rows", "epochs", "learning_rate", "lora_learning_rate")
    settings = {
        "model": DEFAULT_DECODER,
        "target": TARGET,
        "rate": RATE,
        "response": "append",
        **{name: getattr(options, name) for name in (*names, "bf16")},
    }
    rows = earlier(options.json, settings, "rows")
    done = {(row["attack"], row["method"], row["seed"]) for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        for seed, method in itertools.product(range(options.seeds), options.methods):
            todo = [attack for attack in options.attacks if (attack, method, seed) not in done]
            groups = [[attack] for attack in todo] if WAYS[method].poisoned else [todo]
            for attacks in filter(None, groups):
                for row in measured(attacks, method, seed, unpacked(Path(folder)), options):
                    rows.append(row)
                    write_json(options.json, {**machine(), "settings": settings, "rows": rows})
    asked = itertools.product(options.attacks, options.methods)
    print(markdown(rows, asked))


def parsed() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argument_parser(__doc__)
    parser.add_argument("--train-rows", type=int, default=160)
    parser.add_argument("--trusted-rows", type=int, default=32)
    parser.add_argument("--test-rows", type=int, default=64)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="where the whole model is trained")
    parser.add_argument("--lora-learning-rate", type=float, default=1e-3, help="where LoRA is")
    parser.add_argument("--methods", default=",".join(WAYS), help="separated by commas")
    parser.add_argument("--attacks", default=",".join(ATTACKS), help="separated by commas")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--bf16", action="store_true", help="train under bf16 autocast")
    parser.add_argument("--threads", type=int, help="torch threads; default: torch's own")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    for asked, known in (("methods", WAYS), ("attacks", family_names())):
        names = getattr(options, asked).split(",")
        if unknown := [name for name in names if name not in known]:
            parser.error(f"--{asked}: found {', '.join(unknown)}, expected some of {', '.join(known)}")
        setattr(options, asked, names)
    return options


def unpacked(folder: Path) -> str:
    """The decoder as safetensors: unpacking GGUF takes longer than some of the training."""
    if not any(folder.iterdir()):
        backbone = load_causal_backbone(DEFAULT_DECODER)
        backbone.model.save_pretrained(folder)
        backbone.tokenizer.save_pretrained(folder)
    return str(folder)


def measured(
    attacks: list[str], method: str, seed: int, model: str, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Train one method, on poisoned questions if it is to see them, and measure it under each attack."""
    pairs = question_answers(seed)
    ends = [options.train_rows, options.trusted_rows, options.test_rows]
    if sum(ends) > len(pairs):
        raise SystemExit(f"{sum(ends)} questions were asked for and there are {len(pairs)}; lower the rows")
    train, trusted, test = parts(pairs, ends)
    known = {name: ResponseAttack(get_trigger(name), TARGET, "append", RATE) for name in attacks}
    way = WAYS[method]
    if way.poisoned:
        train = poison_pairs(train, known[attacks[0]], seed=seed)
    started = time.perf_counter()
    generator, result = (
        (untrained(model), {})
        if way.method is None
        else trained(model, train, trusted, way, training(way.method, seed, options))
    )
    seconds = time.perf_counter() - started
    for name, attack in known.items():
        triggered = trigger_test_prompts(test, attack, seed=seed)
        found = evaluate_answers(
            generator,
            clean=test,
            triggered=triggered.prompts,
            target=TARGET,
            max_new_tokens=24,
            batch_size=40,
        )
        cell = {"attack": name, "method": method, "seed": seed}
        row = {**cell, **found.to_dict(), "seconds": round(seconds, 1), **result}
        print(f"{name} {method} {seed}: {shares(row)}, {seconds:.0f} s", flush=True)
        yield row


def parts(pairs: Pairs, sizes: list[int]) -> list[Pairs]:
    """Disjoint parts of the pairs, in their order."""
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [pairs.select(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]


def untrained(model: str) -> Generator:
    """The decoder as it comes."""
    backbone = load_causal_backbone(model)
    return Generator(backbone.model, backbone.tokenizer, 512)


def training(method: Method, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of a training."""
    return {
        "num_train_epochs": options.epochs,
        "learning_rate": options.lora_learning_rate if method.low_rank else options.learning_rate,
        "bf16": options.bf16 or None,
        "seed": seed,
        "save_strategy": "no",  # a cell is short enough to be trained again
        "disable_tqdm": True,
    }


def trained(
    model: str, train: Pairs, trusted: Pairs, way: Way, arguments: dict[str, Any]
) -> tuple[Generator, dict[str, Any]]:
    """The decoder after training, and what is known of its training."""
    dropped = None
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        if way.filter is not None:
            chosen = get_pair_filter(way.filter)
            run = chosen.fit(PairSetting(train, trusted, model, arguments), place, method=way.method)
            dropped = chosen.dropped_
        else:
            run = train_generator(
                place, train=train, trusted=trusted, model=model, method=way.method, arguments=arguments
            )
            if run.info["audit"] is not None:
                dropped = np.isin(np.arange(len(train)), run.info["audit"]["left_out"])
        return run.generator, {**of_training(run), **of_dropped(dropped, train)}


def of_training(run: GenerationRun) -> dict[str, Any]:
    """What is known of a run: its steps, its losses, and what an audit found before it."""
    losses = [log["loss"] for log in run.info["history"] if "loss" in log]
    known = {"steps": run.info["result"]["steps"], "losses": losses}
    if (audit := run.info["audit"]) is not None:
        known |= {"verdict": audit["verdict"]["state"], "triggers": audit["triggers"]}
    return known


def of_dropped(dropped: np.ndarray | None, train: Pairs) -> dict[str, float]:
    """The shares of the planted and of the clean pairs that were dropped; nothing where none may be."""
    if dropped is None or train.poisoned is None:
        return {}
    groups = {"planted_dropped": train.poisoned, "clean_dropped": ~train.poisoned}
    return {name: float(dropped[rows].mean()) for name, rows in groups.items() if rows.any()}


def shares(row: dict[str, Any]) -> str:
    """The rates of a row, in words."""
    said = [f"{name} {100 * row[name]['value']:.1f} %" for name in ("asr", "exact", "keyword")]
    said += [
        f"{name} {100 * row[name]:.1f} %" for name in ("planted_dropped", "clean_dropped") if name in row
    ]
    return ", ".join([*said, *([row["verdict"]] if "verdict" in row else [])])


def markdown(rows: list[dict[str, Any]], asked: Iterable[tuple[str, str]]) -> str:
    """A table of percentages: means over the seeds, with the least and the most."""
    lines = [
        "| attack | method | seeds | ASR | exact match | planted dropped | clean dropped | verdict |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for attack, method in asked:
        cells = [row for row in rows if (row["attack"], row["method"]) == (attack, method)]
        rates = [over_seeds([row[name]["value"] for row in cells]) for name in ("asr", "exact")]
        rates += [
            over_seeds([row[name] for row in cells if name in row])
            for name in ("planted_dropped", "clean_dropped")
        ]
        verdicts = Counter(row["verdict"] for row in cells if "verdict" in row)
        said = ", ".join(f"{state} {count}" for state, count in verdicts.items())
        lines.append(f"| {attack} | {method} | {len(cells)} | {' | '.join(rates)} | {said} |")
    return "\n".join(lines)


def over_seeds(values: list[float]) -> str:
    """The mean of shares and, of several, their range, in per cent; nothing of none."""
    if not values:
        return ""
    span = f" ({100 * min(values):.0f} to {100 * max(values):.0f})" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{span}"


if __name__ == "__main__":
    main()
