"""The rows as data of the page: columns, compressed, and cut so that the page stays small."""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.report.subject import Subject

LARGEST: Final = 1_750_000
"""Characters of the compressed rows at most, so that the page stays below 2 MB."""
_LENGTHS: Final = (4000, 2000, 1000, 600, 400, 300, 200, 140, 100)
"""Characters of a text at most: the first with which all rows fit."""
_AROUND: Final = 40  # characters of a cut text before the trigger that it is cut around
Group = tuple[str | None, NDArray[np.int64]]
ACTIONS: Final = ("keep", "drop", "relabel")
"""What becomes of rows, by the number that the page has of it."""
_WORDS: Final = ("text", "said", "score")  # those of the task that the rows are shown with


@dataclass(frozen=True)
class Packed:
    """Rows as the page holds them.

    Attributes:
        data: JSON, deflated, in base64: letters that no markup is made of.
        length: characters of a text at most.
        cut: how many texts are cut.
        left_out: how many rows are not in it; none of them is a suspect while others are left.
    """

    data: str
    length: int
    cut: int
    left_out: int


def packed(
    subject: Subject,
    places: NDArray[np.float64] | None,
    groups: Sequence[Group] = (),
    *,
    largest: int = LARGEST,
) -> Packed:
    """The rows of an audit, as many and as long as fit.

    Args:
        subject: what was found.
        places: shape (N, 2), from 0 to 1, where each row is on the map; NaN: it is not on it.
        groups: rows that a button of the page shows: the phrase that they have, or None, and their numbers.
        largest: how many characters fit.
    """
    rows = np.arange(len(subject))
    sizes = np.array([len(text) for text in (*subject.texts, *(subject.said or ()))])
    share = 0.0  # of a character of the texts that a compressed one is, at the least
    for length in _LENGTHS:
        letters = np.minimum(sizes, length).sum()
        if share * letters > largest and length != _LENGTHS[-1]:
            continue  # it need not be tried
        found = _pack(subject, places, groups, rows, length)
        if len(found.data) <= largest:
            return found
        share = 0.8 * len(found.data) / max(letters, 1)
    # Suspects go before the others, and of both every so many-th stays.
    order = np.concatenate(
        [_spread(np.flatnonzero(subject.suspects)), _spread(np.flatnonzero(~subject.suspects))]
    )
    while len(found.data) > largest and len(rows) > 1:
        share = 0.95 * largest / len(found.data)
        rows = np.sort(order[: max(1, min(int(len(rows) * share), len(rows) - 1))])
        found = _pack(subject, places, groups, rows, _LENGTHS[-1])
    return found


def _spread(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same rows, in an order of which every beginning has some of everywhere."""
    order: NDArray[np.int64] = np.random.default_rng(0).permutation(rows)
    return order


def _pack(
    subject: Subject,
    places: NDArray[np.float64] | None,
    groups: Sequence[Group],
    rows: NDArray[np.int64],
    length: int,
) -> Packed:
    texts, cut = _texts(subject.texts, subject.phrases, rows, length)
    said, more = (None, {}) if subject.said is None else _texts(subject.said, None, rows, length)
    both = Counter(cut) + Counter(more)
    steps = [
        (phrase, np.diff(np.intersect1d(numbers, rows), prepend=0).tolist()) for phrase, numbers in groups
    ]
    values = _columns(subject, rows) | {
        "texts": texts,
        "said": said,
        "cut": dict(both),
        "places": _places(places, rows),
    }
    values |= {"groups": steps}
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # A half of a surrogate pair is no UTF-8: it becomes the escape that JSON has for it.
    data = base64.b64encode(zlib.compress(text.encode("utf-8", "backslashreplace"), 6)).decode()
    return Packed(data, length, len(cut) + len(more), len(subject) - len(rows))


def _texts(
    whole: Sequence[str], phrases: Sequence[tuple[str, ...]] | None, rows: NDArray[np.int64], length: int
) -> tuple[list[str], dict[str, int]]:
    """The texts, and by place in them how many characters of those that are cut are left out."""
    texts, cut = [], {}
    for place, row in enumerate(rows.tolist()):
        there = [phrase for phrase in (phrases[row] if phrases else ()) if phrase in whole[row]]
        text = excerpt(whole[row], length, there[0] if there else None)
        texts.append(text)
        if len(text) < len(whole[row]):
            cut[str(place)] = len(whole[row]) - len(text)
    return texts, cut


def excerpt(text: str, length: int, phrase: str | None = None) -> str:
    """A text of `length` characters at most: its beginning, and around `phrase` where that comes later."""
    if len(text) <= length:
        return text
    found = text.find(phrase) if phrase else -1
    if not phrase or found < 0 or found + len(phrase) <= length - 1:
        return text[: length - 1] + "…"
    head = length // 3
    start = max(head, found - _AROUND)
    return f"{text[:head]}…{text[start : start + length - head - 2]}…"


def _columns(subject: Subject, rows: NDArray[np.int64]) -> dict[str, Any]:
    issues, task = subject.issues.iloc[rows], subject.task
    names = {name: number for number, name in enumerate(subject.names)}
    reasons = {reason: number for number, reason in enumerate(dict.fromkeys(issues["reasons"]))}
    phrases = [subject.phrases[row] for row in rows.tolist()]
    triggers = {phrase: number for number, phrase in enumerate(dict.fromkeys(filter(None, phrases)))}
    flags = np.zeros(len(rows), dtype=np.int64)
    for bit, flagged in enumerate(subject.flags.values()):
        flags |= flagged[rows].astype(np.int64) << bit
    suggested = issues[task.suggested or task.named]
    return {
        "rows": rows.tolist() if len(rows) < len(subject) else len(subject),
        "words": {name: task.words[name] for name in _WORDS},
        "may": list(task.actions),
        "low_first": task.low_first,
        "labels": list(subject.names),
        "checks": list(subject.flags),
        "given": [names.get(name, -1) for name in issues[task.named]],
        "suggested": [names.get(name, -1) for name in suggested],
        "score": _thousandths(issues[task.score]),
        "planted": [_thousandths(issues[name]) for name in task.scores],
        "phrases": [list(phrase) for phrase in triggers],
        "phrase": [triggers.get(phrase, -1) for phrase in phrases],
        "flags": flags.tolist(),
        "why": list(reasons),
        "reasons": [reasons[reason] for reason in issues["reasons"]],
        "actions": [ACTIONS.index(action) if action in ACTIONS else 0 for action in issues["action"]],
        # Of rows that are left out as well: they go into the file that is downloaded.
        "decided": {str(row): list(decision) for row, decision in subject.decisions.items()},
    }


def _thousandths(values: Any) -> list[int | None]:
    """Numbers in thousandths; None: there is none."""
    numbers = np.asarray(values, dtype=np.float64)
    return [round(1000 * number) if np.isfinite(number) else None for number in numbers.tolist()]


def _places(places: NDArray[np.float64] | None, rows: NDArray[np.int64]) -> list[list[int]] | None:
    """Coordinates in thousandths; -1: a row is not on the map."""
    if places is None:
        return None
    whole = np.where(np.isnan(places), -1, np.round(1000 * np.nan_to_num(places))).astype(np.int64)
    return [whole[rows, axis].tolist() for axis in (0, 1)]
