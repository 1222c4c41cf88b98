"""Which process of how many this is, as ``torchrun`` and ``accelerate launch`` say in the environment."""

from __future__ import annotations

import os


def process_count() -> int:
    """How many processes this command was started as."""
    return _number("WORLD_SIZE", 1) if "LOCAL_RANK" in os.environ else 1


def process_rank() -> int:
    """Which of them this one is, from 0."""
    return _number("RANK", 0) if "LOCAL_RANK" in os.environ else 0


def is_first_here() -> bool:
    """Whether it is the first process of its machine."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _number(name: str, default: int) -> int:
    """A number of the environment; what is none there was not set by a launcher."""
    value = os.environ.get(name, "")
    return int(value) if value.isascii() and value.isdecimal() else default
