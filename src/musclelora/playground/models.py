"""The models of a playground: loaded once, and asked one request at a time."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from musclelora.data.chats import Chat, Message
from musclelora.data.messages import listed
from musclelora.data.places import exists
from musclelora.errors import UsageError
from musclelora.generation.generator import Generator
from musclelora.playground.words import Reading, read
from musclelora.purification import load_generation_run, load_run
from musclelora.purification.run import CLASSIFY, GENERATE, read_info, task_of
from musclelora.training.classifier import Classifier

LONGEST: Final = 20_000
"""Characters of a text that is typed."""
TRIGGERS: Final = 12
"""Triggers that have a button."""
UNDEFENDED: Final = "Undefended"
_TITLES: Final = {"purify": "Purified", "full": UNDEFENDED, "trusted-only": "Trusted rows alone"}


@dataclass(frozen=True)
class Side:
    """One of the models.

    Attributes:
        title: what it is, such as "Purified" or "Undefended".
        path: its run folder, as it was named.
        info: what its ``run.json`` holds.
        model: predicts labels, or answers prompts.
    """

    title: str
    path: str
    info: Mapping[str, Any]
    model: Classifier | Generator


@dataclass(frozen=True)
class Playground:
    """One or two models of the same task.

    Attributes:
        sides: the models; the first one is RUN.
        task: ``"classify"`` or ``"generate"``.
        max_new_tokens: tokens of an answer, beyond which it is cut.
    """

    sides: tuple[Side, ...]
    task: str
    max_new_tokens: int = 64
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def generates(self) -> bool:
        """Whether prompts are answered; else texts get labels."""
        return self.task == GENERATE

    @property
    def verdict(self) -> Mapping[str, Any] | None:
        """What the audit of the first model's rows says; None: there was none."""
        return _found(self.sides[0].info)[0]

    @property
    def triggers(self) -> tuple[str, ...]:
        """The first triggers that this audit named, each once; hostile."""
        texts = (str(trigger["text"]) for trigger in _found(self.sides[0].info)[1])
        return tuple(dict.fromkeys(texts))[:TRIGGERS]

    @property
    def advice(self) -> str | None:
        """How to make a model to compare with; None: there is one."""
        if len(self.sides) > 1:
            return None
        if self.sides[0].title == UNDEFENDED:
            return "One model; --against shows another one beside it."
        return f"One model. An undefended one, for --against: {_undefended(self.sides[0])}"

    def read(self, text: str) -> list[Reading]:
        """What each of the classifiers says of a text, and which words matter to it."""
        with self._lock:
            return [read(side.model, text) for side in self.sides if isinstance(side.model, Classifier)]

    def predict(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        """Of each classifier the label of N texts, and its probability."""
        found = []
        with self._lock:
            for side in self.sides:
                assert isinstance(side.model, Classifier)  # noqa: S101  # the task is to classify
                said = side.model.predict(texts)
                names = (side.model.label_names[label] for label in said.labels)
                found.append(list(zip(names, map(float, said.probabilities.max(1)), strict=True)))
        return found

    def answer(self, prompts: Sequence[Chat], *, source: str = "the prompt") -> list[list[str]]:
        """Of each language model the answers to N prompts.

        Raises:
            DataError: a prompt is longer than a model reads; `source` is where the prompts are from.
        """
        with self._lock:
            return [
                side.model.answer(prompts, max_new_tokens=self.max_new_tokens, source=source)
                for side in self.sides
                if isinstance(side.model, Generator)
            ]

    def answer_text(self, prompt: str) -> list[str]:
        """Of each language model the answer to one prompt.

        Raises:
            DataError: it is longer than a model reads.
        """
        return [answers[0] for answers in self.answer([(Message("user", prompt),)])]


def load_playground(
    run: str | os.PathLike[str],
    against: str | os.PathLike[str] | None = None,
    *,
    max_new_tokens: int = 64,
) -> Playground:
    """Load what is played with.

    Args:
        run: a finished run folder.
        against: another one, of the same task and labels, to be seen beside it.
        max_new_tokens: of models that answer prompts: tokens of an answer, beyond which it is cut.

    Raises:
        ModelError: one of the folders holds no finished run of the task, or its model cannot be loaded.
        UsageError: both are the same, or their labels differ.
    """
    folders = [os.fspath(run)] + ([] if against is None else [os.fspath(against)])
    if against is not None and Path(run).resolve() == Path(against).resolve():
        raise UsageError(
            f"--against: found {against}, which is RUN itself; name another run, or leave it out"
        )
    task = task_of(read_info(Path(run)) or {})
    load = load_generation_run if task == GENERATE else load_run
    sides = []
    for folder in folders:
        loaded: Any = load(folder)
        model = loaded.generator if task == GENERATE else loaded.classifier
        sides.append(Side(_title(loaded.info), folder, loaded.info, model))
    if task == CLASSIFY:
        _check_labels(sides)
    return Playground(tuple(sides), task, max_new_tokens)


def _check_labels(sides: Sequence[Side]) -> None:
    """Refuse models whose labels differ; their order may."""
    names = [list(side.info["label_names"]) for side in sides]
    if any(sorted(names[0]) != sorted(others) for others in names[1:]):
        raise UsageError(
            f"--against: found the labels {listed(names[1])}, expected those of {sides[0].path}: "
            f"{listed(names[0])}; name a run of the same data"
        )


def in_order(side: Side, names: Sequence[str], reading: Reading) -> np.ndarray[Any, Any]:
    """The probabilities of a reading, in the order of `names`, which are all of the side's labels."""
    own = list(side.info["label_names"])
    return reading.probabilities[[own.index(name) for name in names]]


def _title(info: Mapping[str, Any]) -> str:
    settings = info["settings"]
    method = str(settings["method"])
    if method == "full" and any(settings["levers"].values()):  # a defence was added to it
        return "Method full, with levers"
    return _TITLES.get(method, f"Method {method}")


def _found(info: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, Sequence[Mapping[str, Any]]]:
    """The verdict and the named triggers of a run's audit."""
    known = info.get("audit") or ((info.get("auto") or {}).get("judgement") or {}).get("found")
    return (known["verdict"], known.get("triggers", ())) if known else (None, ())


def _undefended(side: Side) -> str:
    """The command that trains an undefended model on the same rows."""
    source = str(side.info["data"].get("train", {}).get("source", ""))
    words = [
        *("musclelora", "train", "--method", "full"),
        *(("--task", GENERATE) if task_of(dict(side.info)) == GENERATE else ()),
        *("--train", source if exists(source) else "TRAIN"),
        *("--model", str(side.info["model"]["name"])),
        *("--output", f"{side.path.rstrip(os.sep)}-undefended"),
    ]
    return shlex.join(words)
