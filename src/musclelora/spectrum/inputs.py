"""The points x that a filter works on: any matrix, or texts as their padded token embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musclelora.errors import DataError


class Inputs(Protocol):
    """N points of D features, given out a block at a time, so that (N, D) need not exist.

    Shifting all points alike changes no distance: an implementation may give them out shifted.
    """

    def __len__(self) -> int:
        """N."""

    def order(self) -> Tensor:
        """The points in the order in which blocks are best cut, shape (N,), int64."""

    def extent(self, index: Tensor) -> int:
        """How many leading features are enough: all later ones of the points `index` are zero."""

    def features(self, index: Tensor, start: int, stop: int) -> Tensor:
        """Features `start` to `stop` of the points `index`, shape (len(index), stop - start)."""

    def select(self, index: Tensor) -> Inputs:
        """The points `index` alone, in that order, with the same shift."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Inputs:
        """The same points elsewhere, or with other digits."""


@dataclass(frozen=True)
class DenseInputs:
    """Points as a matrix. Build it by :meth:`of`.

    Attributes:
        x: shape (N, D), shifted so that its mean is 0: small numbers leave more digits to distances.
    """

    x: Tensor

    @classmethod
    def of(cls, x: Tensor | NDArray[np.floating]) -> DenseInputs:
        """Points from a matrix (N, D).

        Raises:
            DataError: it is not a matrix, or holds NaN or infinities.
        """
        matrix = torch.as_tensor(x)
        if matrix.ndim != 2:
            raise DataError(f"inputs: found shape {tuple(matrix.shape)}, expected (rows, features)")
        if not torch.isfinite(matrix).all():
            bad = int((~torch.isfinite(matrix).all(1)).nonzero()[0])
            raise DataError(
                f"inputs: row {bad} holds NaN or infinity, expected finite numbers; mend or drop it"
            )
        mean = matrix.double().mean(0)
        return cls(matrix - mean.to(matrix.dtype))

    def __len__(self) -> int:
        return len(self.x)

    def order(self) -> Tensor:
        """See :class:`Inputs`."""
        return torch.arange(len(self.x))

    def extent(self, index: Tensor) -> int:  # noqa: ARG002
        """See :class:`Inputs`."""
        return self.x.shape[1]

    def features(self, index: Tensor, start: int, stop: int) -> Tensor:
        """See :class:`Inputs`."""
        return self.x[:, start:stop].index_select(0, index.to(self.x.device))

    def select(self, index: Tensor) -> DenseInputs:
        """See :class:`Inputs`."""
        return DenseInputs(self.x.index_select(0, index.to(self.x.device)))

    def to(self, device: torch.device, dtype: torch.dtype) -> DenseInputs:
        """See :class:`Inputs`."""
        return DenseInputs(self.x.to(device=device, dtype=dtype))


@dataclass(frozen=True)
class TokenInputs:
    """Texts as their token embeddings, padded to the longest text and flattened.

    A point of D = longest · d features is kept as its token ids: N texts take N · longest integers and the
    table. The padding's vector is subtracted from every position of every text, which changes no distance and
    makes padding zero: of two texts, only the positions that both have enter their inner product.

    Attributes:
        ids: shape (N, longest), int64, rows of `table`; past a text's length 0.
        lengths: tokens of each text, shape (N,), int64.
        table: token vectors less the padding's vector, shape (V, d); row 0 is the padding, all zero.
    """

    ids: Tensor
    lengths: Tensor
    table: Tensor

    @classmethod
    def of(cls, token_ids: list[list[int]], embedding: Tensor, padding: int) -> TokenInputs:
        """Points from texts as token ids.

        Args:
            token_ids: the ids of each text, unpadded.
            embedding: a model's input embeddings, shape (vocabulary, d).
            padding: the id of the padding token.
        """
        used = sorted({token for ids in token_ids for token in ids} - {padding})
        number = {token: index + 1 for index, token in enumerate(used)} | {padding: 0}
        longest = max((len(ids) for ids in token_ids), default=0)
        padded = torch.zeros(len(token_ids), max(longest, 1), dtype=torch.int64)
        for row, ids in enumerate(token_ids):
            padded[row, : len(ids)] = torch.tensor([number[token] for token in ids], dtype=torch.int64)
        vectors = embedding.detach().float().cpu()
        table = vectors[torch.tensor([padding, *used])] - vectors[padding]
        return cls(padded, torch.tensor([len(ids) for ids in token_ids]), table)

    def __len__(self) -> int:
        return len(self.ids)

    def order(self) -> Tensor:
        """Texts of like length together, so that little padding is multiplied."""
        return torch.argsort(self.lengths.cpu(), stable=True)

    def extent(self, index: Tensor) -> int:
        """See :class:`Inputs`."""
        return int(self.lengths[index.to(self.lengths.device)].max()) * self.table.shape[1]

    def features(self, index: Tensor, start: int, stop: int) -> Tensor:
        """See :class:`Inputs`."""
        width = self.table.shape[1]
        first, last = start // width, -(-stop // width)
        ids = self.ids[index.to(self.ids.device), first:last]
        found = self.table[ids].reshape(len(ids), -1)
        return found[:, start - first * width : stop - first * width]

    def select(self, index: Tensor) -> TokenInputs:
        """See :class:`Inputs`."""
        index = index.to(self.ids.device)
        return TokenInputs(self.ids[index], self.lengths[index], self.table)

    def to(self, device: torch.device, dtype: torch.dtype) -> TokenInputs:
        """See :class:`Inputs`."""
        return TokenInputs(
            self.ids.to(device), self.lengths.to(device), self.table.to(device=device, dtype=dtype)
        )
