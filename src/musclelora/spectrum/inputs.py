"""The points x that a filter works on: any matrix, or texts as their padded token embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musclelora.errors import DataError


@dataclass(frozen=True)
class Inputs:
    """N points of D features, given out a block at a time, so that (N, D) need not exist.

    A point is some vectors of a table, one after the other, filled up with zeros to D = longest · d features.
    Of two points, only the positions that both have enter their inner product.

    Attributes:
        ids: shape (N, longest), int64, rows of `table`; past a point's length 0.
        lengths: vectors of each point, shape (N,), int64.
        table: shape (V, d); row 0 is all zero.
    """

    ids: Tensor
    lengths: Tensor
    table: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def order(self) -> Tensor:
        """The points as blocks are best cut, (N,), int64: by length, so that few zeros are multiplied."""
        return torch.argsort(self.lengths.cpu(), stable=True)

    def extent(self, index: Tensor) -> int:
        """How many leading features are enough: all later ones of the points `index` are zero."""
        return int(self.lengths[index.to(self.lengths.device)].max()) * self.table.shape[1]

    def features(self, index: Tensor, start: int, stop: int) -> Tensor:
        """Features `start` to `stop` of the points `index`, shape (len(index), stop - start)."""
        width = self.table.shape[1]
        first, last = start // width, -(-stop // width)
        ids = self.ids[index.to(self.ids.device), first:last]
        found = self.table[ids].reshape(len(ids), -1)
        return found[:, start - first * width : stop - first * width]

    def select(self, index: Tensor) -> Inputs:
        """The points `index` alone, in that order."""
        index = index.to(self.ids.device)
        return Inputs(self.ids[index], self.lengths[index], self.table)

    def to(self, device: torch.device, dtype: torch.dtype) -> Inputs:
        """The same points elsewhere, or with other digits."""
        return Inputs(self.ids.to(device), self.lengths.to(device), self.table.to(device=device, dtype=dtype))


class TokenInputs(Inputs):
    """Texts as their token embeddings, padded to the longest text and flattened.

    The padding's vector is subtracted from every position of every text, which changes no distance and makes
    padding zero.
    """

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


class DenseInputs(Inputs):
    """The rows of a matrix, shifted so that their mean is 0: small numbers leave more digits to distances."""

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
        shifted = matrix - matrix.double().mean(0).to(matrix.dtype)
        one_each = torch.ones(len(matrix), dtype=torch.int64)
        table = torch.cat([matrix.new_zeros(1, matrix.shape[1]), shifted])
        return cls(one_each.cumsum(0)[:, None], one_each, table)
