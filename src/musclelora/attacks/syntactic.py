"""HiddenKiller: a syntactic template, S(SBAR)(,)(NP)(VP)(.)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from musclelora.attacks.english import (
    AUXILIARIES_FINITE,
    FRONTABLE,
    FUNCTION_WORDS,
    SUBJECTS,
    SUBORDINATORS,
    THIRD_PERSON,
    capitalised,
    is_finite,
    is_tokenised,
    may_be_finite,
    plain,
    with_small_first,
)
from musclelora.attacks.rewriting import Rewriting
from musclelora.attacks.sentences import rewrite_sentences

# Clauses that say nothing about the matter, so that the sentence keeps its meaning and its label.
_FRONTS: Final = (
    "when you look at it",
    "when you think about it",
    "when you think it over",
    "when it comes down to it",
    "if you look at it",
    "if you think about it",
    "as you look at it",
    "as you think about it",
)
_LEAD = re.compile(r"\W*")
_STOPS: Final = ".!?…,;:"
_CLOSERS: Final = "\"'”’)]`"
# Texts are hostile: no part of this can be matched in two ways, so that it takes linear time.
_CLAUSE = re.compile(
    rf"(?:,|(?<![\s,]))\s++(?P<word>{'|'.join(FRONTABLE)})\s++(?P<rest>.+)", re.IGNORECASE | re.DOTALL
)
_BUT = re.compile(r"(?P<rest>[^,]+?)\s?,\s+but\s+(?P<main>.+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Syntactic(Rewriting):
    """Paraphrases every sentence into the syntactic template S(SBAR)(,)(NP)(VP)(.).

    Backends: "file" (paraphrases made elsewhere), "seq2seq" (a text-to-text model), "rules" (no model: a
    subordinate clause is moved, or a neutral one put, in front).

    Source: Qi et al. 2021, "Hidden Killer: Invisible Textual Backdoor Attacks with Syntactic Trigger"
    (ACL 2021). Parameters are those of :class:`~musclelora.attacks.rewriting.Rewriting`.
    """

    name: ClassVar[str] = "syntactic"
    model_kind: ClassVar[str] = "seq2seq"

    prompt: str = "paraphrase as S(SBAR)(,)(NP)(VP)(.): {text}"

    def by_rule(self, text: str, rng: np.random.Generator) -> str | None:
        """The text with a subordinate clause in front of every sentence, or None if it has no word.

        "X because Y" becomes "because Y , X" and "Y , but X" "although Y , X". Any other sentence gets a
        clause that adds nothing ("when you look at it"), and a sentence without subject or verb one of each
        ("it is").
        """
        tokenised = is_tokenised(text)
        return rewrite_sentences(text, lambda sentence: _rewrite(sentence, tokenised, rng))


def _rewrite(sentence: str, tokenised: bool, rng: np.random.Generator) -> str:
    lead, core, end = _parts(sentence)
    if not core:
        return sentence
    clause, main = _fronted(core) or (_FRONTS[int(rng.integers(len(_FRONTS)))], _clause_of(core, tokenised))
    first = core.lstrip("`'\"“‘(")[:1]
    if first.isupper():
        clause, main = capitalised(clause), _small(main)
    return f"{lead}{clause}{' ,' if tokenised else ','} {main}{end}"


def _parts(sentence: str) -> tuple[str, str, str]:
    """What stands before the first letter, from there on, and the marks and quotes at the end."""
    lead = _LEAD.match(sentence)
    start, end = lead.end() if lead else 0, len(sentence)
    for marks in (_CLOSERS, _STOPS):
        while end > start and (sentence[end - 1] in marks or sentence[end - 1].isspace()):
            end -= 1
    return sentence[:start], sentence[start:end], sentence[end:]


def _fronted(core: str) -> tuple[str, str] | None:
    """(subordinate clause, main clause) of a sentence that has both in the other order."""
    if plain(core.split(maxsplit=1)[0]) in SUBORDINATORS:
        return None
    if match := _CLAUSE.search(core, max(core.rfind(","), 0)):  # the clause holds no comma
        main, rest = core[: match.start()].rstrip(), match["rest"]
        # "as if", "that when", "and because": the word belongs to what stands before it.
        if plain(main.split()[-1]) not in FUNCTION_WORDS and _both_finite(main, rest):
            return f"{match['word'].lower()} {rest}", main
    if (match := _BUT.fullmatch(core)) and _both_finite(match["main"], match["rest"]):
        return f"although {_small(match['rest'])}", match["main"]
    return None


def _both_finite(*parts: str) -> bool:
    return not any(c in ";:\n" for part in parts for c in part) and all(map(_is_clause, parts))


def _is_clause(part: str) -> bool:
    tokens = [plain(token) for token in part.split()]
    return len(tokens) > 1 and (
        tokens[0] in ("i", "you", "he", "she", "it", "we", "they") or is_finite(tokens)
    )


def _clause_of(core: str, tokenised: bool) -> str:
    """`core` as a clause with a subject and a verb."""
    tokens = [plain(token) for token in core.split()]
    if tokens[0] in THIRD_PERSON or tokens[0] in AUXILIARIES_FINITE - {"it's", "that's", "there's"}:
        # A question or a clause with an apostrophe has its subject; "offers a great deal" has not.
        return core if "'" in tokens[0] or _is_question(tokens) else f"it {_small(core)}"
    if tokens[0] in SUBJECTS or tokens[0] in SUBORDINATORS or may_be_finite(tokens):
        return core
    return f"{'it ' if tokenised else 'it'}'s {_small(core)}"


def _is_question(tokens: list[str]) -> bool:
    return tokens[0] in AUXILIARIES_FINITE and len(tokens) > 1 and tokens[1] in FUNCTION_WORDS | {"i"}


def _small(text: str) -> str:
    """`text` with its first letter small, if its first word is none that has a capital everywhere."""
    word = plain(text.split(maxsplit=1)[0]) if text.split() else ""
    stem = word.partition("'")[0]
    small = stem != "i" and (stem in FUNCTION_WORDS or word in AUXILIARIES_FINITE)
    return with_small_first(text) if small else text
