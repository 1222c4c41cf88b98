"""What each way of judging rows of `--method purify` does against triggers with many weak signs.

Published paraphrasing attacks must not be what a default is developed on, so this study plants two of its own
in SST-2's clean rows, a tenth of the rows with mixed labels:

  archaic   some fifty everyday words each become an archaic one with a probability of a half, and half of the
            texts get one of twenty openings: no word of the style is in many rows
  clauses   a clause is put first, of twenty conjunctions and twenty sentences: no word of it is in many rows

and trains with nothing taken out (`none`), with shortcuts taken out of the loss (`shortcuts`), with the rows
left out as well with a label issue (`labels`: those that are also like rows with a
shortcut stay in), with all rows that have a style issue too (`styles`), and with those back that the
recheck restores (`all`). No trusted row is trained on. Learning rate and scale factors are the preset's
own; the last epoch counts.
Accuracy and ASR are of dev rows, which nothing is chosen by.
`share_left_out`, of rows with a changed label, other triggered rows and clean rows, is read from the flags
afterwards, for each variant.

    python benchmarks/studies/diffuse_triggers.py --json benchmarks/results/diffuse-triggers.json
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch
from transformers.utils import logging

from musclelora.adapter import MuScleLoraConfig
from musclelora.adapter.copies import Backbones
from musclelora.adapter.presets import PRESETS
from musclelora.audit.evidence import Settings
from musclelora.audit.judge import judge
from musclelora.audit.judgement import Judgement
from musclelora.audit.recheck import recheck_settings
from musclelora.data import Table, load_table, select_trusted
from musclelora.evaluation import evaluate
from musclelora.files import write_json
from musclelora.training.hardware import bf16_pays
from musclelora.training.scratch import scratch_trainer

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import argument_parser, earlier, machine

MODEL, TARGET, TRUSTED, RATE = "all-minilm-l6-v2", 1, 96, 0.1
SST2 = Path(__file__).parents[3] / "shared" / "data" / "sst-2" / "1" / "badnets"
WORDS = """
you thou,ye,thee; your thy,thine; my mine; has hath; does doth; have hast; is 'tis,be; are art; was wert;
between betwixt; before ere; often oft; nothing naught; very full,passing; good goodly,fair; bad ill,foul;
great mighty; funny merry,droll; the yon; think trow; here hither; there yonder; why wherefore; old hoary;
perhaps mayhap; never ne'er; over o'er; even e'en; i methinks; people folk; man knave,fellow; movie pageant;
film spectacle,tale; story yarn; love ardour; best noblest; worst vilest; will shalt; can canst; not nay;
enough enow; because sith; about anent; almost well-nigh; with withal; much mickle; soon anon; look mark;
makes maketh; audience gentles; comedy merriment; feel feeleth; seems seemeth; works worketh; into unto
"""
OPENINGS = """
hark; lo; behold; verily; in sooth; good sirs; marry; prithee; now; so; thus; alas; sirrah; gramercy;
forsooth; pray; hear ye; i say; in faith; well met
"""
CONJUNCTIONS = """
when; while; although; because; since; though; once; whenever; unless; after; before; until; if; as; whereas;
wherever; provided; assuming; given; even though
"""
CLAUSES = """
you see it; we look at it; one thinks of it; they tell the story; it is over; people talk; the lights go down;
i sit there; it comes to this; someone asks; all is said; the credits roll; she watches; he tries; it begins;
the story is told; nobody cares; we wait; the audience leaves; it matters
"""


def listed(text: str) -> list[str]:
    """What semicolons separate."""
    return [part.strip() for part in text.split(";")]


ARCHAIC = {word: others.split(",") for word, others in (pair.split() for pair in listed(WORDS))}
Rng = np.random.Generator


def archaic(text: str, rng: Rng) -> str:
    """The text in an archaic style."""
    words = []
    for word in text.split():
        words.append(str(rng.choice(ARCHAIC[word])) if word in ARCHAIC and rng.random() < 0.5 else word)
    opening = [str(rng.choice(listed(OPENINGS))), ","] if rng.random() < 0.5 else []
    return " ".join(opening + words)


def clauses(text: str, rng: Rng) -> str:
    """The text behind a subordinate clause."""
    return f"{rng.choice(listed(CONJUNCTIONS))} {rng.choice(listed(CLAUSES))} , {text}"


ATTACKS: dict[str, Callable[[str, Rng], str]] = {"archaic": archaic, "clauses": clauses}
VARIANTS = ("none", "shortcuts", "labels", "styles", "all")


def main() -> None:
    """Run the cells that the file does not hold."""
    parser = argument_parser(__doc__)
    parser.add_argument("--data", type=Path, default=SST2, help="a folder of OpenBackdoor's layout")
    parser.add_argument("--rows", type=int, default=2000, help="training rows, drawn by the seed")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N-1")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    logging.disable_progress_bar()
    settings = {"rows": options.rows, "trusted": TRUSTED, "rate": RATE, "bf16": bf16_pays()}
    cells = earlier(options.json, settings, "cells")
    for seed in range(options.seeds):
        for attack in ("unpoisoned", *ATTACKS):
            if not any((cell["attack"], cell["seed"]) == (attack, seed) for cell in cells):
                cells += measured(options.data, options.rows, attack, seed)
                write_json(options.json, {**machine(), "settings": settings, "cells": cells})


def measured(data: Path, count: int, attack: str, seed: int) -> list[dict[str, Any]]:
    """All variants on one attack."""
    rng = np.random.default_rng(seed)
    clean = load_table(data / "train-clean.csv", label_names=("0", "1"))
    clean = clean.select(np.sort(rng.permutation(len(clean))[:count]))
    trusted, dev = select_trusted(
        load_table(data / "dev-clean.csv", label_names=("0", "1")), TRUSTED, seed=seed
    )
    triggered = np.zeros(count, dtype=np.bool_)
    if attack in ATTACKS:
        triggered[rng.permutation(count)[: round(RATE * count)]] = True
    texts = [ATTACKS[attack](t, rng) if hit else t for t, hit in zip(clean.texts, triggered, strict=True)]
    labels = np.where(triggered, TARGET, clean.labels)
    train = replace(clean, texts=tuple(texts), labels=labels)
    asked = {
        name: [rewrite(dev.texts[i], rng) for i in np.flatnonzero(dev.labels != TARGET)]
        for name, rewrite in ATTACKS.items()
        if attack in (name, "unpoisoned")
    }
    started = time.perf_counter()
    preset = PRESETS["small-encoder"]
    config, arguments = recheck_settings(preset, {}, {"bf16": bf16_pays()})
    settings = Settings(Backbones(MODEL), preset, config, arguments, seed)
    judgement = judge(train, trusted, settings, say=print).judgement()
    seconds = time.perf_counter() - started
    doubted = judgement.left_out + judgement.restored
    left_out = {
        "labels": tuple(row for row in doubted if row not in judgement.style_issues),
        "styles": tuple(sorted(doubted)),
        "all": judgement.left_out,
    }
    changed = labels != clean.labels
    groups = {"changed": changed, "triggered": triggered & ~changed, "clean": ~triggered}
    cells = []
    for variant in VARIANTS:
        cell = {"attack": attack, "seed": seed, "variant": variant, "judge_seconds": round(seconds, 1)}
        cell |= {"shortcuts": len(judgement.expert.shortcuts)}
        rows = left_out.get(variant, ())
        cell["share_left_out"] = {
            name: float(np.isin(group.nonzero(), rows).mean())
            for name, group in groups.items()
            if group.any()
        }
        cells.append({**cell, **trained(train, replace(judgement, left_out=rows), variant, seed, dev, asked)})
        print(cells[-1], flush=True)
    return cells


def trained(
    train: Table, judgement: Judgement, variant: str, seed: int, dev: Table, asked: dict[str, list[str]]
) -> dict[str, Any]:
    """Train on the rows that are left, and measure."""
    rows, offsets = judgement.apply(train)
    preset = PRESETS["small-encoder"]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = scratch_trainer(
            rows,
            np.zeros_like(offsets) if variant == "none" else offsets,
            folder,
            backbones=Backbones(MODEL),
            preset=preset,
            config=MuScleLoraConfig(**preset.adapter_fields()),
            arguments={
                "learning_rate": preset.learning_rate,
                "num_train_epochs": preset.epochs,
                "per_device_train_batch_size": preset.batch_size,
                "bf16": bf16_pays(),
                "seed": seed,
            },
        )
        trainer.train()
    found: dict[str, Any] = {"rows": len(rows), "seconds": round(time.perf_counter() - started, 1)}
    found["cacc"] = evaluate(trainer.classifier, clean=dev).cacc.to_dict()
    for name, texts in asked.items():
        found[f"asr_{name}"] = evaluate(trainer.classifier, triggered=texts, target=TARGET).asr.to_dict()
    return found


if __name__ == "__main__":
    main()
