"""The same training runs, by however many processes this script is started as; see test_processes.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from doubtful import doubtful_rows, looked
from tiny_chats import make_pairs, write_decoder
from tiny_runs import make_rows, make_table
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from musclelora.launched import process_count, process_rank
from musclelora.purification import METHODS, train_classifier, train_generator
from musclelora.training.processes import meet, on_first

SETTINGS: dict[str, dict[str, Any]] = {
    "musclelora": {},
    "accumulated": {"arguments": {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}},
    "two passes": {"arguments": {"gradient_passes": "two", "gradient_accumulation_steps": 2}},
    "lora": {
        "method": METHODS["lora"],
        "arguments": {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
    },
    "sharded": {"arguments": {"gradient_accumulation_steps": 2, "activation_checkpointing": True}},
    "sharded lora": {"method": METHODS["lora"]},
    # Adam would move a parameter that has no gradient, such as the bias of attention's keys, by rounding.
    "full": {"method": METHODS["full"], "arguments": {"optim": "sgd", "learning_rate": 0.1}},
    "auto": {"method": METHODS["purify"], "arguments": {"num_train_epochs": 2}},
}
# 45 rows in batches of 8 and 5 trusted rows at a time: neither can be shared evenly.
ARGUMENTS = {
    "num_train_epochs": 4,
    "per_device_train_batch_size": 8,
    "trusted_batch_size": 5,
    "learning_rate": 1e-3,
    "max_raw_ratio": 0.3,
    "mix_from_epoch": 0,
    "min_trusted_loss": 10.0,
    "logging_steps": 2,
    "disable_tqdm": True,
    "use_cpu": True,
}


class Share(TrainerCallback):
    """Keeps what share of the model's parameters this process holds while it trains."""

    def __init__(self) -> None:
        self.held = 1.0

    def on_step_end(self, _args: Any, _state: Any, _control: Any, **kwargs: Any) -> None:
        parameters = list(kwargs["model"].parameters())
        local = sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in parameters)
        self.held = local / sum(p.numel() for p in parameters)


def generate(output: Path) -> None:
    """Train a tiny decoder on pairs whose responses are of different lengths, aligned to trusted ones."""
    folder = output.with_name("decoder")
    decoder = on_first(lambda: folder if folder.exists() else write_decoder(folder))
    train_generator(
        output,
        train=make_pairs(21, seed=0),
        trusted=make_pairs(7, seed=1),
        dev=make_pairs(5, seed=2),
        model=str(decoder),
        arguments={**ARGUMENTS, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
    )


def look(model: str, output: Path) -> None:
    """Keep what each process lets back of rows in doubt, its backbone whole and sharded."""
    meet()
    output.mkdir(parents=True, exist_ok=True)
    for shard in (False, True):
        found = looked(doubtful_rows(), Path(model), shard_backbone=shard and process_count() > 1)
        (output / f"{'sharded' if shard else 'whole'}-{process_rank()}.json").write_text(
            json.dumps(found.to_dict())
        )


def main(model: str, output: str, *names: str) -> None:
    """Train under each of the named settings, in a folder of that name below `output`."""
    for name in names:
        if name == "look":
            look(model, Path(output) / name)
            continue
        if name == "generation":
            generate(Path(output) / name)
            continue
        options = dict(SETTINGS[name])
        share = Share()
        shard = name.startswith("sharded") and process_count() > 1
        train_classifier(
            Path(output) / name,
            train=make_table(make_rows(45, seed=0)),
            trusted=make_table(make_rows(12, seed=1)),
            dev=make_table(make_rows(21, seed=2)),
            model=model,
            **{
                "method": METHODS["musclelora"],
                **options,
                "arguments": {**ARGUMENTS, "shard_backbone": shard, **options.get("arguments", {})},
            },
            callbacks=[share],
        )
        if shard:
            (Path(output) / name / f"share-{process_rank()}").write_text(str(share.held))


if __name__ == "__main__":
    main(*sys.argv[1:])
