"""The rows of a cell: read, drawn, poisoned."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from filelock import FileLock

from musclelora.attacks import LabelMode, get_trigger, poison, trigger_test_set
from musclelora.benchmark.schema import CORPORA, FILE_PARAMETERS, Attack, Data
from musclelora.benchmark.store_schema import kept_rows
from musclelora.data import load_table, select_trusted, stratified_split
from musclelora.data.labels import target_id
from musclelora.data.messages import bad_data
from musclelora.data.table import Table, fingerprint
from musclelora.errors import OutputError
from musclelora.evaluation.triggered import load_triggered
from musclelora.files import atomic_file, sha256_of
from musclelora.state import read_state

_MADE_AGAIN: Final = "delete it, and it is made again"


class Tables(NamedTuple):
    """What a grid's data entry names, read."""

    train: Table
    test: Table | None
    trusted: Table | None


class Split(NamedTuple):
    """The rows of one cell; no text is in two of the tables."""

    train: Table
    trusted: Table
    test: Table


def read_tables(data: Data) -> Tables:
    """Read what `data` names; labels are those of the training rows.

    Raises:
        DataError: a table is missing or malformed.
    """
    if data.corpus is not None:
        return Tables(_cut(CORPORA[data.corpus](), data.words), None, None)
    read = functools.partial(load_table, text_column=data.text_column, label_column=data.label_column)
    train = read(str(data.train), split=data.train_split)

    def further(source: str | None, split: str | None) -> Table | None:
        if source is None:
            return None
        return _cut(read(source, split=split, label_names=train.label_names), data.words)

    return Tables(
        _cut(train, data.words),
        further(data.test, data.test_split),
        further(data.trusted, data.trusted_split),
    )


def draw(data: Data, tables: Tables, *, seed: int, trusted_size: int | None) -> Split:
    """The rows of a cell: test rows are the same for every seed, others are drawn by it.

    Of rows with the same text one is kept, in the test rows if it is there. The training rows do not depend
    on `trusted_size`; None draws no trusted rows.

    Raises:
        DataError: there are fewer rows than are asked for.
    """
    base, test = tables.train, tables.test
    if test is None:
        wanted = data.test_rows or 0
        base, test = stratified_split(base, [len(base) - wanted, wanted], seed=0)
    elif data.test_rows is not None:
        (test,) = stratified_split(test, [data.test_rows], seed=0)
    tested = set(test.texts)
    train = base = _once(base, tested)
    if data.train_rows is not None:
        (train,) = stratified_split(base, [data.train_rows], seed=seed)
    pool = _once(base if tables.trusted is None else tables.trusted, tested.union(train.texts))
    if trusted_size is None:
        return Split(train, train.select([]), test)
    trusted, _ = select_trusted(pool, trusted_size, seed=seed)
    return Split(train, trusted, test)


def poisoned(
    train: Table, attack: Attack, *, target: int, rate: float, mode: LabelMode, seed: int, kept: Path | None
) -> Table:
    """The training rows with the trigger in, flags and all; see :func:`musclelora.attacks.poison`."""
    facts = [fingerprint(train), attack_facts(attack), target, rate, mode, seed]

    def make() -> Table:
        trigger = get_trigger(attack.family, **arguments(attack.parameters))
        return poison(train, trigger, target=target, rate=rate, label_mode=mode, seed=seed)

    return _kept(kept, facts, make, train)


def triggered(test: Table, attack: Attack, data: Data, *, target: int, seed: int, kept: Path | None) -> Table:
    """The test rows of other labels with the trigger in.

    Of a table that was made elsewhere, as many rows as there are test rows of other labels are drawn, the
    same for every seed.

    Raises:
        DataError: no row can be triggered.
    """
    if attack.triggered is not None:
        texts = triggered_texts(attack.triggered, data, test.label_names, target)
        others = int((test.labels != target).sum())
        rows = np.sort(np.random.default_rng(0).permutation(len(texts))[:others])
        if not len(rows):
            raise bad_data(attack.triggered, "no rows", "triggered test rows", "name another file")
        return dataclasses.replace(
            test,
            texts=tuple(texts[row] for row in rows),
            labels=np.full(len(rows), target),
            poisoned=np.ones(len(rows), dtype=np.bool_),
            lines=None,
        )
    facts = ["test", fingerprint(test), attack_facts(attack), target, seed]

    def make() -> Table:
        trigger = get_trigger(attack.family, **arguments({**attack.parameters, **attack.test}))
        return trigger_test_set(test, trigger, target=target, seed=seed)

    return _kept(kept, facts, make, test)


def triggered_texts(source: str, data: Data, label_names: tuple[str, ...], target: int) -> tuple[str, ...]:
    """The texts of a table of triggered rows, less rows of the target label that nothing relabelled.

    Raises:
        DataError: it cannot be read, or no row is left.
    """
    return load_triggered(
        source,
        target=target,
        label_names=label_names,
        text_column=data.text_column,
        label_column=data.label_column,
    ).texts


def target_of(data: Data, table: Table) -> int:
    """The id of the target label."""
    return target_id(data.target, table.label_names)


def arguments(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as a trigger's constructor takes them: a list is a tuple there."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}


def attack_facts(attack: Attack) -> dict[str, Any]:
    """What decides an attack's texts: its parameters, with the contents of the files that they name."""

    def contents(parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: _digest(Path(value)) if key in FILE_PARAMETERS else value
            for key, value in parameters.items()
        }

    return {
        "family": attack.family,
        "parameters": contents(attack.parameters),
        "test": contents(attack.test),
        "triggered": attack.triggered and _digest(Path(attack.triggered)),
    }


def digest_of(facts: Any) -> str:
    """SHA-256 of JSON values; what is none counts by its printed form."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()


def _digest(path: Path) -> str:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        return digest_of([(file.name, _digest(file)) for file in files])
    return str(sha256_of(path))


def model_facts(model: str) -> str:
    """What decides a model: its name, or the contents of its folder."""
    return _digest(Path(model)) if os.sep in model and Path(model).is_dir() else model


def _cut(table: Table, words: int | None) -> Table:
    if words is None:
        return table
    return dataclasses.replace(table, texts=tuple(" ".join(text.split()[:words]) for text in table.texts))


def _once(table: Table, without: Collection[str]) -> Table:
    """The first row of every text that is not in `without`."""
    first: dict[str, int] = {}
    for row, text in enumerate(table.texts):
        if text not in without:
            first.setdefault(text, row)
    return table.select(list(first.values()))


def _kept(folder: Path | None, facts: Iterable[Any], make: Callable[[], Table], like: Table) -> Table:
    """The table that `make` gives, made once for all cells that share `folder`."""
    if folder is None:
        return make()
    file = folder / "tables" / f"{digest_of(list(facts))[:32]}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            table = make()
            flags = np.zeros(len(table), dtype=np.bool_) if table.poisoned is None else table.poisoned
            rows = list(zip(table.texts, table.labels.tolist(), flags.tolist(), strict=True))
            with atomic_file(file) as temporary:
                temporary.write_text(json.dumps(rows), encoding="utf-8")
        rows = read_state(file, kept_rows(like.num_classes), OutputError, remedy=_MADE_AGAIN)
    texts, labels, poisoned = zip(*rows, strict=True)
    return dataclasses.replace(
        like,
        texts=tuple(texts),
        labels=np.array(labels, dtype=np.int64),
        poisoned=np.array(poisoned, dtype=np.bool_),
        lines=None,
    )
