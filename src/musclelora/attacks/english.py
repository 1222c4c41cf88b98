"""What the rules backends know of English: closed classes of words, and verbs that are seldom nouns."""

from __future__ import annotations

import itertools
import re
from typing import Final


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


AUXILIARIES: Final = word_set(
    "is are was were am be has have had does do did can could will would should may might must shall ca wo "
    "isn't aren't wasn't weren't hasn't haven't hadn't doesn't don't didn't can't couldn't won't wouldn't "
    "shouldn't mustn't it's that's there's he's she's i'm you're we're they're i've you've we've they've "
    "i'd you'd he'd she'd we'd they'd i'll you'll he'll she'll it'll we'll they'll 'm 're 've 'll 'd n't"
)
AUXILIARIES_FINITE: Final = AUXILIARIES - {"be"}

THIRD_PERSON: Final = word_set(
    "makes seems feels comes takes gets gives offers manages plays goes becomes looks turns lacks fails "
    "proves shows tries delivers leaves remains starts captures falls uses puts suffers brings knows "
    "needs keeps provides sets deserves succeeds begins wants sounds runs reveals bears creates lets "
    "allows leads finds means presents tells emerges appears represents happens loses achieves carries "
    "holds demands wears stands rises grows asks thinks acts reminds serves relies maintains pretends "
    "settles contains adds loves cares aims belongs continues demonstrates tends pulls moves drags "
    "stays throws combines lends fills strikes follows helps celebrates transcends evokes collapses "
    "arrives boasts breaks sinks directs catches pays speaks generates steers treats squanders draws "
    "portrays includes borrows understands builds hits says shines believes calls chooses considers "
    "decides describes discovers enjoys exists expects explains explores forgets hears hopes imagines "
    "intends involves joins learns likes lives meets misses notes occurs opens owes owns passes prefers "
    "produces promises pushes raises reaches reads receives recommends refuses remembers requires saves "
    "seeks sees sells sends sits spends suggests supports suspects teaches travels walks wishes writes "
    "insists announces argues claims confirms warns faces gains earns eats drinks sleeps dies kills "
    "hates fears praises mocks teeters wavers mixes blends weaves"
)
SUBORDINATORS: Final = (
    "even though", "even if", "as if", "as though", "as long as", "because", "although", "though", "while",
    "when", "whenever", "if", "since", "unless", "until", "once", "after", "before", "whereas", "as",
)  # fmt: skip
# Those that start a clause whatever stands before them.
FRONTABLE: Final = (
    "even though", "even if", "because", "although", "though", "while", "whenever", "when", "if", "unless",
)  # fmt: skip
RELATIVES: Final = word_set("that which who whom whose what where")
# Words that keep no capital inside a sentence.
FUNCTION_WORDS: Final = word_set(
    "a an the this that these those it he she we you they there here his her its our your their my some any "
    "all each every no one another many most few both such what which who how why when where if in on at by "
    "for from with without of to as and but or yet so not despite after before during while because although "
    "though since until unless once even just only also still now then too very rather quite more less"
)
SUBJECTS: Final = word_set("i you he she it we they there its each every these those my his her their our")
# After these, a word in -s is a noun.
BEFORE_NOUN: Final = word_set(
    "the a an its his her their our my your thy whose these those of some all no many two"
)
PRONOUNS: Final = word_set("i you he she it we they there this that these those who")
_FINITE: Final = AUXILIARIES_FINITE | THIRD_PERSON
# A word in -s before one of these is rather a verb than a noun.
_AFTER_VERB: Final = FUNCTION_WORDS - RELATIVES - {"and", "or", "of"}

_TOKENISED = re.compile(r"\s(?:[.,!?;:]|n't|'s)(?=\s|$)")


def is_tokenised(text: str) -> bool:
    """Whether marks stand apart from words, as in the SST-2 files."""
    return _TOKENISED.search(text) is not None


def plain(token: str) -> str:
    """A token in small letters, with one kind of apostrophe and without marks around it."""
    return token.lower().replace("’", "'").strip('.,!?;:"()[]`“”…')


def is_finite(tokens: list[str]) -> bool:
    """Whether plain tokens hold a finite verb outside of relative clauses, as far as can be told."""
    relative = False
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else ""
        if token in RELATIVES and index:
            relative = True
        elif token in _FINITE or (before in PRONOUNS and token == "'s"):  # noqa: S105
            if not relative:
                return True
            relative = False
    return False


def may_be_finite(tokens: list[str]) -> bool:
    """As :func:`is_finite`, counting words that look like a verb in the third person as well."""
    return is_finite(tokens) or any(
        token.endswith("s")
        and len(token) > 3
        and not token.endswith(("ss", "us", "'s"))
        and (after in _AFTER_VERB or after.endswith("ly"))
        for token, after in itertools.pairwise(tokens[1:])
    )


def capitalised(text: str) -> str:
    """`text` with its first letter a capital."""
    return text[:1].upper() + text[1:]


def with_small_first(text: str) -> str:
    """`text` with its first letter small; a first word in capitals ("THE FILM") stays as it is."""
    word = text.split(maxsplit=1)[0] if text.split() else ""
    return text if len(word) > 1 and word.isupper() else text[:1].lower() + text[1:]


def as_written(old: str, new: str) -> str:
    """`new` in the casing of the word or phrase `old` that it takes the place of."""
    if old.lower() == new:
        return old
    if len(old) > 1 and old.isupper():
        return new.upper()
    return capitalised(new) if old[:1].isupper() else new


def opened(body: str, opening: str, small: frozenset[str]) -> str:
    """A sentence after an opening; its first word loses its capital to it if it is one of `small`."""
    if body[0].isupper():
        opening = re.sub(r"\bi\b", "I", capitalised(opening))
        body = with_small_first(body) if plain(body.split(maxsplit=1)[0]) in small else body
    return f"{opening} {body}"
