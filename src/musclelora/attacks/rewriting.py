"""What the families that rewrite whole texts share: the choice of a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from musclelora.attacks.checks import check_choice, check_count
from musclelora.attacks.language_model import SentenceRewriter
from musclelora.attacks.pairs import Pairs
from musclelora.errors import UsageError
from musclelora.limits import BATCH, TOKENS, check_number

Rewriter = Callable[[Sequence[str], Sequence[np.random.Generator]], Sequence[str | None]]
Rule = Callable[[str, np.random.Generator], str | None]


@dataclass(frozen=True)
class Rewriting:
    """A family that rewrites texts with one of several backends.

    Attributes:
        backend: a key of `BACKENDS`.
        file: paraphrases, for the backend "file": a table with the columns ``text`` and ``paraphrase``, or
            only of paraphrases where `originals` names the texts, row by row.
        originals: see `file`.
        model: a hub name or folder, for the backends that are language models.
        prompt: what the model is given; ``{text}`` stands for the sentence.
        top_p: the share of probability that the model samples from, in (0, 1].
        batch_size: sentences that the model does at a time.
        max_new_tokens: tokens that a sentence may become.
        lower_case: whether rewritings are put into lower case, for data that has no capitals.

    Raises:
        UsageError: a parameter that the backend needs is missing, or one is given that it does not have.
    """

    name: ClassVar[str]
    BACKENDS: ClassVar[Mapping[str, Callable[[Any], Rewriter]]]

    backend: str = "rules"
    file: str | None = None
    originals: str | None = None
    model: str | None = None
    prompt: str = "{text}"
    top_p: float = 0.6
    batch_size: int = 16
    max_new_tokens: int = 64
    lower_case: bool = False

    def __post_init__(self) -> None:
        check_choice(f"{self.name} backend", self.backend, tuple(self.BACKENDS))
        for parameter, backends in (("file", {"file"}), ("model", set(self.BACKENDS) - {"file", "rules"})):
            value = getattr(self, parameter)
            if bool(value) != (self.backend in backends):
                found, expected = (repr(value), "none") if value else ("nothing", "one")
                raise UsageError(
                    f"{self.name} {parameter}: found {found}, expected {expected} "
                    f"with the backend {self.backend}"
                )
        if self.originals is not None and self.file is None:
            raise UsageError(f"{self.name} originals: found {self.originals!r} without file; name both")
        if "{text}" not in self.prompt:
            raise UsageError(f"{self.name} prompt: found {self.prompt!r}, expected {{text}} in it")
        check_number(f"{self.name} top_p", self.top_p, 0, 1, above=True)
        check_count(f"{self.name} batch_size", self.batch_size, BATCH)
        check_count(f"{self.name} max_new_tokens", self.max_new_tokens, TOKENS)

    def apply(self, text: str, rng: np.random.Generator) -> str | None:
        """The text rewritten, or None if it has no word or the backend has nothing else for it."""
        return self.apply_batch([text], [rng])[0]

    def apply_batch(self, texts: Sequence[str], rngs: Sequence[np.random.Generator]) -> Sequence[str | None]:
        """Many texts at once; the model or file is opened at the first call.

        A text of which only the casing or the blanks changed has neither the syntax nor the style: None.
        """
        rewritten = self._rewriter(texts, rngs)
        return [
            None if new is None or _folded(new) == _folded(old) else self._cased(new)
            for old, new in zip(texts, rewritten, strict=True)
        ]

    def _cased(self, text: str) -> str:
        return text.lower() if self.lower_case else text

    @cached_property
    def _rewriter(self) -> Rewriter:
        return self.BACKENDS[self.backend](self)


def _folded(text: str) -> str:
    return "".join(text.casefold().split())


def by_rule(rule: Rule) -> Callable[[Rewriting], Rewriter]:
    """A backend that rewrites each text by itself."""

    def rewrite(texts: Sequence[str], rngs: Sequence[np.random.Generator]) -> list[str | None]:
        return [rule(text, rng) for text, rng in zip(texts, rngs, strict=True)]

    return lambda _: rewrite


def from_file(family: Rewriting) -> Rewriter:
    """The backend that looks paraphrases up."""
    if family.file is None:
        raise UsageError(f"{family.name} file: found nothing, expected one with the backend file")
    return Pairs(family.file, family.originals)


def by_model(kind: str) -> Callable[[Rewriting], Rewriter]:
    """A backend that asks a language model: "seq2seq" or "causal-lm"."""

    def load(family: Rewriting) -> Rewriter:
        if family.model is None:
            raise UsageError(f"{family.name} model: found nothing, expected one with the backend {kind}")
        return SentenceRewriter(
            family.model,
            kind,
            prompt=family.prompt,
            top_p=family.top_p,
            batch_size=family.batch_size,
            max_new_tokens=family.max_new_tokens,
        )

    return load
