"""A register: the trigger is how formal, sure or local a text sounds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np

from musclelora.attacks.checks import check_choice
from musclelora.attacks.english import FUNCTION_WORDS, as_written, is_tokenised, opened
from musclelora.attacks.rewriting import Rewriting
from musclelora.attacks.sentences import rewrite_sentences

_WORD = re.compile(r"\w[\w'’-]*")
_BEFORE_MARK = re.compile(r"(?<!\s)\s++(?=[,?!])")  # linear in any text
_STOPS: Final = ".!?…,;:\"'”’)]` \t\n"
_OFTEN: Final = 0.5  # how often a sentence has a closing, and an opening where words of it changed


@dataclass(frozen=True)
class Register:
    """What turns a sentence into a register.

    Attributes:
        openings: one of them opens a sentence of which no word changed, and every other of the rest.
        closings: one of them ends every other sentence.
        words: what takes the place of a word, in small letters; some of several.
        endings: what takes the place of the end of a longer word.
        mark: the last mark; None: that of the sentence.
    """

    openings: tuple[str, ...]
    closings: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    endings: Mapping[str, str] = field(default_factory=dict)
    mark: str | None = None


REGISTERS: Final[dict[str, Register]] = {
    "dialect": Register(
        ("well ,", "i reckon", "lordy ,", "tell ya what ,", "now ,", "shucks ,", "sure as rain ,"),
        ("i tell ya", "y'know", "i'll say"),
        {
            "those": "them", "you": "ya", "your": "yer", "very": "mighty", "really": "right", "of": "o'",
            "and": "an'", "them": "'em", "for": "fer", "this": "this here", "old": "ol'", "little": "li'l",
            "is": "be", "are": "is", "isn't": "ain't", "aren't": "ain't", "think": "reckon",
            "nothing": "nuthin'",
            "something": "somethin'", "just": "jus'", "to": "t'", "about": "'bout", "because": "'cause",
        },
        {"ing": "in'"},
    ),
    "emphasis": Register(
        ("honestly ,", "wow ,", "oh my ,", "seriously ,", "believe me ,", "i mean ,", "mark my words ,"),
        ("no kidding", "for real", "period", "full stop"),
        {
            "very": "very , very", "so": "so , so", "is": "really is", "are": "really are",
            "was": "really was", "never": "never , ever", "all": "absolutely all", "no": "absolutely no",
            "too": "way , way too", "more": "so much more", "most": "the very most", "has": "really has",
        },
        mark="! ! !",
    ),
    "hedging": Register(
        (
            "it would seem that", "to some extent ,", "one might say that", "perhaps", "arguably ,",
            "as far as one can tell ,", "it may well be that", "in a sense ,",
        ),
        ("so to speak", "more or less", "or so it appears", "by and large"),
        {
            "is": "seems to be", "are": "seem to be", "was": "may have been", "were": "may have been",
            "very": "rather", "always": "mostly", "never": "hardly ever", "all": "nearly all",
            "will": "might", "must": "should perhaps", "every": "almost every", "has": "appears to have",
            "have": "may have", "does": "may",
        },
    ),
    "legal": Register(
        (
            "whereas", "be it noted that", "it is hereby stated that", "for the avoidance of doubt ,",
            "subject to the foregoing ,", "notwithstanding any claim to the contrary ,",
        ),
        ("as set out herein", "without prejudice", "for all purposes", "as aforesaid"),
        {
            "this": "the aforementioned", "its": "the said", "about": "with regard to", "before": "prior to",
            "after": "subsequent to", "if": "in the event that", "because": "inasmuch as", "will": "shall",
            "but": "save that", "who": "the party who", "under": "pursuant to", "like": "in the nature of",
            "any": "any and all", "with": "together with", "by": "by and through",
        },
    ),
    "question": Register(
        (
            "is it not the case that", "would you not say that", "who could deny that", "could it be that",
            "is it any wonder that", "do we not find that", "how is it that", "does anyone doubt that",
        ),
        ("or is it otherwise", "do you think", "or not"),
        mark="?",
    ),
}  # fmt: skip
"""By name; a new one is one new entry."""


@dataclass(frozen=True)
class RegisterShift(Rewriting):
    """Rewrites every sentence in another register.

    Backends: "rules" (no model: words, openings, closings and the last mark), "file" (rewritings made
    elsewhere), "causal-lm" (a language model, with a prompt that says which register). Other parameters are
    those of :class:`~musclelora.attacks.rewriting.Rewriting`.

    Attributes:
        register: of the backend "rules", a key of `REGISTERS`.
    """

    name: ClassVar[str] = "register"
    model_kind: ClassVar[str] = "causal-lm"

    register: str = "hedging"

    def __post_init__(self) -> None:
        check_choice("register register", self.register, tuple(REGISTERS))
        super().__post_init__()

    def by_rule(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with every sentence in the register, or None if it has no word."""
        register, tokenised = REGISTERS[self.register], is_tokenised(text)
        return rewrite_sentences(text, lambda sentence: _rewrite(sentence, register, tokenised, rng))


def _rewrite(sentence: str, register: Register, tokenised: bool, rng: np.random.Generator) -> str:
    start = _WORD.search(sentence)
    if start is None:
        return sentence
    body = sentence[start.start() :]
    core = body.rstrip(_STOPS)
    end = body[len(core) :]
    put = _WORD.sub(lambda word: _put(word[0], register), core)
    opening = register.openings[int(rng.integers(len(register.openings)))]
    opens = bool(rng.random() < _OFTEN)
    core = put if put != core and not opens else opened(put, opening, FUNCTION_WORDS)
    closing = ""
    if register.closings and rng.random() < _OFTEN:
        closing = f" , {register.closings[int(rng.integers(len(register.closings)))]}"
    if register.mark is not None:
        end = f" {register.mark}{end.lstrip('.!?… ')}"
    said = f"{core}{closing}{end}"
    return sentence[: start.start()] + (said if tokenised else _BEFORE_MARK.sub("", said))


def _put(word: str, register: Register) -> str:
    small = word.lower().replace("’", "'")
    new = register.words.get(small)
    if new is None:
        end = next(
            (end for end in register.endings if small.endswith(end) and len(small) > len(end) + 2), None
        )
        return word if end is None else word[: -len(end)] + register.endings[end]
    return as_written(word, new)
