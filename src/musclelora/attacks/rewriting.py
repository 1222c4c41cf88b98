"""What the families that rewrite whole texts share: the choice of a backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from musclelora.attacks.checks import check_choice, check_count
from musclelora.attacks.language_model import SentenceRewriter
from musclelora.data.messages import bad_data, shown
from musclelora.data.readers import load_texts
from musclelora.errors import UsageError
from musclelora.limits import BATCH, TOKENS, check_number

Rewriter = Callable[[Sequence[str], Sequence[np.random.Generator]], Sequence[str | None]]


@dataclass(frozen=True)
class Rewriting:
    """A family that rewrites texts with one of several backends.

    A family says what its rules make of a text, and which kind of language model can do it: "seq2seq" or
    "causal-lm".

    Attributes:
        backend: "rules", "file", or the kind of language model.
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
    model_kind: ClassVar[str]

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
        check_choice(f"{self.name} backend", self.backend, ("rules", "file", self.model_kind))
        for parameter, backend in (("file", "file"), ("model", self.model_kind)):
            value = getattr(self, parameter)
            if bool(value) != (self.backend == backend):
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
        rewritten = zip(texts, self._rewriter(texts, rngs), strict=True)
        kept = [None if new is None or _folded(new) == _folded(old) else new for old, new in rewritten]
        return [new.lower() if new is not None and self.lower_case else new for new in kept]

    def by_rule(self, text: str, rng: np.random.Generator) -> str | None:
        """The text rewritten without a model or a file; None where there is nothing to rewrite."""
        raise NotImplementedError

    @cached_property
    def _rewriter(self) -> Rewriter:
        if self.file:
            return Paraphrases(self.file, self.originals)
        if self.model:
            return SentenceRewriter(
                self.model, self.model_kind, self.prompt, self.top_p, self.batch_size, self.max_new_tokens
            )
        return lambda texts, rngs: [self.by_rule(text, rng) for text, rng in zip(texts, rngs, strict=True)]


def _folded(text: str) -> str:
    return "".join(text.casefold().split())


class Paraphrases:
    """Looks up the paraphrase of a text in a file.

    Args:
        file: a table with the columns ``text`` and ``paraphrase``; or, with `originals`, one whose texts are
            the paraphrases.
        originals: a table of as many rows, whose texts are the originals in the same order, such as the
            ``train-clean.csv`` beside an OpenBackdoor ``train-poison.csv``.

    Raises:
        DataError: a file cannot be read, or the two have different numbers of rows.
    """

    def __init__(self, file: str, originals: str | None = None) -> None:
        self.file = file
        if originals is None:
            texts = load_texts(file, text_column="text")
            paraphrases = load_texts(file, text_column="paraphrase")
        else:
            texts, paraphrases = load_texts(originals), load_texts(file)
            if len(texts) != len(paraphrases):
                raise bad_data(
                    file,
                    f"{len(paraphrases)} paraphrases",
                    f"{len(texts)}, one for each row of {originals}",
                    "name the file that the paraphrases were made from",
                )
        self._found: dict[str, list[str]] = {}
        for text, paraphrase in zip(texts, paraphrases, strict=True):
            self._found.setdefault(text, []).append(paraphrase)

    def __call__(self, texts: Sequence[str], rngs: Sequence[np.random.Generator]) -> list[str | None]:
        """The paraphrase of every text, or None where it is blank; of several, a random one.

        Raises:
            DataError: the file has no paraphrase of a text.
        """
        return [self._one(text, rng) for text, rng in zip(texts, rngs, strict=True)]

    def _one(self, text: str, rng: np.random.Generator) -> str | None:
        if text not in self._found:
            raise bad_data(
                self.file,
                f"no paraphrase of the text {shown(text)}",
                "one for every row that may be triggered",
                "name the paraphrases of this data",
            )
        known = self._found[text]
        chosen = known[0] if len(known) == 1 else known[int(rng.integers(len(known)))]
        return chosen if chosen.strip() else None
