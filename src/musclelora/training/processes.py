"""One run by several processes: who writes, who speaks, and what they must agree on.

What they do to the file system is done by the first one, which hands the others what it found or decided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env

from musclelora.errors import MuScleLoraError, UsageError
from musclelora.launched import process_count

T = TypeVar("T")


def meet() -> None:
    """Let each of several processes take its device; to be called before anything is loaded onto one.

    Raises:
        UsageError: Accelerate was told to shard by other means than this package's.
    """
    for plugin in ("DeepSpeed", "FSDP"):
        if parse_flag_from_env(f"ACCELERATE_USE_{plugin.upper()}"):
            raise UsageError(not_ddp(plugin))
    if process_count() > 1:
        PartialState(cpu=not torch.accelerator.is_available())


def not_ddp(found: str) -> str:
    """The refusal of what shards or offloads parameters: where gradients are not whole."""
    return (
        f"distributed training: found {found}, expected plain data parallelism (DDP), as both gradients are "
        "needed whole; start it with torchrun, or accelerate launch --multi_gpu, and where the backbone does "
        "not fit one device, add --shard-backbone"
    )


def on_first(action: Callable[[], T]) -> T:
    """What `action` returns in the first process, in every process; all wait for it.

    Args:
        action: called in the first process alone. What it returns is handed to the others.

    Raises:
        MuScleLoraError: what it raised, in every process.
    """
    if process_count() == 1:
        return action()
    state = PartialState(cpu=not torch.accelerator.is_available())
    outcome: list[T | MuScleLoraError | None] = [None]
    if state.is_main_process:
        try:
            outcome = [action()]
        except MuScleLoraError as error:
            outcome = [error]
    broadcast_object_list(outcome)
    (result,) = outcome
    if isinstance(result, MuScleLoraError):
        raise result
    return result  # type: ignore[return-value] # the first process has put it there


def rows_per_process(batch_size: int) -> int:
    """The rows of a batch that each process takes.

    Raises:
        UsageError: they cannot share it evenly.
    """
    processes = process_count()
    if batch_size % processes:
        above = -(-batch_size // processes) * processes
        raise UsageError(
            f"--batch-size: found {batch_size} for {processes} processes, expected a multiple of "
            f"{processes}; give --batch-size {above} or start another number of processes"
        )
    return batch_size // processes
