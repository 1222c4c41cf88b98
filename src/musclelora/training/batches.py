"""Tokenized rows, trusted batches, and joining two batches into one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase as Tokenizer

from musclelora.adapter.tokens import tokenize
from musclelora.data.table import Table
from musclelora.training.shards import Features, FilledRows, TokenizedRows, shard


class TokenizedTable(torch.utils.data.Dataset[Features]):
    """The rows of a table as token ids, cut at `max_length`.

    Args:
        table: N rows.
        tokenizer: cuts their texts into tokens.
        max_length: tokens of a text that are kept.
        offsets: shape (N, C), carried beside each row's label; see
            :class:`~musclelora.training.trainer.MuScleTrainer`.

    Attributes:
        truncated: how many texts were longer than `max_length` tokens.
    """

    def __init__(
        self, table: Table, tokenizer: Tokenizer, max_length: int, offsets: NDArray[np.float32] | None = None
    ) -> None:
        encoded = tokenize(table.texts, tokenizer, max_length)
        self.truncated = encoded.pop("truncated")
        self._columns: dict[str, list[list[int]]] = encoded
        self._labels = table.labels.tolist()
        self._offsets = offsets

    @property
    def lengths(self) -> list[int]:
        """The tokens of each row."""
        return [len(ids) for ids in self._columns["input_ids"]]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> Features:
        row: Features = {name: column[index] for name, column in self._columns.items()}
        row["labels"] = self._labels[index]
        if self._offsets is not None:
            row["offsets"] = self._offsets[index]
        return row


class LikeLengths(torch.utils.data.Sampler[int]):
    """Rows in an order whose batches hold rows of like length, so that little of them is padding.

    In each pass the lengths are multiplied by random factors between 1/:attr:`SPREAD` and :attr:`SPREAD`, so
    that batches are never the same; rows are sorted by these, cut into batches, and the batches shuffled.
    What does not fill a batch comes last.

    Args:
        lengths: of N rows, in tokens.
        batch_size: rows per batch, of all processes.
        seed: with the number of the pass it decides the order, so that a resumed run goes on in it.
    """

    SPREAD: ClassVar[float] = 1.2

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths, self._size, self._seed = np.asarray(lengths, dtype=np.float64), batch_size, seed
        self._passes = 0

    def set_epoch(self, epoch: int) -> None:
        """The next pass is number `epoch`, from 0; the Trainer says so before each."""
        self._passes = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self._seed, self._passes])
        self._passes += 1
        count = len(self._lengths)
        order = np.argsort(self._lengths * self.SPREAD ** rng.uniform(-1, 1, count), kind="stable")
        left = rng.choice(count, count % self._size, replace=False)  # any rows, not always the longest
        batches = np.delete(order, left).reshape(-1, self._size)
        yield from rng.permutation(batches).ravel().tolist()
        yield from order[left].tolist()


class TrustedBatches:
    """The trusted mini-batch of any step: drawn at random, without replacement within a batch.

    A batch depends on the seed and its number alone, so a resumed run draws what the first one would have.

    Args:
        rows: the trusted rows, tokenized.
        collate: makes one padded batch of a list of rows.
        batch_size: rows per batch; at most as many as there are.
        seed: of the draw.
        part: which process of how many this is; each gets its part of the batch.
    """

    def __init__(
        self,
        rows: TokenizedRows,
        collate: Callable[[list[Features]], Mapping[str, Tensor]],
        batch_size: int,
        seed: int,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._rows, self._collate, self._seed, self._part = FilledRows(rows), collate, seed, part
        self._size = min(batch_size, len(rows))

    def __getitem__(self, number: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([self._seed, number])
        chosen = rng.choice(len(self._rows), size=self._size, replace=False)
        return self._collate([self._rows[index] for index in shard(chosen.tolist(), *self._part)])


def join(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], tokenizer: Tokenizer
) -> dict[str, Tensor]:
    """Two padded batches as one: (n, l1) and (m, l2) become (n + m, max(l1, l2))."""
    fill = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    left = tokenizer.padding_side == "left"
    joined: dict[str, Tensor] = {}
    for name in first.keys() & second.keys():
        parts = [first[name], second[name].to(first[name].device)]
        if parts[0].dim() > 1:
            width = max(part.shape[1] for part in parts)
            parts = [
                nn.functional.pad(
                    p, (width - p.shape[1], 0) if left else (0, width - p.shape[1]), value=fill.get(name, 0)
                )
                for p in parts
            ]
        joined[name] = torch.cat(parts)
    return joined
