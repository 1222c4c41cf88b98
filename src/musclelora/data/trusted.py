"""The trusted set: choosing its rows, and checking that it suits the training data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclelora.data.messages import bad_data, listed
from musclelora.data.table import Table
from musclelora.errors import DataError, UsageError

Embed = Callable[[Sequence[str]], NDArray[Any]]
"""Texts (N of them) to vectors, shape (N, D)."""


def select_trusted(
    pool: Table, size: int, *, selection: str = "random", seed: int = 0, embed: Embed | None = None
) -> tuple[Table, Table]:
    """Choose the rows to trust from a pool of clean rows.

    A class of the pool that the selection missed gets one row: the first of a seeded permutation, in
    exchange for the last row selected of a class that has more than one.

    Args:
        pool: rows known to be clean.
        size: rows to choose.
        selection: "random" (uniform), or "kmeans" (the row nearest to each of `size` centroids of the
            vectors, as in arXiv 2402.12026).
        seed: the same seed chooses the same rows.
        embed: gives the vectors for "kmeans".

    Returns:
        (trusted, rest): disjoint, together the pool, both in its order.

    Raises:
        DataError: `size` is below the number of classes in the pool or above its rows.
        UsageError: `selection` is unknown, or is "kmeans" without `embed`.
    """
    if selection not in SELECTIONS:
        raise UsageError(
            f"trusted selection {selection!r} is unknown; expected one of {', '.join(SELECTIONS)}; choose one"
        )
    classes = len(np.unique(pool.labels))
    if not classes <= size <= len(pool):
        raise bad_data(
            pool.source,
            f"{size} trusted rows were asked of {len(pool)} rows in {classes} classes",
            f"{classes} (one for each class) to {len(pool)}",
            "change --trusted-size or name a larger pool",
        )
    chosen = SELECTIONS[selection](pool, size, seed, embed)
    chosen = _cover_classes(chosen, pool.labels, _permutation(pool, seed))
    rest = np.setdiff1d(np.arange(len(pool)), chosen)
    return pool.select(np.sort(chosen)), pool.select(rest)


def check_trusted(train: Table, trusted: Table) -> None:
    """Check that the trusted set can guide training on `train`; classes are compared by name.

    Raises:
        DataError: it has no rows, fewer rows than there are classes, a class that the training data
            lacks, or none of a class that they have.
    """
    ours, theirs = _classes(trusted), _classes(train)
    expected = f"at least one row of each class of {train.source} ({listed(theirs)})"
    if not len(trusted):
        raise bad_data(trusted.source, "no trusted rows", expected, "name a trusted set")
    unknown = [name for name in ours if name not in theirs]
    if unknown:
        raise bad_data(
            trusted.source,
            f"trusted rows of classes {listed(unknown)} that the training data lack",
            f"only classes of {train.source} ({listed(theirs)})",
            "mend the labels or drop those rows",
        )
    if len(trusted) < len(theirs):
        raise bad_data(
            trusted.source,
            f"{len(trusted)} trusted rows for {len(theirs)} classes",
            expected,
            "add trusted rows",
        )
    missing = [name for name in theirs if name not in ours]
    if missing:
        raise bad_data(
            trusted.source,
            f"no trusted row of classes {listed(missing)}",
            expected,
            "add trusted rows of them",
        )


def check_same_labels(train: Table, **others: Table | None) -> None:
    """Check that tables mean the same classes by the same numbers.

    Args:
        train: the training rows.
        others: other tables, by what an error should call them.

    Raises:
        UsageError: the label names of one of them are others, or in another order.
    """
    for name, table in others.items():
        if table is not None and table.label_names != train.label_names:
            raise UsageError(
                f"{name}: its labels are {list(table.label_names)}, those of the training rows "
                f"{list(train.label_names)}; load it with label_names=train.label_names"
            )


def check_trainable(table: Table) -> None:
    """Check that a classifier can be trained on `table`.

    Raises:
        DataError: it has no rows, rows of a single class only, or only empty texts.
    """
    classes = _classes(table)
    if len(classes) < 2:
        found = f"a single class ({listed(classes)})" if classes else "no rows"
        raise bad_data(table.source, found, "rows of at least two classes", "check the label column")
    if not any(text.strip() for text in table.texts):
        raise bad_data(
            table.source, "only empty texts", "texts", "name the column that holds them with --text-column"
        )


def overlap(train: Table, trusted: Table) -> NDArray[np.int64]:
    """The indices of trusted rows whose text, less surrounding blanks, is also in the training data.

    The other way round, ``overlap(trusted, train)``, they are those of training rows with a trusted text.

    Returns:
        shape (K,), ascending; empty texts count like any other.
    """
    known = {text.strip() for text in train.texts}
    return np.array([i for i, text in enumerate(trusted.texts) if text.strip() in known], dtype=np.int64)


def _classes(table: Table) -> list[str]:
    """The names of the classes that have rows, by label id."""
    return [table.label_names[label] for label in np.unique(table.labels)]


def _permutation(pool: Table, seed: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64(seed)).permutation(len(pool))


def _random(pool: Table, size: int, seed: int, embed: Embed | None) -> NDArray[np.int64]:  # noqa: ARG001
    return _permutation(pool, seed)[:size]


def _kmeans(pool: Table, size: int, seed: int, embed: Embed | None) -> NDArray[np.int64]:
    if embed is None:
        raise UsageError("trusted selection 'kmeans' got no embed function; expected one; pass embed=")
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    vectors = np.asarray(embed(pool.texts), dtype=np.float64)
    with warnings.catch_warnings():
        # Fewer distinct vectors than clusters: centroids coincide, and the loop below keeps rows distinct.
        warnings.simplefilter("ignore", ConvergenceWarning)
        centroids = KMeans(n_clusters=size, n_init=1, random_state=seed).fit(vectors).cluster_centers_
    free = np.ones(len(pool), dtype=np.bool_)
    chosen = np.empty(size, dtype=np.int64)
    for i, centroid in enumerate(centroids):
        distances = np.linalg.norm(vectors - centroid, axis=1)
        chosen[i] = np.where(free, distances, np.inf).argmin()
        free[chosen[i]] = False
    return chosen


SELECTIONS: dict[str, Callable[[Table, int, int, Embed | None], NDArray[np.int64]]] = {
    "random": _random,
    "kmeans": _kmeans,
}
"""How trusted rows can be chosen: (pool, size, seed, embed) to `size` distinct row numbers."""


def _cover_classes(
    chosen: NDArray[np.int64], labels: NDArray[np.int64], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """`chosen` with one row, the first in `order`, of every class it missed; the size stays."""
    chosen = chosen.copy()
    for label in np.setdiff1d(labels, labels[chosen]):
        counts = np.bincount(labels[chosen], minlength=labels.max() + 1)
        spare = np.flatnonzero(counts[labels[chosen]] > 1)[-1]
        chosen[spare] = order[labels[order] == label][0]
    return chosen


def no_trusted(enough: str = "about 100 rows") -> DataError:
    """What is said where trusted rows are needed and there are none; `enough` is how many, in words."""
    return DataError(
        f"--trusted: no trusted set was given; expected {enough} that were checked; "
        "pass --trusted FILE or --trusted-from FILE"
    )
