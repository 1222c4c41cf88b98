"""load_table on well-formed sources: every format, columns, labels, flags."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musclelora.data import Table, load_table
from musclelora.data.openbackdoor import COLUMNS
from musclelora.data.readers import READERS
from musclelora.errors import DataError, UsageError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
ROWS = [("good film", "pos"), ("bad film", "neg"), ("fine", "pos")]


def write_delimited(path: Path, header, rows, delimiter=",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, columns: dict[str, list[object]]) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), path)
    return path


def write_any(folder: Path, suffix: str, rows) -> Path:
    """The same (text, label) rows in the format of `suffix`."""
    path = folder / f"table{suffix}"
    if suffix == ".csv":
        return write_delimited(path, ("text", "label"), rows)
    if suffix == ".tsv":
        return write_delimited(path, ("text", "label"), rows, "\t")
    if suffix == ".parquet":
        return write_parquet(path, {"text": [r[0] for r in rows], "label": [r[1] for r in rows]})
    return write_jsonl(path, [{"text": text, "label": label} for text, label in rows])


@pytest.mark.parametrize("suffix", READERS)
def test_every_format_gives_the_same_table(tmp_path, suffix):
    table = load_table(write_any(tmp_path, suffix, ROWS))
    assert table.texts == ("good film", "bad film", "fine")
    assert table.label_names == ("neg", "pos")
    assert table.labels.tolist() == [1, 0, 1]
    assert table.labels.dtype == np.int64
    assert table.poisoned is None
    assert table.source.endswith(suffix)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@given(rows=st.lists(st.tuples(texts, st.sampled_from(["a", "b"])), min_size=1, max_size=8))
def test_any_unicode_text_survives(tmp_path, suffix, rows):
    table = load_table(write_any(tmp_path, suffix, rows))
    assert list(table.texts) == [text for text, _ in rows]
    assert [table.label_names[i] for i in table.labels] == [label for _, label in rows]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    "text",
    [
        "\0 a\0b\0",
        "👩‍👩‍👧 🎬",
        "\u202eשלום مرحبا",
        'a "b"\r\nc\rd\te,f',
        " line\u2028separator\x85 ",
        "\ufeff",
        "x" * 200_000,
    ],
    ids=["nul", "emoji", "rtl", "quotes", "separators", "bom", "long"],
)
def test_difficult_texts_survive(tmp_path, suffix, text):
    assert load_table(write_any(tmp_path, suffix, [(text, "0"), ("b", "1")])).texts[0] == text


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\nhé,0\n".encode("utf-8-sig"))
    assert load_table(path).texts == ("hé",)


def test_reading_leaves_the_csv_field_limit_as_it_was(tmp_path):
    before = csv.field_size_limit()
    load_table(write_any(tmp_path, ".csv", ROWS), max_rows=1)
    assert csv.field_size_limit() == before


def test_blank_lines_are_skipped(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\ntext,label\n\na,0\n\n")
    assert load_table(path).texts == ("a",)
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"text": "a", "label": 0}\n\n')
    assert load_table(path).texts == ("a",)


def test_max_rows_reads_no_further(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,0\nb,1\nmalformed\n")
    assert load_table(path, max_rows=2).texts == ("a", "b")
    with pytest.raises(UsageError, match="max_rows is 0"):
        load_table(path, max_rows=0)


# Columns


def test_columns_are_chosen_by_the_first_known_name(tmp_path):
    path = write_delimited(
        tmp_path / "a.csv", ("target", "review", "sentence", "class"), [("t", "r", "s", "c")]
    )
    table = load_table(path)
    assert (table.texts, table.label_names) == (("s",), ("c",))


def test_named_columns_win(tmp_path):
    path = write_delimited(tmp_path / "a.csv", ("text", "label", "body", "kind"), [("t", "l", "b", "k")])
    table = load_table(path, text_column="body", label_column="kind")
    assert (table.texts, table.label_names) == (("b",), ("k",))


def test_a_null_text_is_empty(tmp_path):
    path = write_jsonl(
        tmp_path / "a.jsonl",
        [{"text": None, "label": 0}, {"text": float("nan"), "label": 1}, {"text": 7, "label": 1}],
    )
    assert load_table(path).texts == ("", "", "7")


# Labels


@pytest.mark.parametrize(
    ("labels", "names", "ids"),
    [
        (["1", "0", "3"], ("0", "1", "2", "3"), [1, 0, 3]),
        (["1.0", " 0 ", "01"], ("0", "1"), [1, 0, 1]),
        (["1", "-1"], ("-1", "1"), [1, 0]),
        (["5000", "10"], ("10", "5000"), [1, 0]),
        (["b", " a ", "b"], ("a", "b"), [1, 0, 1]),
        (["1", "x"], ("1", "x"), [0, 1]),
        (["False", "True"], ("False", "True"), [0, 1]),
        (["none", "2.5"], ("2.5", "none"), [1, 0]),
    ],
)
def test_label_maps(tmp_path, labels, names, ids):
    path = write_delimited(tmp_path / "a.csv", ("text", "label"), [("t", label) for label in labels])
    table = load_table(path)
    assert (table.label_names, table.labels.tolist()) == (names, ids)


@pytest.mark.parametrize(
    ("labels", "names", "ids"),
    [
        ([1, 0], ("0", "1"), [1, 0]),
        ([1.0, 0.0], ("0", "1"), [1, 0]),
        ([True, False], ("False", "True"), [1, 0]),
    ],
)
def test_numbers_and_booleans_are_labels(tmp_path, labels, names, ids):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": "t", "label": label} for label in labels])
    table = load_table(path)
    assert (table.label_names, table.labels.tolist()) == (names, ids)


def test_a_saved_label_map_is_used(tmp_path):
    path = write_delimited(tmp_path / "a.csv", ("text", "label"), [("t", "spam"), ("u", "0")])
    table = load_table(path, label_names=["ham", "eggs", "spam"])
    assert table.label_names == ("ham", "eggs", "spam")
    assert table.labels.tolist() == [2, 0]


def test_an_integer_is_no_index_into_names_that_are_integers(tmp_path):
    path = write_delimited(tmp_path / "a.csv", ("text", "label"), [("t", "-1"), ("u", "0")])
    with pytest.raises(
        DataError, match=r"a\.csv, line 3, column 'label': unknown label '0'; expected one of '-1', '1'"
    ):
        load_table(path, label_names=["-1", "1"])


# Poison flags


def test_a_column_of_flags_is_read(tmp_path):
    path = write_delimited(
        tmp_path / "a.csv", ("text", "label", "poisoned"), [("a", "0", "1"), ("b", "1", "False")]
    )
    assert load_table(path).poisoned.tolist() == [True, False]
    path = write_parquet(
        tmp_path / "a.parquet", {"text": ["a", "b"], "label": [0, 1], "poisoned": [True, False]}
    )
    assert load_table(path).poisoned.tolist() == [True, False]


def write_openbackdoor(folder: Path) -> Path:
    for name, text in {
        "train-clean": "clean",
        "mix/0.1/train-poison": "poison",
        "test-clean": "test",
    }.items():
        path = folder / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_delimited(path, COLUMNS, [(0, f"{text}, one", 1, 0), (1, text, 0, 1)])
    return folder


def test_openbackdoor_file(tmp_path):
    table = load_table(write_openbackdoor(tmp_path) / "train-clean.csv")
    assert table.texts == ("clean, one", "clean")
    assert table.labels.tolist() == [1, 0]
    assert table.label_names == ("0", "1")
    assert table.poisoned.tolist() == [False, True]


def test_openbackdoor_folder(tmp_path):
    folder = write_openbackdoor(tmp_path)
    assert load_table(folder, split="test-clean").texts[1] == "test"
    assert load_table(folder, split="mix/0.1/train-poison").texts[1] == "poison"
    splits = "'mix/0.1/train-poison', 'test-clean', 'train-clean'"
    with pytest.raises(DataError, match=f"no split named; expected one of {splits}; name a split"):
        load_table(folder)
    with pytest.raises(DataError, match=f"no split '../secret'; expected one of {splits}"):
        load_table(folder, split="../secret")


def test_the_published_sst2_files():
    folder = SHARED / "data" / "sst-2" / "1" / "addsent"
    if not folder.is_dir():
        pytest.skip(f"needs the SST-2 files in {folder}")
    table = load_table(folder, split="mix/0.1/train-poison")
    assert len(table) == 6920
    assert table.label_names == ("0", "1")
    assert int(table.poisoned.sum()) == 692
    assert len(load_table(folder / "test-poison.csv", label_names=table.label_names)) == 912


# Hugging Face


@pytest.fixture
def dataset():
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos", "other"])}
    )
    return datasets.Dataset.from_dict({"text": ["a", "b\0"], "label": [1, 0]}, features=features)


def test_saved_data_set_keeps_its_class_names(tmp_path, dataset):
    dataset.save_to_disk(tmp_path / "saved")
    table = load_table(tmp_path / "saved")
    assert table.texts == ("a", "b\0")
    assert table.label_names == ("neg", "pos", "other")
    assert table.labels.tolist() == [1, 0]
    with pytest.raises(DataError, match="saved: no splits, but split 'test' was asked for"):
        load_table(tmp_path / "saved", split="test")


def test_saved_data_set_with_splits(tmp_path, dataset):
    import datasets

    saved = datasets.DatasetDict({"train": dataset, "test": dataset.select([1])})
    saved.save_to_disk(tmp_path / "saved")
    assert len(load_table(tmp_path / "saved")) == 2
    assert load_table(tmp_path / "saved", split="test").labels.tolist() == [0]
    with pytest.raises(DataError, match="saved: no split 'dev'; expected one of 'train', 'test'"):
        load_table(tmp_path / "saved", split="dev")


def test_parquet_written_by_datasets_keeps_its_class_names(tmp_path, dataset):
    dataset.to_parquet(tmp_path / "a.parquet")
    assert load_table(tmp_path / "a.parquet").label_names == ("neg", "pos", "other")


def test_class_names_yield_to_a_saved_map(tmp_path, dataset):
    dataset.save_to_disk(tmp_path / "saved")
    assert load_table(tmp_path / "saved", label_names=["pos", "neg"]).labels.tolist() == [0, 1]
    assert load_table(tmp_path / "saved", label_names=["0", "1"]).labels.tolist() == [1, 0]


def test_a_folder_of_data_files(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    write_delimited(folder / "train.csv", ("text", "label"), [("a", "x")])
    write_delimited(folder / "test.csv", ("text", "label"), [("b", "y")])
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    assert load_table(folder).texts == ("a",)
    assert load_table(folder, split="test").texts == ("b",)


def test_hub_names_go_to_datasets(monkeypatch, dataset):
    calls = []
    monkeypatch.setattr(
        "datasets.load_dataset", lambda *args, **kwargs: calls.append((args, kwargs)) or dataset
    )
    assert load_table("owner/name").label_names == ("neg", "pos", "other")
    load_table("imdb", split="test[:10]")
    assert calls == [(("owner/name",), {"split": "train"}), (("imdb",), {"split": "test[:10]"})]


def test_each_row_of_a_text_file_knows_its_line(tmp_path) -> None:
    csv_file = tmp_path / "rows.csv"
    csv_file.write_bytes(
        b'\xef\xbb\xbftext,label\r\n"one\r\nmore ""x""\r\n",a\r\n\r\ntwo,b\r\n"three\n",a\nfour,b\n'
    )
    table = load_table(csv_file)
    assert table.lines is not None
    assert table.lines.tolist() == [2, 6, 7, 9]
    picked = table.select([3, 1]).lines
    assert picked is not None
    assert picked.tolist() == [9, 6]
    json_file = tmp_path / "rows.jsonl"
    rows = [{"text": "a\nb", "label": "x"}, {"text": "c", "label": "y"}]
    json_file.write_text("\n".join(map(json.dumps, rows[:1])) + "\n\n" + json.dumps(rows[1]) + "\n")
    lines = load_table(json_file).lines
    assert lines is not None
    assert lines.tolist() == [1, 3]
    parquet = write_parquet(tmp_path / "rows.parquet", {"text": ["a", "b"], "label": [0, 1]})
    assert load_table(parquet).lines is None


def test_lines_of_other_rows_are_refused() -> None:
    with pytest.raises(DataError, match="2 rows but 1 lines"):
        Table(("a", "b"), np.array([0, 1]), ("x", "y"), lines=np.array([2]))
