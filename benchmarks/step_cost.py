"""What a training step costs: plain LoRA, and MuScleLoRA with two passes, as shipped, and with a kept t.

Measures seconds per step (forward, backward, alignment, clipping, optimizer) and peak memory on the
embedded encoder, with 32 training and 32 trusted rows of 64 tokens. The variants take turns step by step,
so that a busy machine slows all of them alike; the ratios hold where the absolute times do not. Peak memory
is measured for each variant in a process of its own.

A step must do at least the arithmetic of its rows: a forward pass and the backward pass through the
activations, 4 · P · T floating-point operations for P backbone parameters and T tokens (the adapters' own
share is below 1 %). `lora64` does that for 64 rows and nothing else; `shipped` has the same bound. `every4`
takes the trusted gradient at every fourth step: its bound is 1.25 times that of `lora32`. What is timed of it
are four steps, of which the table has the mean.

    python benchmarks/step_cost.py --json benchmarks/results/step-cost.json
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from record import argument_parser, machine
from steps import Step, build_step, in_own_process, peak_megabytes, processor, time_in_turns

VARIANTS = ("lora32", "lora64", "two_pass", "shipped", "every4")
EVERY = 4
ROWS, TOKENS = 32, 64


def main() -> None:
    """Measure every variant in fp32 and bf16; print a table and write it as JSON."""
    parser = argument_parser(__doc__)
    parser.add_argument("--steps", type=int, default=30, help="timed steps of each variant")
    parser.add_argument("--threads", type=int, default=None, help="torch threads; default: torch's own")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--peak", nargs=2, metavar=("VARIANT", "DTYPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(peak_megabytes(lambda: build(*options.peak))))
        return

    import torch

    from musclelora.files import write_json

    if options.threads:
        torch.set_num_threads(options.threads)
    results: dict[str, Any] = {
        **machine(),
        "machine": processor(),
        "shape": {"rows": ROWS, "trusted_rows": ROWS, "tokens": TOKENS},
    }
    for dtype in ("fp32", "bf16"):
        seconds = time_in_turns(
            {name: build(name, dtype) for name in VARIANTS}, options.steps, {"every4": EVERY}
        )
        results[dtype] = {
            name: {**seconds[name], "peak_mb": in_own_process(["--peak", name, dtype])} for name in VARIANTS
        }
        show(dtype, results[dtype])
    if options.json:
        write_json(options.json, results)


def show(dtype: str, rows: dict[str, dict[str, float]]) -> None:
    """Print one dtype's rows, and the ratio that the project promises."""
    print(f"\n{dtype:<10}{'s/step':>10}{'peak MB':>10}{'x lora32':>10}{'x lora64':>10}")
    for name, row in rows.items():
        ratios = "".join(
            f"{row['seconds'] / rows[other]['seconds']:>10.3f}" for other in ("lora32", "lora64")
        )
        print(f"{name:<10}{row['seconds']:>10.4f}{row['peak_mb']:>10.0f}{ratios}", flush=True)


def build(variant: str, dtype: str) -> Step:
    """A function that does one optimizer step of the variant."""
    from musclelora.adapter import MuScleLoraConfig

    aligned = variant in ("two_pass", "shipped", "every4")
    return build_step(
        2 * ROWS if variant == "lora64" else ROWS,
        ROWS if aligned else 0,
        TOKENS,
        peft=MuScleLoraConfig(**({} if aligned else {"scale_factors": []})),
        gradient_passes="two" if variant == "two_pass" else "auto",
        trusted_every=EVERY if variant == "every4" else 1,
        bf16=dtype == "bf16",
    )


if __name__ == "__main__":
    main()
