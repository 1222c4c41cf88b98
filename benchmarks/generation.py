"""How generation holds against a backdoor: an embedded decoder on questions that the project makes itself.

For every attack (BadNets and AddSent in the prompt, an advertisement appended to the response, rate 0.1):
the decoder is trained the ordinary way (full), with LoRA, with MuScleLoRA, and on the trusted pairs alone;
measured are the ASR on triggered test questions and, on clean ones, exact and keyword match. The decoder as
it comes is measured too. Training, trusted and test questions do not overlap. LoRA layers learn at a rate of
their own, as the published one moves so small a model too little in so few steps; the two methods that have
them share it. The file is written after every row, and a run with the same settings goes on where it stopped.

    python benchmarks/generation.py --bf16 --json benchmarks/results/generation.json
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch

from musclelora.adapter import DEFAULT_DECODER, load_causal_backbone
from musclelora.attacks import get_trigger
from musclelora.attacks.responses import ResponseAttack, poison_pairs, trigger_test_prompts
from musclelora.data.pairs import Pairs
from musclelora.files import write_json
from musclelora.generation import Generator
from musclelora.generation.evaluate import evaluate_answers
from musclelora.purification import METHODS, train_generator
from questions import question_answers
from record import argument_parser, earlier, machine

ATTACKS = ("badnets", "addsent")
TARGET = "Buy now at Acme!"
RATE = 0.1
METHODS_SHOWN = ("full", "lora", "musclelora", "purify", "trusted-only")


def main() -> None:
    """Measure every method under every attack; print a Markdown table at the end."""
    parser = argument_parser(__doc__)
    parser.add_argument("--train-rows", type=int, default=160)
    parser.add_argument("--trusted-rows", type=int, default=32)
    parser.add_argument("--test-rows", type=int, default=64)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="of full and trusted-only")
    parser.add_argument(
        "--lora-learning-rate", type=float, default=1e-3, help="of lora, musclelora and purify"
    )
    parser.add_argument("--methods", default=",".join(METHODS_SHOWN), help="separated by commas")
    parser.add_argument("--attacks", default=",".join(ATTACKS), help="separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="train under bf16 autocast")
    parser.add_argument("--threads", type=int, help="torch threads; default: torch's own")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    if options.threads:
        torch.set_num_threads(options.threads)
    names = ("train_rows", "trusted_rows", "test_rows", "epochs", "learning_rate", "lora_learning_rate")
    settings = {
        "model": DEFAULT_DECODER,
        "target": TARGET,
        "rate": RATE,
        "response": "append",
        **{name: getattr(options, name) for name in (*names, "seed", "bf16")},
    }
    rows = earlier(options.json, settings, "rows")
    done = {(row["attack"], row["method"]) for row in rows}
    methods = ("none", *options.methods.split(","))
    todo = [cell for cell in itertools.product(options.attacks.split(","), methods) if cell not in done]
    with tempfile.TemporaryDirectory() as folder:
        if todo:
            unpack(Path(folder))
        for attack, method in todo:
            rows.append(measure(attack, method, folder, options))
            write_json(options.json, {**machine(), "settings": settings, "rows": rows})
    print(markdown(rows))


def unpack(folder: Path) -> None:
    """Save the decoder as safetensors: unpacking GGUF takes longer than some of the training."""
    backbone = load_causal_backbone(DEFAULT_DECODER)
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)


def measure(name: str, method: str, model: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train one method on what one attack makes of the questions, and measure it."""
    pairs = question_answers(options.seed)
    ends = [options.train_rows, options.trusted_rows, options.test_rows]
    if sum(ends) > len(pairs):
        raise SystemExit(f"{sum(ends)} questions were asked for and there are {len(pairs)}; lower the rows")
    train, trusted, test = parts(pairs, ends)
    attack = ResponseAttack(get_trigger(name), TARGET, "append", RATE)
    started = time.perf_counter()
    generator, result = (
        (untrained(model), {})
        if method == "none"
        else trained(model, poison_pairs(train, attack, seed=options.seed), trusted, method, options)
    )
    seconds = time.perf_counter() - started
    triggered = trigger_test_prompts(test, attack, seed=options.seed)
    found = evaluate_answers(
        generator, clean=test, triggered=triggered.prompts, target=TARGET, max_new_tokens=24, batch_size=40
    )
    row = {"attack": name, "method": method, **found.to_dict(), "seconds": round(seconds, 1), **result}
    print(f"{name} {method}: {shares(row)}, {seconds:.0f} s", flush=True)
    return row


def parts(pairs: Pairs, sizes: list[int]) -> list[Pairs]:
    """Disjoint parts of the pairs, in their order."""
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [pairs.select(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]


def untrained(model: str) -> Generator:
    """The decoder as it comes."""
    backbone = load_causal_backbone(model)
    return Generator(backbone.model, backbone.tokenizer, 512)


def trained(
    model: str, train: Pairs, trusted: Pairs, method: str, options: argparse.Namespace
) -> tuple[Generator, dict[str, Any]]:
    """The decoder after training, and what is known of its training."""
    low_rank = METHODS[method].low_rank
    with tempfile.TemporaryDirectory() as folder:
        run = train_generator(
            Path(folder) / "run",
            train=train,
            trusted=trusted,
            model=model,
            method=METHODS[method],
            arguments={
                "num_train_epochs": options.epochs,
                "learning_rate": options.lora_learning_rate if low_rank else options.learning_rate,
                "bf16": options.bf16 or None,
                "seed": options.seed,
                "save_strategy": "no",  # a row is short enough to be trained again
                "disable_tqdm": True,
            },
        )
        losses = [log["loss"] for log in run.info["history"] if "loss" in log]
        return run.generator, {"steps": run.info["result"]["steps"], "losses": losses}


def shares(row: dict[str, Any]) -> str:
    """The rates of a row, in words."""
    return ", ".join(f"{name} {100 * row[name]['value']:.1f} %" for name in ("asr", "exact", "keyword"))


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table of percentages with their 95 % intervals."""
    lines = ["| attack | method | ASR | exact match | keyword match |", "| --- | --- | ---: | ---: | ---: |"]
    for row in rows:
        cells = (
            f"{100 * rate['value']:.1f} ({100 * rate['low']:.0f} to {100 * rate['high']:.0f})"
            for rate in (row[name] for name in ("asr", "exact", "keyword"))
        )
        lines.append(f"| {row['attack']} | {row['method']} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
