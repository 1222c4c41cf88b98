"""Tables that stay on disk, and formats that read back what was written."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musclelora.data import load_table
from musclelora.data.openbackdoor import write_table
from musclelora.data.stream import open_stream
from musclelora.data.writers import WRITERS
from musclelora.errors import DataError

SST2 = Path(__file__).parents[3] / "shared" / "data" / "sst-2" / "1"
ROWS = st.lists(st.tuples(st.text(), st.sampled_from(["yes", "no"]), st.integers(0, 1)), min_size=1)


def write(path, rows):
    WRITERS[path.suffix](path, ("text", "label", "poisoned"), rows)
    return path


@pytest.mark.parametrize("suffix", WRITERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
@given(rows=ROWS)
def test_what_is_written_is_read_back(suffix, rows, tmp_path):
    table = load_table(write(tmp_path / f"t{suffix}", rows))
    assert list(table.texts) == [text for text, _, _ in rows]
    assert [table.label_names[label] for label in table.labels] == [label for _, label, _ in rows]
    assert table.poisoned.tolist() == [bool(flag) for _, _, flag in rows]


@pytest.mark.parametrize("suffix", WRITERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25)
@given(rows=ROWS, data=st.data())
def test_a_stream_is_the_table(suffix, rows, data, tmp_path):
    path = write(tmp_path / f"t{suffix}", rows)
    table, stream = load_table(path), open_stream(path)
    assert stream.labels.tolist() == table.labels.tolist()
    assert stream.label_names == table.label_names
    assert stream.poisoned.tolist() == table.poisoned.tolist()
    assert [text for text, _ in stream.rows()] == list(table.texts)
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, len(rows) - 1)))), dtype=np.int64)
    assert list(stream.texts_at(chosen)) == list(table.texts_at(chosen))
    assert stream.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_many_rows_go_through_every_writer(tmp_path):
    rows = [(f"text {row}", "yes" if row % 2 else "no", 0) for row in range(25_000)]
    for suffix in (".csv", ".parquet"):
        assert len(load_table(write(tmp_path / f"t{suffix}", rows))) == 25_000


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,1\nb,\n", "line 3, column 'label': empty or NaN label"),
        ("a,1\nb\n", "line 3: 1 field; expected 2"),
        ("", "no rows"),
    ],
)
def test_a_stream_refuses_what_a_table_refuses(tmp_path, rows, message):
    path = tmp_path / "t.csv"
    path.write_text(f"text,label\n{rows}")
    with pytest.raises(DataError, match=message):
        open_stream(path)
    with pytest.raises(DataError, match=message):
        load_table(path)


def test_a_stream_of_unknown_labels_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label\na,x\nb,y\n")
    with pytest.raises(DataError, match="line 3, column 'label': unknown label 'y'"):
        open_stream(path, label_names=["x", "z"])


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    for rows in ("a,1\n", "a,1\nb,0\nc,0\n"):
        path.write_text("text,label\na,1\nb,0\n")
        stream = open_stream(path)
        path.write_text(f"text,label\n{rows}")
        with pytest.raises(DataError, match="number of rows changed while it was read; expected 2 rows"):
            list(stream.rows())


@pytest.mark.skipif(not SST2.exists(), reason="needs shared/data/sst-2, which the project does not ship")
def test_openbackdoor_files_are_written_as_they_were(tmp_path):
    files = sorted(SST2.rglob("*.csv"))
    assert len(files) >= 32
    for file in files:
        write_table(tmp_path / "copy.csv", load_table(file))
        assert (tmp_path / "copy.csv").read_bytes() == file.read_bytes(), file


def test_openbackdoor_layout_of_a_table_without_flags(tmp_path):
    (tmp_path / "t.csv").write_text('text,label\n"a, ""b""",1\n,0\n')
    write_table(tmp_path / "train-clean.csv", load_table(tmp_path / "t.csv"))
    assert (tmp_path / "train-clean.csv").read_bytes() == b',0,1,2\n0,"a, ""b""",1,0\n1,,0,0\n'
