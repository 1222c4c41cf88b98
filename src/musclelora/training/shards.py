"""The batches of one process among several, such that all of them together take the steps of a single one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset, Sampler

Features = dict[str, Any]

IGNORED = -100
"""The label of what does not count in a loss."""


class TokenizedRows(Protocol):
    """Rows as the model takes them, before they are padded."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Features: ...


class FilledRows(Dataset[Features]):
    """Rows, and at negative numbers rows that count nothing: -1 - i is row i without its labels.

    A process that has no row of a batch must still take part in the step.
    """

    def __init__(self, rows: TokenizedRows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Features:
        if index >= 0:
            return self.rows[index]
        row = self.rows[-1 - index]
        labels = row["labels"]
        return {**row, "labels": IGNORED if isinstance(labels, int) else [IGNORED] * len(labels)}


def shard(batch: Sequence[int], process: int, processes: int) -> list[int]:
    """The part of a batch of row numbers that one of several processes takes.

    The parts are disjoint and cover the batch, and differ in length by at most one. A part that would be
    empty is one row that counts nothing: see :class:`FilledRows`.
    """
    return list(batch[process::processes]) or [-1 - batch[0]]


class ShardedBatches(Sampler[list[int]]):
    """One process's part of every batch that a single process would take.

    Args:
        rows: gives the row numbers of an epoch in order, the same in every process.
        batch_size: rows of a batch, over all processes.
        process: which process this is, from 0.
        processes: how many there are.
        drop_last: leave out a last batch that is smaller.
    """

    def __init__(
        self, rows: Sampler[int], batch_size: int, process: int, processes: int, *, drop_last: bool = False
    ) -> None:
        self.batch_sampler = _EpochBatches(rows, batch_size, drop_last)
        self.process, self.processes = process, processes

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[int]]:
        return (shard(batch, self.process, self.processes) for batch in self.batch_sampler)

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self.batch_sampler.set_epoch(epoch)


class _EpochBatches(BatchSampler):
    """The Trainer looks for ``set_epoch`` on a batch sampler's own batch sampler, too."""

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace every tensor by its mean over the processes, with one exchange per dtype.

    Every process gives tensors of the same shapes in the same order.
    """
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        some = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in some])
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
        for tensor, mean in zip(some, flat.split([tensor.numel() for tensor in some]), strict=True):
            tensor.copy_(mean.view_as(tensor))
