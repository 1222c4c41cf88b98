"""What a training step costs: plain LoRA, MuScleLoRA with two passes, and MuScleLoRA as shipped.

Measures seconds per step (forward, backward, alignment, clipping, optimizer) and peak memory on the
embedded encoder, with 32 training and 32 trusted rows of 64 tokens. The variants take turns step by step,
so that a busy machine slows all of them alike; the ratios hold where the absolute times do not. Peak memory
is measured for each variant in a process of its own.

A step must do at least the arithmetic of its rows: a forward pass and the backward pass through the
activations, 4 · P · T floating-point operations for P backbone parameters and T tokens (the adapters' own
share is below 1 %). `lora64` does that for 64 rows and nothing else; `shipped` has the same bound.

    python benchmarks/step_cost.py --json benchmarks/results/step-cost.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

VARIANTS = ("lora32", "lora64", "two_pass", "shipped")
ROWS, TOKENS, CLASSES = 32, 64, 2


def main() -> None:
    """Measure every variant in fp32 and bf16; print a table and write it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=30, help="timed steps of each variant")
    parser.add_argument("--threads", type=int, default=None, help="torch threads; default: torch's own")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--peak", nargs=2, metavar=("VARIANT", "DTYPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(peak(*options.peak)))
        return

    import torch
    import transformers

    from musclelora.files import write_json

    if options.threads:
        torch.set_num_threads(options.threads)
    results: dict[str, Any] = {
        "machine": machine(torch),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"step_cost.py --steps {options.steps}",
        "shape": {"rows": ROWS, "trusted_rows": ROWS, "tokens": TOKENS},
    }
    for dtype in ("fp32", "bf16"):
        seconds = time_in_turns({name: build(name, dtype) for name in VARIANTS}, options.steps)
        results[dtype] = {name: {**seconds[name], "peak_mb": peak_of(name, dtype)} for name in VARIANTS}
        show(dtype, results[dtype])
    if options.json:
        write_json(options.json, results)


def show(dtype: str, rows: dict[str, dict[str, float]]) -> None:
    """Print one dtype's rows, and the ratio that the project promises."""
    print(f"\n{dtype:<10}{'s/step':>10}{'peak MB':>10}{'x lora64':>10}")
    for name, row in rows.items():
        ratio = row["seconds"] / rows["lora64"]["seconds"]
        print(f"{name:<10}{row['seconds']:>10.4f}{row['peak_mb']:>10.0f}{ratio:>10.3f}", flush=True)


def time_in_turns(steps: dict[str, Callable[[], None]], count: int) -> dict[str, dict[str, float]]:
    """Median seconds of each step function, all of them called in turn, in alternating order."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
        step()
    for turn in range(count):
        for name in list(steps) if turn % 2 else list(steps)[::-1]:
            started = time.perf_counter()
            steps[name]()
            taken[name].append(time.perf_counter() - started)
    return {
        name: {"seconds": statistics.median(values), "fastest": min(values), "steps": count}
        for name, values in taken.items()
    }


def build(variant: str, dtype: str) -> Callable[[], None]:
    """A function that does one optimizer step of the variant, through the real trainer."""
    import numpy as np
    import torch
    from transformers import PrinterCallback

    from musclelora.adapter import MuScleLoraConfig
    from musclelora.data import Table
    from musclelora.training import MuScleTrainer, MuScleTrainingArguments

    rng = np.random.default_rng(0)
    words = ["the", "film", "is", "a", "good", "bad", "long", "short", "story", "of", "one", "man"]
    texts = tuple(" ".join(rng.choice(words, TOKENS)) for _ in range(2 * ROWS))
    labels = np.arange(2 * ROWS, dtype=np.int64) % CLASSES
    table = Table(texts, labels, tuple(map(str, range(CLASSES))))
    aligned = variant in ("two_pass", "shipped")
    rows = 2 * ROWS if variant == "lora64" else ROWS
    trainer = MuScleTrainer(
        args=MuScleTrainingArguments(
            output_dir=tempfile.mkdtemp(),
            alignment=aligned,
            gradient_passes="two" if variant == "two_pass" else "auto",
            per_device_train_batch_size=rows,
            num_train_epochs=1,
            max_length=TOKENS,
            bf16=dtype == "bf16",
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=table.select(np.arange(rows)),
        trusted_dataset=table.select(np.arange(ROWS, 2 * ROWS)) if aligned else None,
        peft_config=MuScleLoraConfig(**({} if aligned else {"scale_factors": []})),
    )
    trainer.pop_callback(PrinterCallback)
    trainer.create_optimizer_and_scheduler(1000)
    model, optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
    trainer.model_wrapped, trainer.optimizer = model, optimizer
    trainer.current_gradient_accumulation_steps = 1
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(rows)])

    def step() -> None:
        trainer.training_step(model, dict(batch))
        trainer.accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        trainer.state.global_step += 1
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return step


def peak(variant: str, dtype: str) -> float:
    """Peak memory of three steps in MB: of the device where there is one, else of this process."""
    import torch

    step = build(variant, dtype)
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


def peak_of(variant: str, dtype: str) -> float:
    """:func:`peak` in a process of its own."""
    command = [sys.executable, __file__, "--peak", variant, dtype]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def machine(torch: Any) -> str:
    """The accelerator, or the processor and its threads."""
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


if __name__ == "__main__":
    main()
