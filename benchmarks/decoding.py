"""Tokens a second of batched answers: as shipped, and by one call of `generate` for each batch.

Prompts are those of a file of pairs, the same for both, one after the other in each repetition. Tokens are
those of the answers, without those that end them. Both ways must give the same answers, but for ties that
rounding decides, which are counted.

    python benchmarks/decoding.py FILE --json benchmarks/results/decoding.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musclelora.adapter import load_causal_backbone
from musclelora.data import load_pairs
from musclelora.data.chats import Chat
from musclelora.files import write_json
from musclelora.generation.generator import Generator
from musclelora.generation.rows import ChatFormat
from record import argument_parser, machine

MODEL = "smollm2-135m-instruct"


def main() -> None:
    """Measure, and print tokens a second."""
    parser = argument_parser(__doc__)
    parser.add_argument("pairs", type=Path, help="a file of pairs")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    backbone = load_causal_backbone(options.model)
    generator = Generator(backbone.model, backbone.tokenizer, backbone.model.config.max_position_embeddings)
    prompts = load_pairs(options.pairs).prompts[: options.prompts]
    runs = [measured(generator, prompts, options) for _ in range(options.repeats)]
    ratio = float(np.median([run["plain"]["seconds"] / run["shipped"]["seconds"] for run in runs]))
    print(f"as shipped it is {ratio:.2f} times as fast")
    if options.json:
        asked = {name: value for name, value in vars(options).items() if name not in ("json", "pairs")}
        write_json(options.json, {**machine(), **asked, "speedup": ratio, "runs": runs})


def measured(generator: Generator, prompts: Sequence[Chat], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and tokens of both ways."""
    sizes = {"max_new_tokens": options.max_new_tokens, "batch_size": options.batch_size}
    found: dict[str, Any] = {}
    answers: dict[str, list[str]] = {}
    for name, answer in (("plain", plain_answers), ("shipped", Generator.answer)):
        began = time.perf_counter()
        answers[name] = answer(generator, prompts, **sizes)
        seconds = time.perf_counter() - began
        ids = generator.tokenizer(answers[name], add_special_tokens=False)["input_ids"]
        tokens = sum(map(len, ids))
        found[name] = {"seconds": seconds, "tokens": tokens, "per_second": tokens / seconds}
        print(f"{name:<7} {tokens / seconds:6.1f} tokens/s, answers of {tokens / len(ids):.1f} tokens")
    return {**found, "differ": sum(one != other for one, other in zip(*answers.values(), strict=True))}


@torch.inference_mode()
def plain_answers(
    generator: Generator, prompts: Sequence[Chat], *, max_new_tokens: int, batch_size: int
) -> list[str]:
    """The answers by one call for each batch of prompts of like length."""
    chats, tokenizer = ChatFormat(generator.tokenizer), generator.tokenizer
    encoded = [chats.prompt(prompt, "a prompt") for prompt in prompts]
    answers = [""] * len(encoded)
    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
    generator.model.eval()
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        ids = {"input_ids": [encoded[row] for row in rows]}
        batch = tokenizer.pad(ids, padding_side="left", return_tensors="pt")
        made = generator.model.generate(
            **batch,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=chats.stops,
            pad_token_id=tokenizer.pad_token_id,
        )
        said = tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for row, text in zip(rows, said, strict=True):
            answers[row] = text.strip()
    return answers


if __name__ == "__main__":
    main()
