"""How much memory this process has used."""

from __future__ import annotations

import sys

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
