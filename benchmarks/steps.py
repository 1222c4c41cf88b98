"""What the benchmarks of a training step share: one optimizer step of the real trainer, timed and weighed."""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from musclelora.data import Table

CLASSES = 2
WORDS = ("the", "film", "is", "a", "good", "bad", "long", "short", "story", "of", "one", "man")

Step = Callable[[], None]


def random_table(rows: int, tokens: int) -> Table:
    """Texts of so many words, and labels that mean nothing."""
    rng = np.random.default_rng(0)
    texts = tuple(" ".join(rng.choice(WORDS, tokens)) for _ in range(rows))
    labels = np.arange(rows, dtype=np.int64) % CLASSES
    return Table(texts, labels, tuple(map(str, range(CLASSES))))


def build_step(
    rows: int, trusted_rows: int, tokens: int, *, model: Any = None, peft: Any = None, **arguments: Any
) -> Step:
    """A function that does one optimizer step, through the real trainer.

    Args:
        rows: training rows of the step.
        trusted_rows: trusted rows that gradients are aligned to; 0: none are.
        tokens: of each row.
        model: what the trainer takes; None: its default.
        peft: the adapter's configuration.
        **arguments: fields of the training arguments.
    """
    import torch
    from transformers import PrinterCallback

    from musclelora.training import MuScleTrainer, MuScleTrainingArguments

    table = random_table(rows + trusted_rows, tokens)
    trainer = MuScleTrainer(
        **({} if model is None else {"model": model}),
        args=MuScleTrainingArguments(
            output_dir=tempfile.mkdtemp(),
            alignment=bool(trusted_rows),
            per_device_train_batch_size=rows,
            trusted_batch_size=trusted_rows or None,
            num_train_epochs=1,
            max_length=tokens,
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **arguments,
        ),
        train_dataset=table.select(np.arange(rows)),
        trusted_dataset=table.select(np.arange(rows, rows + trusted_rows)) if trusted_rows else None,
        peft_config=peft,
    )
    trainer.pop_callback(PrinterCallback)
    trainer.create_optimizer_and_scheduler(1000)
    prepared, optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
    trainer.model_wrapped, trainer.optimizer = prepared, optimizer
    trainer.current_gradient_accumulation_steps = 1
    if trainer.args.activation_checkpointing:
        trainer.model.gradient_checkpointing_enable({"use_reentrant": False})
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(rows)])

    def step() -> None:
        trainer.training_step(prepared, dict(batch))
        trainer.accelerator.clip_grad_norm_(prepared.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        trainer.state.global_step += 1
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return step


def time_in_turns(
    steps: dict[str, Step], count: int, cycles: Mapping[str, int] | None = None
) -> dict[str, dict[str, float]]:
    """Median seconds of each step function, all of them called in turn, in alternating order.

    Args:
        steps: what to time.
        count: how often.
        cycles: of those whose steps differ, how many to time together; the time of one is their mean.
    """
    together = {name: (cycles or {}).get(name, 1) for name in steps}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for name, step in steps.items():
        for _ in range(2 * together[name]):
            step()
    for turn in range(count):
        for name in list(steps) if turn % 2 else list(steps)[::-1]:
            started = time.perf_counter()
            for _ in range(together[name]):
                steps[name]()
            taken[name].append((time.perf_counter() - started) / together[name])
    return {
        name: {"seconds": statistics.median(values), "fastest": min(values), "steps": count}
        for name, values in taken.items()
    }


def peak_megabytes(build: Callable[[], Step]) -> float:
    """Peak memory of three steps in MB: of the device where there is one, else of this process."""
    import torch

    step = build()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        step()
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss starts at what the process that started this one had
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def in_own_process(arguments: Sequence[object]) -> Any:
    """What the running script prints last, as JSON, when it is run with these arguments."""
    command = [sys.executable, sys.argv[0], *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def processor() -> str:
    """The accelerator, or the processor and its threads."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    return f"{model}, {torch.get_num_threads()} threads"
