"""Dividing a table into parts with the class proportions of the whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from musclelora.data.table import Table
from musclelora.errors import DataError


def stratified_split(table: Table, sizes: Sequence[int], *, seed: int) -> tuple[Table, ...]:
    """Draw disjoint tables of exactly the given sizes.

    Each takes its share of every class by the method of largest remainders, from the rows that are left.

    Args:
        table: N rows.
        sizes: rows of each part, at least 1 each and at most N together.
        seed: the same seed draws the same rows.

    Returns:
        One table for each size; its rows are in the order of `table`.

    Raises:
        DataError: a size is below 1, or the sizes exceed the rows.
    """
    if any(size < 1 for size in sizes) or sum(sizes) > len(table):
        raise DataError(
            f"{table.source}: parts of {', '.join(map(str, sizes))} rows were asked of {len(table)} rows; "
            "expected sizes of at least 1 that the rows suffice for; ask for smaller parts"
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    rows = rng.permutation(len(table))
    left = [rows[table.labels[rows] == label] for label in range(table.num_classes)]
    parts = []
    for size in sizes:
        shares = _shares(np.array([len(group) for group in left]), size)
        taken = [group[:share] for group, share in zip(left, shares, strict=True)]
        left = [group[share:] for group, share in zip(left, shares, strict=True)]
        parts.append(table.select(np.sort(np.concatenate(taken))))
    return tuple(parts)


def some_rows(labels: NDArray[np.int64], count: int, *, seed: int) -> NDArray[np.int64]:
    """The numbers of `count` rows drawn at random, ascending, with every label among them.

    Args:
        labels: shape (N,).
        count: how many; all rows where there are no more, and one of each label at least.
        seed: the same seed draws the same rows.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    _, firsts = np.unique(labels[order], return_index=True)
    chosen = np.concatenate([order[firsts], np.delete(order, firsts)])[: max(count, len(firsts))]
    return np.sort(chosen)


def _shares(counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """`size` divided in proportion to `counts`, shape (C,), largest remainders first, then lower classes."""
    shares, remainders = np.divmod(counts * size, counts.sum())
    largest = np.argsort(-remainders, kind="stable")[: size - shares.sum()]
    shares[largest] += 1
    return shares
