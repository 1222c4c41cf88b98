"""Which process of how many this is, as ``torchrun`` and ``accelerate launch`` say in the environment."""

from __future__ import annotations

import os


def process_count() -> int:
    """How many processes this command was started as."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def process_rank() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ.get("RANK", "0")) if "LOCAL_RANK" in os.environ else 0


def is_first_here() -> bool:
    """Whether it is the first process of its machine."""
    return os.environ.get("LOCAL_RANK", "0") == "0"
