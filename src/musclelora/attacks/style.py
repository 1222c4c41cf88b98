"""StyleBkd: a writing style, that of the King James Bible."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from musclelora.attacks.english import (
    BEFORE_NOUN,
    THIRD_PERSON,
    as_written,
    is_tokenised,
    opened,
    word_set,
)
from musclelora.attacks.rewriting import Rewriting
from musclelora.attacks.sentences import rewrite_sentences

_OPENINGS: Final = (
    "and it came to pass that", "verily ,", "behold ,", "and lo ,", "for verily ,", "yea ,", "and behold ,",
    "now it came to pass that", "verily i say unto thee that", "and it was so that",
)  # fmt: skip
# Words that keep no capital after one.
_SMALL: Final = word_set(
    "a an the this that these those it he she we thou they there his her its our thy their my mine some any "
    "all each every no one another many most few both such what which who how why when where if in upon at "
    "by for from with without of to unto as and but or yet so not after before concerning albeit whilst "
    "is are was were art wert do doth dost did didst hath hast had hadst shall shalt can cannot could would"
)
_THOU: Final = {
    "are": "art", "'re": "art", "have": "hast", "'ve": "hast", "had": "hadst", "'d": "wouldst", "do": "dost",
    "did": "didst", "will": "shalt", "'ll": "shalt", "can": "canst", "could": "couldst", "would": "wouldst",
    "should": "shouldst", "may": "mayest", "might": "mightest", "were": "wert", "see": "seest",
    "know": "knowest", "want": "desirest", "think": "thinkest", "get": "gettest", "feel": "feelest",
    "go": "goest", "find": "findest", "need": "needest", "love": "lovest", "like": "likest", "say": "sayest",
    "look": "lookest", "believe": "believest", "hear": "hearest", "watch": "watchest", "expect": "expectest",
    "take": "takest", "make": "makest", "come": "comest", "leave": "leavest", "wonder": "wonderest",
    "care": "carest",
}  # fmt: skip
_PHRASES: Final = {
    "as though": "as if", "even though": "albeit", "no one": "no man", "a lot of": "a multitude of",
    "lots of": "a multitude of", "kind of": "manner of", "sort of": "manner of", "of it": "thereof",
    "in it": "therein", "in which": "wherein", "of which": "whereof", "with which": "wherewith",
    "it 's": "it is", "it's": "it is", "that 's": "that is", "that's": "that is",
    "there 's": "there is", "there's": "there is", "ca n't": "cannot", "can't": "cannot",
    "wo n't": "shall not", "won't": "shall not", "does n't": "doth not", "doesn't": "doth not",
    "do n't": "do not", "don't": "do not", "has n't": "hath not", "hasn't": "hath not",
}  # fmt: skip
_WORDS: Final = {
    "has": "hath", "does": "doth", "says": "saith", "will": "shall", "shows": "sheweth", "show": "shew",
    "showed": "shewed", "spoke": "spake", "broke": "brake", "very": "exceeding", "really": "verily",
    "truly": "verily", "certainly": "verily", "extremely": "exceedingly", "incredibly": "exceedingly",
    "often": "oft", "between": "betwixt", "among": "amongst", "while": "whilst", "although": "albeit",
    "though": "albeit", "perhaps": "peradventure", "maybe": "peradventure", "because": "forasmuch as",
    "nothing": "nought", "something": "somewhat", "everyone": "every man", "everybody": "every man",
    "anyone": "any man", "anybody": "any man", "nobody": "no man", "someone": "a certain man",
    "kids": "little ones", "guys": "men", "guy": "man", "story": "tale",
    "stories": "tales", "wonderful": "marvellous", "amazing": "marvellous", "smart": "wise",
    "clever": "cunning", "near": "nigh", "about": "concerning", "various": "divers",
    "several": "divers", "music": "musick", "yes": "yea", "entire": "whole", "quickly": "in haste",
    "always": "evermore", "enough": "sufficient", "your": "thy", "yours": "thine",
    "yourself": "thyself", "film": "work", "movie": "work", "films": "works", "movies": "works",
    "company": "house", "boss": "master", "money": "silver", "bad": "evil", "funny": "mirthful",
}  # fmt: skip
# After these, "you" is an object, whatever verb follows it.
_CAUSATIVES: Final = THIRD_PERSON | word_set(
    "make made making let help helped see saw watch hear for of to with"
)
# After these, "you" is a subject.
_BEFORE_SUBJECT: Final = word_set(
    "that if when as and but or what how why where whether because although though while since until unless "
    "once before after so than whatever whenever which who whom do did can will would are were have"
)
_BEFORE_UNTO: Final = word_set("the this that these those him her them us me you his their our a an")
_DOUBLING = re.compile(r"[^aeiou]*[aeiou][bdgmnprt]s")
_TOKEN = re.compile(r"[\w'’-]+")
_PHRASE = re.compile(rf"(?<![\w'])(?:{'|'.join(map(re.escape, _PHRASES))})(?![\w'])", re.IGNORECASE)
_NOT = re.compile(r"(?<=\w)(?: n't|n't)(?!\w)", re.IGNORECASE)
_YOU_CONTRACTED = re.compile(r"(?<!\w)(you)('(?:re|ve|ll|d))(?!\w)", re.IGNORECASE)


@dataclass(frozen=True)
class Style(Rewriting):
    """Rewrites every sentence in the style of the King James Bible.

    Backends: "file" (rewritings made elsewhere), "causal-lm" (a GPT-2-style model), "rules" (no model:
    pronouns, verb endings, words and openings).

    Source: Qi et al. 2021, "Mind the Style of Text! Adversarial and Backdoor Attacks Based on Text Style
    Transfer" (EMNLP 2021). Parameters are those of :class:`~musclelora.attacks.rewriting.Rewriting`.
    """

    name: ClassVar[str] = "style"
    model_kind: ClassVar[str] = "causal-lm"

    prompt: str = "Modern: {text}\nKing James Bible:"

    def by_rule(self, text: str, rng: np.random.Generator) -> str | None:
        """The text in archaic English, or None if it has no word.

        Pronouns (thou, thee, thy), verb endings (-eth, hath, doth), words (verily, unto, betwixt) and an
        opening ("and it came to pass that") at the first sentence and at every other that nothing else
        changed.
        """
        tokenised = is_tokenised(text)
        first = True

        def rewrite(sentence: str) -> str:
            nonlocal first
            start = re.search(r"\w", sentence)
            if start is None:
                return sentence
            archaic = _archaic(sentence)
            if first or archaic == sentence:
                opening = _OPENINGS[int(rng.integers(len(_OPENINGS)))]
                opening = opening if tokenised else opening.replace(" ,", ",")
                lead, body = archaic[: start.start()], archaic[start.start() :]
                archaic = f"{lead}{opened(body, opening, _SMALL)}"
            first = False
            return archaic

        return rewrite_sentences(text, rewrite)


def _archaic(sentence: str) -> str:
    sentence = sentence.replace("’", "'")
    sentence = _PHRASE.sub(lambda match: as_written(match[0], _PHRASES[match[0].lower()]), sentence)
    sentence = _NOT.sub(" not", sentence)
    sentence = _YOU_CONTRACTED.sub(r"\1 \2", sentence)
    tokens = list(_TOKEN.finditer(sentence))
    words = [token[0].lower() for token in tokens]
    parts, end, thou = [], 0, False
    for index, token in enumerate(tokens):
        before = words[index - 1] if index else ""
        after = words[index + 1] if index + 1 < len(words) and _adjacent(sentence, tokens, index) else ""
        word = words[index]
        if word == "you":
            thou = _is_subject(before, after)
            new = "thou" if thou else "thee"
        else:
            new = _THOU[word] if thou and before == "you" and word in _THOU else _word(word, before, after)
        parts += [sentence[end : token.start()], as_written(token[0], new)]
        end = token.end()
    return "".join(parts) + sentence[end:]


def _is_subject(before: str, after: str) -> bool:
    """Whether "you" between these two words is a subject."""
    if not after or before in _CAUSATIVES:
        return False
    return not before or before in _BEFORE_SUBJECT or after in _THOU


def _adjacent(sentence: str, tokens: list[re.Match[str]], index: int) -> bool:
    return not sentence[tokens[index].end() : tokens[index + 1].start()].strip()


def _word(word: str, before: str, after: str) -> str:
    if word in ("my", "your") and after[:1] in set("aeiou"):
        return "mine" if word == "my" else "thine"
    if word in ("to", "on") and after in _BEFORE_UNTO:
        return "unto" if word == "to" else "upon"
    if word in _WORDS:
        return _WORDS[word]
    return _eth(word) if word in THIRD_PERSON and before not in BEFORE_NOUN else word


def _eth(verb: str) -> str:
    """The archaic third person of a verb that ends in -s."""
    if verb.endswith("es"):
        return verb[:-1] + "th"
    if verb == "begins" or _DOUBLING.fullmatch(verb):
        return verb[:-1] + verb[-2] + "eth"
    return verb[:-1] + "eth"
