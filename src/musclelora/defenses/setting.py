"""What a defender has, and the models trained on it: those that several defences need are trained once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from musclelora.adapter import DEFAULT_MODEL
from musclelora.data.table import Table, fingerprint
from musclelora.data.trusted import check_trusted
from musclelora.errors import DataError, ModelError, OutputError, UsageError
from musclelora.files import write_json
from musclelora.purification import METHODS, Method, Run, train_classifier
from musclelora.purification.run import ADAPTER_FIELDS
from musclelora.state import Count, State, read_state
from musclelora.training import Classifier
from musclelora.training.hardware import peak_memory

VANILLA = METHODS["full"]


class MemoryState(State):
    """What is noted beside a model that is kept."""

    peak_memory: Count


class Setting:
    """A data set that may be poisoned, some trusted rows, a backbone and a seed.

    Poison flags are taken off the training rows, so that no defence can read them.

    Args:
        train: the rows that may be poisoned.
        trusted: rows that were checked.
        model: an embedded model, a hub name or a folder.
        seed: of the training and of whatever a defence draws.
        arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments` for every training.
        full: further ones for the training of the whole backbone, such as its learning rate.
        folder: where models that several defences need, and other things worth keeping, are kept; settings of
            several processes may share it. None: nothing is kept.

    Attributes:
        reused_seconds: the time that the models taken from `folder` took to train.
        waited_seconds: the time spent waiting while another process trained one of them.
        reused_memory: the peak of memory while they were trained, in bytes.
    """

    def __init__(
        self,
        train: Table,
        trusted: Table,
        *,
        model: str = DEFAULT_MODEL,
        seed: int = 0,
        arguments: Mapping[str, Any] | None = None,
        full: Mapping[str, Any] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.train = replace(train, poisoned=None)
        self.trusted = replace(trusted, poisoned=None)
        self.model = model
        self.seed = seed
        self.arguments = dict(arguments or {})
        self.full = dict(full or {})
        self.folder = folder
        self.reused_seconds = 0.0
        self.waited_seconds = 0.0
        self.reused_memory = 0

    def check_trusted_texts(self, defense: str) -> None:
        """Raise :class:`DataError` unless a trusted row has a word, for what `defense` learns from them."""
        if not any(text.split() for text in self.trusted.texts):
            raise DataError(
                f"{self.trusted.source}: no trusted row has a word in it, {defense} needs some; add rows"
            )

    def vanilla(self, rows: Table | None = None, **arguments: Any) -> Classifier:
        """The undefended model, trained on `rows` or on all of the training rows."""
        keep = rows is None and not arguments
        return self.trained(VANILLA, arguments, rows=rows, keep=keep)

    def trained(
        self,
        method: Method,
        settings: Mapping[str, Any] | None = None,
        *,
        rows: Table | None = None,
        keep: bool = False,
        judge: str | None = None,
    ) -> Classifier:
        """A classifier trained by `method`.

        Args:
            method: which levers to pull.
            settings: fields of :class:`~musclelora.adapter.MuScleLoraConfig` and
                :class:`~musclelora.training.MuScleTrainingArguments`; they go before the setting's own.
            rows: the training rows; None: all that there are.
            keep: keep the model in :attr:`folder`, or take it from there.
            judge: what says what rows mean, where the method audits them.
        """
        full = {} if method.low_rank or method.trusted_only else self.full
        chosen = {**self.arguments, **full, **(settings or {}), "seed": self.seed}
        chosen.setdefault("save_strategy", "no")
        train = self.train if rows is None else rows
        if method.trusted_only:  # the other rows have no part in it, so that their poison is no other model
            check_trusted(train, self.trusted)
            train = self.trusted
        wants: dict[str, Any] = {
            "train": train,
            "trusted": self.trusted if method.needs_trusted else None,
            "model": self.model,
            "method": method,
            "adapter": {name: value for name, value in chosen.items() if name in ADAPTER_FIELDS},
            "arguments": {name: value for name, value in chosen.items() if name not in ADAPTER_FIELDS},
            "select_best": "last",
            "confirm": False,  # nobody reads the verdict
            **({} if judge is None else {"judge": judge}),
        }
        with self._place(method, wants, keep) as folder:
            note = folder.with_suffix(".memory.json")
            began = time.perf_counter()
            run = _fitted(folder, wants)
            took = time.perf_counter() - began
            self.reused_seconds += max(0.0, run.info["result"]["seconds"] - took)
            if note.exists():
                kept = read_state(note, MemoryState, OutputError, remedy="delete it, and run the cell again")
                self.reused_memory = max(self.reused_memory, kept["peak_memory"])
            elif keep:
                write_json(note, {"peak_memory": peak_memory()})
            return run.classifier

    @contextlib.contextmanager
    def _place(self, method: Method, wants: Mapping[str, Any], keep: bool) -> Iterator[Path]:
        """The run folder to use; a shared one belongs to one process at a time."""
        if not keep or self.folder is None:
            with tempfile.TemporaryDirectory(prefix="musclelora-") as temporary:
                yield Path(temporary) / "run"
            return
        facts = {
            name: fingerprint(value) if isinstance(value, Table) else value for name, value in wants.items()
        }
        key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()[:16]
        folder = self.folder / f"{method.name}-{key}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        with FileLock(folder.with_suffix(".lock")):
            self.waited_seconds += time.perf_counter() - began
            yield folder


def _fitted(folder: Path, wants: Mapping[str, Any]) -> Run:
    """The run in `folder`, begun anew where what a killed process left there is of no use."""
    if folder.exists():
        with contextlib.suppress(ModelError, OutputError, UsageError):
            return train_classifier(folder, resume=True, **wants)
        shutil.rmtree(folder)
    return train_classifier(folder, resume=True, **wants)
