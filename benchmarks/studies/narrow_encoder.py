"""Where the preset rule for narrow encoders comes from.

Trains the embedded encoder on poisoned BBC news (the demo's training rows, its test rows left out) under a
grid of learning rates, scale factors and output layers, and records the clean accuracy on held-out rows.
Attack success is not measured here, and no poison flag is read.

    python benchmarks/studies/narrow_encoder.py --seeds 2 --json benchmarks/results/narrow-encoder.json
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from transformers import PrinterCallback

from musclelora.adapter import MuScleLoraConfig
from musclelora.attacks import get_trigger, poison
from musclelora.data import bbc_news, stratified_split
from musclelora.files import write_json
from musclelora.training import MuScleTrainer, MuScleTrainingArguments

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import argument_parser, machine

SCALES = {
    "bert-base": [1, 4, 8, 12, 16, 20, 24, 28],
    "large": [1, 2, 3, 4, 5, 6, 7, 8, 9],
    "decoder": [1, 2, 3, 4],
}
LEARNING_RATES = (1e-3, 2e-3, 3e-3)
EPOCHS = 4
TARGET, RATE = "entertainment", 0.1
WORDS, MAX_LENGTH = 40, 64
TRAIN_ROWS, TRUSTED_ROWS, DEV_ROWS, TEST_ROWS = 512, 96, 300, 500


def main() -> None:
    """Run what the file does not hold of the grid; it is rewritten after every run."""
    parser = argument_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    grid = [(True, rate, scales) for rate, scales in itertools.product(LEARNING_RATES, SCALES)]
    grid += [(False, rate, "bert-base") for rate in LEARNING_RATES]
    rows: list[dict[str, object]] = []
    if options.json.exists():
        rows = json.loads(options.json.read_text())["rows"]
    # Seeds that the demo does not use.
    for seed, (trained, rate, scales) in itertools.product(range(100, 100 + options.seeds), grid):
        row = {"seed": seed, "learning_rate": rate, "scale_factors": scales, "train_output_layer": trained}
        if any(row.items() <= done.items() for done in rows):
            continue
        row |= run(seed, rate, SCALES[scales], trained, options.bf16)
        rows.append(row)
        print(row, flush=True)
        write_json(options.json, {**machine(), "epochs": EPOCHS, "dev_rows": DEV_ROWS, "rows": rows})


def run(seed: int, rate: float, scales: list[int], trained: bool, bf16: bool) -> dict[str, object]:
    """One training run: clean accuracy on held-out rows after each epoch, and the trusted loss at its end."""
    corpus = bbc_news(words=WORDS)
    rest, _ = stratified_split(corpus, [len(corpus) - TEST_ROWS, TEST_ROWS], seed=0)
    train, trusted, dev = stratified_split(rest, [TRAIN_ROWS, TRUSTED_ROWS, DEV_ROWS], seed=seed)
    target = train.label_names.index(TARGET)
    poisoned = poison(train, get_trigger("addsent"), target=target, rate=RATE, label_mode="mix", seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = MuScleTrainer(
            args=MuScleTrainingArguments(
                output_dir=folder,
                learning_rate=rate,
                num_train_epochs=EPOCHS,
                max_length=MAX_LENGTH,
                max_raw_ratio=0.0,
                save_strategy="no",
                eval_strategy="epoch",
                logging_steps=8,
                bf16=bf16,
                seed=seed,
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=poisoned,
            trusted_dataset=trusted,
            eval_dataset=dev,
            peft_config=MuScleLoraConfig(scale_factors=scales, train_output_layer=trained),
        )
        trainer.pop_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        history = trainer.state.log_history
        return {
            "dev_accuracy": [
                round(entry["eval_accuracy"], 4) for entry in history if "eval_accuracy" in entry
            ],
            "trusted_loss": [round(entry["trusted_loss"], 3) for entry in history if "trusted_loss" in entry][
                -1
            ],
            "seconds": round(time.perf_counter() - started, 1),
        }


if __name__ == "__main__":
    main()
