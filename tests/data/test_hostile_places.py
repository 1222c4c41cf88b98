"""Places that are no table, or that never end: one line each, and nothing is opened that could block."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from musclelora.attacks import get_trigger
from musclelora.data import Table, load_pairs, load_prompts, load_table, load_texts
from musclelora.data.places import files_below, may_be_on_hub
from musclelora.data.readers import READERS
from musclelora.data.stream import open_stream
from musclelora.errors import DataError, UsageError

ROWS = "text,label\na,good\nb,bad\n"
FIND = {"load_table": load_table, "load_texts": load_texts, "load_pairs": load_pairs, "stream": open_stream}


def refusal(read: Callable[[], object], kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as error:
        read()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("read", FIND.values(), ids=FIND)
@pytest.mark.parametrize("suffix", [*READERS, ".pipe", ""])
def test_a_fifo_is_refused_unopened(suffix: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"rows{suffix}")
    assert f"rows{suffix}: a FIFO; expected a regular file" in refusal(
        lambda: read(tmp_path / f"rows{suffix}")
    )


@pytest.mark.parametrize("suffix", READERS)
def test_a_device_behind_a_link_is_refused_unopened(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"rows{suffix}").symlink_to("/dev/zero")
    assert "a device; expected a regular file" in refusal(lambda: load_table(tmp_path / f"rows{suffix}"))


def test_a_socket_is_refused_unopened(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("rows.csv")
        assert "rows.csv: a socket; expected" in refusal(lambda: load_table("rows.csv"))


@pytest.mark.parametrize("name", ["test-clean.csv", "train.jsonl", "data.arrow", "state.json", "below/x.csv"])
@pytest.mark.parametrize("beside", ["train.csv", "train-clean.csv", "dataset_info.json"])
def test_a_folder_with_a_fifo_is_refused_unopened(name: str, beside: str, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / beside).write_text(ROWS)
    os.mkfifo(tmp_path / name)
    assert f"a FIFO in it ({name})" in refusal(lambda: load_table(tmp_path, split="train"))


def test_a_folder_that_links_to_itself_is_walked_once(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "again").symlink_to(tmp_path)
    assert [file.name for file in files_below(tmp_path)] == ["rows.csv"]


def test_data_behind_links_is_read(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "link.csv").symlink_to(tmp_path / "rows.csv")
    assert load_table(tmp_path / "link.csv").texts == ("a", "b")


@pytest.mark.parametrize("files", [{"file": "p.csv"}, {"file": "o.csv", "originals": "p.csv"}])
def test_paraphrases_in_a_fifo_are_refused_unopened(files: dict[str, str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.csv")
    (tmp_path / "o.csv").write_text(ROWS)
    paths = {name: str(tmp_path / file) for name, file in files.items()}
    trigger = get_trigger("style", backend="file", **paths)
    assert "p.csv: a FIFO" in refusal(lambda: trigger.apply("a", np.random.default_rng(0)))


# ---- what may have been meant ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train.cvs", "trian.csv", "train", "train.txt"])
@pytest.mark.parametrize("below", [False, True], ids=["here", "in a folder"])
def test_the_nearest_file_is_said(name: str, below: bool, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("data") if below else Path()
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "train.csv").write_text(ROWS)
    message = refusal(lambda: load_table(folder / name))
    assert f"{folder / name}: no such file or folder; did you mean {folder / 'train.csv'}?" in message


@pytest.mark.parametrize("name", ["data.cvs", "x" * 300, "no such name", "/no/such", "rows.csv"])
def test_what_is_no_hub_name_is_a_file_that_is_missing(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal(lambda: load_table(name))
    assert "no such file or folder" in message or "File name too long" in message
    assert "hub data set" not in message
    assert not may_be_on_hub(name)


def test_hub_names_are_left_to_the_hub() -> None:
    assert may_be_on_hub("imdb")
    assert may_be_on_hub("stanfordnlp/sst2")
    assert may_be_on_hub("owner/data.v2")


@pytest.mark.parametrize("name", ["", "  "])
def test_a_blank_name_is_not_the_folder_one_is_in(name: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "train.csv").write_text(ROWS)
    monkeypatch.chdir(tmp_path)
    assert "expected a path" in refusal(lambda: load_table(name))


# ---- nested without end ---------------------------------------------------------------------------------

DEEP = "[" * 200_000 + "]" * 200_000


@pytest.mark.parametrize("depth", [900, 20_000, 200_000])
@pytest.mark.parametrize("key", ["text", "label", "other"])
def test_json_nested_without_end(key: str, depth: int, tmp_path: Path) -> None:
    row = {"text": '"a"', "label": "0", "other": "0", key: "[" * depth + "]" * depth}
    file = tmp_path / "rows.jsonl"
    file.write_text("{" + ", ".join(f'"{name}": {value}' for name, value in row.items()) + "}\n")
    if key == "other" and depth == 900:
        assert load_table(file).texts == ("a",)
    else:
        assert "line 1" in refusal(lambda: load_table(file))


@pytest.mark.parametrize("cell", [DEEP, "[" * 900 + "]" * 900, '{"a":' * 200_000])
@pytest.mark.parametrize("read", [load_pairs, load_prompts])
def test_chats_nested_without_end(cell: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    file = tmp_path / "chats.csv"
    file.write_text('messages\n"' + cell.replace('"', '""') + '"\n')
    assert "line 2, column 'messages'" in refusal(lambda: read(file))


def test_messages_of_json_lines_nested_without_end(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    content = "[" * 950 + "]" * 950
    file.write_text(json.dumps({"messages": 1}).replace("1", f'[{{"role": "user", "content": {content}}}]'))
    assert "line 1" in refusal(lambda: load_prompts(file))


# ---- names and columns that stand for two things --------------------------------------------------------


@pytest.mark.parametrize("names", [{"text_column": "label"}, {"label_column": "text"}])
@pytest.mark.parametrize("read", [load_table, open_stream])
def test_one_column_is_not_text_and_label(
    names: dict[str, str], read: Callable[..., object], tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    message = refusal(lambda: read(tmp_path / "rows.csv", **names), UsageError)
    assert message.startswith("--text-column and --label-column: found column")


def test_one_column_is_not_prompt_and_response(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt,response\na,b\n")
    message = refusal(lambda: load_pairs(tmp_path / "rows.csv", response_column="prompt"), UsageError)
    assert message.startswith("--prompt-column and --response-column: found column 'prompt' for both")


def test_label_names_do_not_repeat(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS)
    twice = ("good", "bad", "good")
    assert "label names 'good' more than once" in refusal(
        lambda: load_table(tmp_path / "rows.csv", label_names=twice)
    )
    refusal(lambda: open_stream(tmp_path / "rows.csv", label_names=twice))
    assert "more than once" in refusal(lambda: Table(("a",), np.array([0]), twice))
    assert "that are no text" in refusal(lambda: Table(("a",), np.array([0]), (0, 1)))  # type: ignore[arg-type]
