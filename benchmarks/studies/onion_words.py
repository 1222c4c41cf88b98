"""Does ONION know which words were inserted? AUROC of its suspicion, over words and over texts.

ONION leaves out words one by one, so its own question is which *words* of a triggered text are the trigger's;
`word_auroc` says how well their suspicion tells them from the text's other words. `text_auroc` asks more:
whether the largest suspicion of a text tells triggered texts from clean ones, which have odd words as well.

    python benchmarks/studies/onion_words.py --json benchmarks/results/onion-words.json
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from musclelora.attacks import get_trigger, trigger_test_set
from musclelora.data import load_table
from musclelora.defenses.perplexity import WordDrops
from musclelora.files import write_json
from musclelora.training.hardware import bf16_pays

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import argument_parser, machine

TARGET = 1
TRIGGERS = {"one rare word": ("cf",), "four rare words": ("cf", "mn", "bb", "tq")}


def main() -> None:
    """Measure both triggers, and print and write what was found."""
    parser = argument_parser(__doc__)
    data = Path(__file__).parents[3] / "shared" / "data" / "sst-2" / "1" / "badnets" / "test-clean.csv"
    parser.add_argument("--data", type=Path, default=data, help="clean rows")
    parser.add_argument("--rows", type=int, default=150, help="rows drawn of them")
    parser.add_argument("--seed", type=int, default=0, help="of the draw and the insertion")
    parser.add_argument("--language-model", default="smollm2-135m-instruct", help="as ONION's")
    parser.add_argument("--json", type=Path, required=True, help="write the results to this file")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    table = load_table(options.data)
    table = table.select(np.sort(np.random.default_rng(options.seed).permutation(len(table))[: options.rows]))
    drops = WordDrops(options.language_model, 128, 64, bf16=bf16_pays(), folder=None)
    clean = drops(table.texts)
    found: dict[str, Any] = {}
    for name, words in TRIGGERS.items():
        trigger = get_trigger("badnets", words=words, count=len(words))
        texts = trigger_test_set(table, trigger, target=TARGET, seed=options.seed).texts
        triggered = drops(texts)
        inserted = [word in words for text in texts for word in text.split()]
        largest = [drop.max(initial=0.0) for drop in (*clean, *triggered)]
        found[name] = {
            "texts": {"clean": len(clean), "triggered": len(triggered)},
            "words": {"inserted": sum(inserted), "others": len(inserted) - sum(inserted)},
            "word_auroc": float(roc_auc_score(inserted, np.concatenate(triggered))),
            "text_auroc": float(roc_auc_score([0] * len(clean) + [1] * len(triggered), largest)),
        }
        print(name, found[name], flush=True)
    settings = {"rows": options.rows, "seed": options.seed, "language_model": options.language_model}
    write_json(options.json, {**machine(), "settings": settings, "triggers": found})


if __name__ == "__main__":
    main()
