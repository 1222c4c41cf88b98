"""Where the settings for an encoder of BERT-base's size under `purify` come from.

`purify` trains on rows that were judged, without alignment, and so does this: it trains on clean rows with
one learning rate, one list of scale factors and the output layer trained or frozen, and records the accuracy
on held-out rows of the same table after each epoch. Neither a poison flag nor a test row is read. The
published settings (BERT-base's) are the first of the grid.

    python benchmarks/studies/base_encoder.py --json benchmarks/results/base-encoder.json
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from transformers import PrinterCallback

from musclelora.adapter import MuScleLoraConfig
from musclelora.data import Table, bbc_news, load_table, stratified_split
from musclelora.files import write_json
from musclelora.training import MuScleTrainer, MuScleTrainingArguments
from musclelora.training.hardware import bf16_pays

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import argument_parser, machine

ROOT = Path(__file__).parents[2]
SCALES = {"bert-base": [1, 4, 8, 12, 16, 20, 24, 28], "large": [1, 2, 3, 4, 5, 6, 7, 8, 9]}
GRID = [(2e-5, "bert-base", False)]
GRID += [(rate, "bert-base", True) for rate in (3e-4, 1e-3, 1e-4)]
GRID += [(3e-4, "large", True)]
EPOCHS, WORDS, MAX_LENGTH = 4, 40, 64
TRAIN_ROWS, DEV_ROWS, SEED = 1000, 500, 100


def main() -> None:
    """Run what the file does not hold of the grid; it is rewritten after every run."""
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="all-mpnet-base-v2")
    parser.add_argument(
        "--sst-2",
        type=Path,
        default=ROOT.parent / "shared" / "data" / "sst-2" / "1" / "badnets" / "train-clean.csv",
        help="clean training rows; left out where there are none",
    )
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    tables = {"sst-2": options.sst_2, "bbc-news": None} if options.sst_2.exists() else {"bbc-news": None}
    rows: list[dict[str, Any]] = []
    if options.json.exists():
        rows = json.loads(options.json.read_text())["rows"]
    for name, (rate, scales, trained) in itertools.product(tables, GRID):
        row: dict[str, Any] = {
            "model": options.model,
            "data": name,
            "learning_rate": rate,
            "scale_factors": scales,
            "train_output_layer": trained,
        }
        if any(row.items() <= done.items() for done in rows):
            continue
        source = tables[name]
        table = load_table(source) if source else bbc_news(words=WORDS)
        row |= run(table, options.model, rate, SCALES[scales], trained)
        rows.append(row)
        print(row, flush=True)
        facts = {
            "epochs": EPOCHS,
            "train_rows": TRAIN_ROWS,
            "dev_rows": DEV_ROWS,
            "seed": SEED,
            "bf16": bf16_pays(),
        }
        write_json(options.json, {**machine(), **facts, "rows": rows})


def run(table: Table, model: str, rate: float, scales: list[int], trained: bool) -> dict[str, Any]:
    """One training run: accuracy on held-out rows after each epoch."""
    rest = len(table) - TRAIN_ROWS - DEV_ROWS
    train, dev, _ = stratified_split(table, [TRAIN_ROWS, DEV_ROWS, rest], seed=SEED)
    with tempfile.TemporaryDirectory() as folder:
        trainer = MuScleTrainer(
            model,
            MuScleTrainingArguments(
                output_dir=folder,
                learning_rate=rate,
                num_train_epochs=EPOCHS,
                max_length=MAX_LENGTH,
                alignment=False,
                save_strategy="no",
                eval_strategy="epoch",
                logging_steps=8,
                bf16=bf16_pays(),
                seed=SEED,
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=train,
            eval_dataset=dev,
            peft_config=MuScleLoraConfig(scale_factors=scales, train_output_layer=trained),
        )
        trainer.pop_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        said = [log for log in trainer.state.log_history if "eval_accuracy" in log]
        return {
            "dev_accuracy": [round(log["eval_accuracy"], 4) for log in said],
            "dev_loss": [round(log["eval_calibrated_loss"], 4) for log in said],
            "seconds": round(time.perf_counter() - started, 1),
        }


if __name__ == "__main__":
    main()
