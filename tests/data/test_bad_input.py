"""Every table that cannot be used ends in one line that names the place."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from musclelora.data import load_table
from musclelora.errors import DataError, UsageError


def refusal(path: str | Path, **options) -> str:
    """The message of the DataError that reading `path` raises, without its folder."""
    with pytest.raises(DataError) as caught:
        load_table(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.count("; ") >= 2, "found; expected; what to do"
    assert "; expected " in message
    return message.removeprefix(f"{Path(path).parent}/")


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


REFUSALS = [
    # Delimited text
    ("a.csv", "text,label\na,0\nb\n", "a.csv, line 3: 1 field; expected 2 as in the header"),
    ("a.csv", 'text,label\n"x\ny",0\nb,1,2\n', "a.csv, line 4: 3 fields; expected 2 as in the header"),
    ("a.tsv", "text\tlabel\na\t0\t1\n", "a.tsv, line 2: 3 fields; expected 2"),
    (
        "a.csv",
        'text,label\na,0\n"b,1\nc,0\n',
        "a.csv, line 3: a quote is opened in the row that starts here",
    ),
    (
        "a.csv",
        'text,label\n"a" b,0\n',
        "a.csv, line 2: malformed row that starts on line 2 (',' expected",
    ),
    ("a.csv", 'text,label\n"a,0\nb"c,1\n', "a.csv, line 3: malformed row that starts on line 2 ("),
    ("a.csv", "text,label,text\na,0,b\n", "a.csv, line 1: columns 'text' occur more than once"),
    # Encodings and binary files
    ("a.csv", b"text,label\na,0\nb\xe9,1\n", "a.csv, line 3: byte 0xe9 at byte offset 16 is not UTF-8"),
    ("a.jsonl", b'{"text": "\xff", "label": 0}\n', "a.jsonl, line 1: byte 0xff at byte offset 10 is not"),
    ("a.csv", "text,label\na,0\n".encode("utf-16"), "a.csv: UTF-16 text; expected UTF-8"),
    ("a.csv", gzip.compress(b"text,label\n"), "a.csv: binary file (a gzip archive)"),
    ("a.csv", b"PK\x03\x04...", "a.csv: binary file (a ZIP archive or Excel workbook)"),
    ("a.csv", b"\x89PNG\r\n", "a.csv: binary file (a PNG image)"),
    ("a.tsv", b"%PDF-1.7", "a.tsv: binary file (a PDF document)"),
    ("a.jsonl", b"\x7fELF\x02", "a.jsonl: binary file (a program)"),
    ("a.csv", bytes(range(256)), "a.csv: binary file (of unknown kind)"),
    # JSON Lines
    (
        "a.jsonl",
        '{"text": "a", "label": 0}\n{"text": }\n',
        "a.jsonl, line 2, column 10: not JSON (Expecting",
    ),
    ("a.jsonl", '{"text": "a", "label": 0}\n["b", 1]\n', "a.jsonl, line 2: a JSON list '[\"b\", 1]'"),
    ("a.json", '[{"text": "a", "label": 0}]', "a.json, row 1: a JSON object"),
    (
        "a.jsonl",
        '{"text": "a", "label": 0}\n{"text": "b"}\n',
        "a.jsonl, line 2: no key 'label' (keys: 'text')",
    ),
    ("a.jsonl", '{"text": "\\ud800", "label": 0}', "a.jsonl, line 1: half of a surrogate pair"),
    ("a.jsonl", "[" * 200_000, "a.jsonl, line 1"),
    (
        "a.jsonl",
        '{"text": "a", "label": ' + "1" * 5000 + "}",
        "a.jsonl, line 1: not JSON (Exceeds the limit",
    ),
    ("a.jsonl", '{"text": ["a"], "label": 0}', "a.jsonl, line 1, column 'text': a value of type list"),
    # Labels and flags
    ("a.csv", "text,label\na,0\nb,\n", "a.csv, line 3, column 'label': empty or NaN label ''"),
    ("a.csv", "text,label\na,  \n", "a.csv, line 2, column 'label': empty or NaN label"),
    ("a.csv", "text,label\na,0\nb,NaN\n", "a.csv, line 3, column 'label': empty or NaN label 'NaN'"),
    ("a.jsonl", '{"text": "a", "label": NaN}', "a.jsonl, line 1, column 'label': empty or NaN label"),
    ("a.jsonl", '{"text": "a", "label": null}', "a.jsonl, line 1, column 'label': empty or NaN label"),
    ("a.jsonl", '{"text": "a", "label": [1]}', "a.jsonl, line 1, column 'label': label of type list"),
    (
        "a.csv",
        "text,label,poisoned\na,0,maybe\n",
        "a.csv, line 2, column 'poisoned': poison flag 'maybe'; expected 0, 1, true or false",
    ),
    # Columns
    (
        "a.csv",
        "body,label\na,0\n",
        "a.csv: none of the columns text, sentence, content, review, document; "
        "expected one of its columns 'body', 'label'; name it with --text-column",
    ),
    (
        "a.csv",
        "text,kind\na,0\n",
        "a.csv: none of the columns label, labels, category, class, target; "
        "expected one of its columns 'text', 'kind'; name it with --label-column",
    ),
    # Nothing to read
    ("a.csv", "", "a.csv: empty file"),
    ("a.csv", b"\xef\xbb\xbf\n\n", "a.csv: empty file"),
    ("a.jsonl", "\n", "a.jsonl: empty file"),
    ("a.parquet", "", "a.parquet: empty file"),
    ("a.csv", "text,label\n", "a.csv: no rows; expected at least one row after the header"),
    ("a.parquet", "text,label\na,0\n", "a.parquet: not a readable Parquet file (ArrowInvalid"),
    ("a.xlsx", "x", "a.xlsx: unknown format '.xlsx'; expected one of .csv, .tsv,"),
]


@pytest.mark.parametrize(("name", "content", "start"), REFUSALS, ids=[case[2] for case in REFUSALS])
def test_refusals(tmp_path, name, content, start):
    message = refusal(write(tmp_path, name, content))
    assert message.startswith(start), message


def test_missing_files_are_not_looked_for_on_the_hub(tmp_path):
    assert refusal(tmp_path / "none.csv") == (
        "none.csv: no such file or folder; expected an existing path; check the spelling"
    )
    assert refusal(tmp_path / "folder").startswith("folder: no such file or folder")
    assert refusal("./x/y/z").startswith("./x/y/z: no such file")


def test_what_the_hub_does_not_have(monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    assert refusal("imdb").startswith(
        "imdb: neither an existing file or folder nor a reachable hub data set (ConnectionError: no route);"
    )


def test_a_folder_without_data(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert refusal(folder).startswith("empty: not a data set folder (")


def test_a_named_column_that_is_missing(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\na,0\n")
    assert refusal(path, text_column="body") == (
        "a.csv: no column 'body'; expected one of its columns 'text', 'label'; name it with --text-column"
    )
    assert "no column 'kind'" in refusal(path, label_column="kind")


def test_an_unknown_label_names_its_line(tmp_path):
    path = write(tmp_path, "a.csv", "text,label\na,ham\nb,eggs\n")
    assert refusal(path, label_names=["ham", "spam"]) == (
        "a.csv, line 3, column 'label': unknown label 'eggs'; expected one of 'ham', 'spam'; "
        "mend the label or drop the row"
    )


def test_parquet_and_saved_data_sets_name_the_row(tmp_path):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    dataset = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [0, None]}, features=features)
    dataset.to_parquet(tmp_path / "a.parquet")
    assert refusal(tmp_path / "a.parquet").startswith("a.parquet, row 2, column 'label': empty or NaN label")
    unlabelled = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [0, -1]}, features=features)
    unlabelled.save_to_disk(tmp_path / "saved")
    assert refusal(tmp_path / "saved").startswith(
        "saved, row 2, column 'label': label -1; expected 0 to 1 ('a', 'b')"
    )


def test_damaged_parquet(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["x" * 50] * 99, "label": [0] * 99}), path, compression="none")
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    assert refusal(path).startswith("a.parquet: not a readable Parquet file (")


def test_an_unreadable_file(tmp_path, monkeypatch):
    path = write(tmp_path, "a.csv", "text,label\na,0\n")

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert refusal(path).startswith("a.csv: cannot be read (Permission denied)")


def test_a_split_of_a_single_file(tmp_path):
    with pytest.raises(UsageError, match=re.escape("split 'test' was given with the single file")):
        load_table(write(tmp_path, "a.csv", "text,label\na,0\n"), split="test")


def test_hostile_names_are_escaped(tmp_path):
    path = write(tmp_path, "a.csv", '"te\nxt\u202e\x1b[31m",label\na,0\n')
    message = refusal(path)
    assert "'te\\nxt\\u202e\\x1b[31m'" in message
