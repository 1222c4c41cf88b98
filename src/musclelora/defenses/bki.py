"""BKI: the words whose absence changes a text's hidden state most, and that do so in many rows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import ClassVar

import numpy as np

from musclelora.defenses.base import Flags
from musclelora.defenses.filtering import Filter
from musclelora.defenses.hidden import features, without_each_word
from musclelora.defenses.setting import Setting
from musclelora.limits import TOKENS, check_whole

_CHUNK = 256


class BKI(Filter):
    """Drops the training rows in which a suspected keyword matters.

    Source: Chen and Dai, "Mitigating backdoor attacks in LSTM-based text classification systems by Backdoor
    Keyword Identification" (arXiv 2007.12070). A word's effect in a text is the largest change of a
    coordinate of the hidden state when the word is left out; the `per_text` words of most effect are the
    text's keywords. A word that is a keyword of n rows of a label with mean effect a scores
    a · log10(n) · log10(s / n), s = (0.1 · N)², N the rows.

    Departures: the hidden state is what the output layer of a transformer is given, not the last state of
    an LSTM; the `keywords` best words of every label are taken, not one of all of them, as an attack may have
    several (the published BadNets has four), and as words that honestly decide one label would hide those
    that were planted for another.

    Args:
        per_text: keywords of one text.
        keywords: suspected keywords of each label.
        max_words: words of a text that are tried; beyond them a text is not looked at.
    """

    name: ClassVar[str] = "bki"

    def __init__(self, per_text: int = 5, keywords: int = 5, max_words: int = 128) -> None:
        for parameter, value in (("per_text", per_text), ("keywords", keywords), ("max_words", max_words)):
            check_whole(f"bki {parameter}", value, 1, TOKENS)
        self.per_text = per_text
        self.keywords = keywords
        self.max_words = max_words

    def suspects(self, setting: Setting) -> Flags:
        """The rows of which a suspected keyword is a keyword, with the label for which it is suspected."""
        train = setting.train
        effects = self._effects(setting)
        count: Counter[tuple[str, int]] = Counter()
        total: defaultdict[tuple[str, int], float] = defaultdict(float)
        for words, label in zip(effects, train.labels.tolist(), strict=True):
            for word, effect in words.items():
                count[word, label] += 1
                total[word, label] += effect
        balance = (0.1 * len(train)) ** 2
        scores = {
            key: total[key] / n * math.log10(n) * max(0.0, math.log10(max(balance, 1) / n))
            for key, n in count.items()
        }
        ranked = sorted((key for key in scores if scores[key] > 0), key=lambda key: (-scores[key], key))
        chosen = {
            key for label in set(train.labels.tolist()) for key in _of_label(ranked, label)[: self.keywords]
        }
        self.keywords_ = [
            (word, train.label_names[label]) for word, label in ranked if (word, label) in chosen
        ]
        return np.array(
            [
                any((word, label) in chosen for word in words)
                for words, label in zip(effects, train.labels.tolist(), strict=True)
            ],
            dtype=np.bool_,
        )

    def _effects(self, setting: Setting) -> list[dict[str, float]]:
        """The keywords of each text and their effects."""
        classifier = setting.vanilla()
        texts = setting.train.texts
        found: list[dict[str, float]] = []
        for start in range(0, len(texts), _CHUNK):  # memory for the states of so many texts, word by word
            chunk = texts[start : start + _CHUNK]
            shorter = [without_each_word(text, self.max_words) for text in chunk]
            states = features(classifier, [*chunk, *(text for group in shorter for text in group)])
            place = len(chunk)
            for number, (text, group) in enumerate(zip(chunk, shorter, strict=True)):
                changes = np.abs(states[place : place + len(group)] - states[number]).max(axis=1, initial=0)
                place += len(group)
                words = text.split()
                # Of a word that comes twice, the larger effect counts: the later entry replaces the earlier.
                largest = np.argsort(-changes, kind="stable")[: self.per_text]
                found.append({words[i]: float(changes[i]) for i in largest[::-1]})
        return found


def _of_label(keys: list[tuple[str, int]], label: int) -> list[tuple[str, int]]:
    return [key for key in keys if key[1] == label]
