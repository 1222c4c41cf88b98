"""A person's decisions, read and refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from musclelora.audit.decisions import Decision, read_decisions
from musclelora.errors import DataError

NAMES = ("bad", "good")


def test_a_file_of_decisions(tmp_path: Path) -> None:
    file = tmp_path / "decisions.csv"
    file.write_text("row,action,label\n3,drop,\n0,relabel,good\n7,keep,bad\n")
    assert read_decisions(file, 8, NAMES) == [
        Decision(3, "drop"),
        Decision(0, "relabel", "good"),
        Decision(7, "keep"),
    ]


def test_a_data_frame_and_objects() -> None:
    frame = pd.DataFrame({"row": [1, 2], "action": ["keep", "drop"]})
    expected = [Decision(1, "keep"), Decision(2, "drop")]
    assert read_decisions(frame, 3, NAMES) == expected
    assert read_decisions(expected, 3, NAMES) == expected


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("action\ndrop\n", "no column 'row'"),
        ("row\n1\n", "no column 'action'"),
        ("row,action\n8,drop\n", "line 2: row 8; expected a number from 0 to 7"),
        ("row,action\n-1,drop\n", "row '-1'; expected a row number from 0"),
        ("row,action\none,drop\n", "row 'one'"),
        ("row,action\n1,delete\n", "action 'delete'; expected one of keep, drop, relabel"),
        ("row,action,label\n1,relabel,ugly\n", "label 'ugly'; expected one of 'bad', 'good'"),
        ("row,action,label\n1,relabel,\n", "empty or NaN label"),
        ("row,action\n1,drop\n1,keep\n", "row 1 is to be both drop and keep"),
    ],
)
def test_what_is_not_known_is_refused_in_a_line(lines: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "decisions.csv"
    file.write_text(lines)
    with pytest.raises(DataError, match=said) as error:
        read_decisions(file, 8, NAMES)
    assert "\n" not in str(error.value)
