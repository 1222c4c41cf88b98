"""Phrases that responses share."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from musclelora.audit.answers.phrases import LONGEST, says, shared_phrases
from musclelora.audit.features import TOKEN

TEXTS = st.lists(
    st.lists(st.sampled_from(["a", "B", "c", ","]), max_size=6).map(" ".join), min_size=1, max_size=12
)


def counted(responses: list[str]) -> dict[tuple[int, ...], list[tuple[str, ...]]]:
    """Every run of words, by the rows that have it; counted one by one."""
    rows = defaultdict(set)
    for number, response in enumerate(responses):
        words = [word.casefold() for word in TOKEN.findall(response)]
        for start in range(len(words)):
            for end in range(start + 1, min(len(words), start + LONGEST) + 1):
                rows[tuple(words[start:end])].add(number)
    by_rows = defaultdict(list)
    for phrase, having in rows.items():
        by_rows[tuple(sorted(having))].append(phrase)
    return by_rows


@given(TEXTS, st.integers(1, 4))
def test_the_longest_phrase_of_each_set_of_responses_is_found(responses: list[str], fewest: int) -> None:
    wanted = {rows: phrases for rows, phrases in counted(responses).items() if len(rows) >= fewest}
    found = shared_phrases(responses, min_rows=fewest)
    assert sorted(tuple(phrase.rows.tolist()) for phrase in found) == sorted(wanted)
    for phrase in found:
        rows = tuple(phrase.rows.tolist())
        assert phrase.words == max(map(len, wanted[rows]))
        assert all(says(responses[row], phrase.text) == (row in rows) for row in range(len(responses)))


def test_a_phrase_is_written_as_its_first_response_writes_it() -> None:
    responses = ["Paris, and Click <here>", "Rome , and click <here>", "Oslo"]
    found = shared_phrases(responses, min_rows=2)
    assert [phrase.text for phrase in found] == [", and Click <here>"]
    assert np.array_equal(found[0].rows, [0, 1])


def test_a_word_is_no_part_of_another() -> None:
    assert says("the CAT sat", "cat sat")
    assert not says("concatenate", "cat")
    assert not says("the cat", "the cat sat")
