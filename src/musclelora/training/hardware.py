"""What this machine is good at, and how much of its memory was used."""

from __future__ import annotations

import gc
import sys
import time

import torch


def peak_memory() -> int:
    """The peak so far, in bytes: of the accelerator's memory where there is one, else of the process's own.

    Where the operating system does not say (Windows), it is 0.
    """
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_memory() -> None:
    """Free what a trainer held that is no more: it is a ring, which would hold its model for a while yet."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def bf16_pays() -> bool:
    """Whether this machine multiplies matrices clearly faster in bfloat16 than in float32, by trying it."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    taken = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(1024, 384).to(dtype)
        b = torch.randn(384, 1536).to(dtype)
        times = []
        for _ in range(10):
            started = time.perf_counter()
            torch.mm(a, b)
            times.append(time.perf_counter() - started)
        taken[dtype] = min(times)
    return taken[torch.bfloat16] < 0.6 * taken[torch.float32]
