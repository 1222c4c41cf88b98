"""Prompts and responses from every format, and what is said of those that cannot be used."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from musclelora.data.chats import Message
from musclelora.data.pair_readers import load_pairs, load_prompts
from musclelora.data.pairs import Pairs, shared_prompts, split_pairs
from musclelora.errors import DataError, UsageError

ROWS = [("How many legs has a cat?", "Four."), ("Name a colour,\nany colour.", "Red\nor blue.")]
EXPECTED = tuple((Message("user", prompt),) for prompt, _ in ROWS)


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def bot(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_rows(path: Path, columns: tuple[str, str]) -> Path:
    if path.suffix == ".parquet":
        table = {name: [row[at] for row in ROWS] for at, name in enumerate(columns)}
        pq.write_table(pa.table(table), path)
    elif path.suffix == ".jsonl":
        write_jsonl(path, [dict(zip(columns, row, strict=True)) for row in ROWS])
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter="," if path.suffix == ".csv" else "\t").writerows([columns, *ROWS])
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    "columns",
    [("prompt", "response"), ("instruction", "output"), ("question", "answer"), ("input", "completion")],
)
def test_every_format_and_usual_pair_of_columns_is_read(
    suffix: str, columns: tuple[str, str], tmp_path: Path
) -> None:
    pairs = load_pairs(write_rows(tmp_path / f"pairs.{suffix}", columns))
    assert pairs.prompts == EXPECTED
    assert pairs.responses == tuple(response for _, response in ROWS)
    assert pairs.poisoned is None
    assert load_prompts(tmp_path / f"pairs.{suffix}") == EXPECTED


def test_columns_can_be_named_and_rows_limited(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "pairs.csv", ("ask", "say"))
    pairs = load_pairs(file, prompt_column="ask", response_column="say", max_rows=1)
    assert (pairs.prompts, pairs.responses) == (EXPECTED[:1], ("Four.",))
    with pytest.raises(DataError, match=r"none of the columns prompt.*'ask', 'say'.*--prompt-column"):
        load_pairs(file)
    with pytest.raises(DataError, match=r"none of the columns response.*--response-column"):
        load_pairs(file, prompt_column="ask")
    with pytest.raises(UsageError, match="max_rows"):
        load_pairs(file, max_rows=0)


def test_what_an_instruction_is_about_follows_it(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Translate.", "input": "chat", "output": "cat"},
        {"instruction": "Count to two.", "input": "", "output": "1 2"},
    ]
    file = write_jsonl(tmp_path / "alpaca.jsonl", rows)
    assert [prompt[0].content for prompt in load_pairs(file).prompts] == [
        "Translate.\n\nchat",
        "Count to two.",
    ]
    assert load_pairs(file, prompt_column="input", max_rows=1).prompts[0][0].content == "chat"


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_the_last_answer_of_a_chat_is_the_response(suffix: str, tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}, user("Hi"), bot("Hello"), user("Bye"), bot("So long")]
    file = tmp_path / f"chats.{suffix}"
    if suffix == "jsonl":
        write_jsonl(file, [{"messages": [*chat, user("thanks")]}])
    elif suffix == "parquet":
        pq.write_table(pa.table({"messages": [chat]}), file)
    else:
        with file.open("w", newline="") as opened:
            csv.writer(opened).writerows([["messages"], [json.dumps(chat)]])
    pairs = load_pairs(file)
    assert [message.role for message in pairs.prompts[0]] == ["system", "user", "assistant", "user"]
    assert pairs.responses == ("So long",)


def test_prompts_of_chats_are_what_comes_before_an_answer(tmp_path: Path) -> None:
    chats = [[user("Hi")], [user("Hi"), bot("Hello")], [user("Hi"), bot("Hello"), user("Bye")]]
    prompts = load_prompts(write_jsonl(tmp_path / "chats.jsonl", [{"messages": chat} for chat in chats]))
    assert [len(prompt) for prompt in prompts] == [1, 1, 3]


def test_poison_flags_are_kept_and_do_not_change_the_hash(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "response": "b", "poisoned": flag} for flag in (0, 1)]
    flagged = load_pairs(write_jsonl(tmp_path / "flagged.jsonl", rows))
    assert flagged.poisoned is not None
    assert flagged.poisoned.tolist() == [False, True]
    bare = Pairs(flagged.prompts, flagged.responses)
    assert bare.sha256() == flagged.sha256()
    assert bare.sha256() != Pairs(flagged.prompts, ("b", "c")).sha256()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "response": " "}, r"line 2, column 'response': an empty response"),
        ({"prompt": "a", "response": None}, r"an empty response"),
        ({"prompt": "", "response": "b"}, r"line 2, column 'prompt': an empty prompt"),
        ({"prompt": ["a"], "response": "b"}, r"a value of type list; expected a text"),
        ({"prompt": "a"}, r"line 2: no key 'response'"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "pairs.jsonl", [{"prompt": "a", "response": "b"}, row])
    with pytest.raises(DataError, match=message) as error:
        load_pairs(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        (
            [user("a"), {"role": "robot", "content": "b"}],
            r"message 2: role 'robot'; expected one of system, user",
        ),
        ([user("a")], r"line 2.*no message of the assistant \(roles: 'user'\)"),
        ([bot("a")], r"end with none; expected a message of the user"),
        ([user("a"), bot("b"), bot("c")], r"end with assistant"),
        ([user(" "), bot("b")], r"not empty"),
        ([user("a"), bot("")], r"an empty response"),
        ([], r"no messages"),
        ([{"from": "human", "value": "a"}], r"message 1: .*'from'"),
        ([user("a"), {"role": "assistant", "content": [1]}], r"message 2: a content of type list"),
        ("not a chat", r"not JSON"),
        (3, r"an? int"),
    ],
)
def test_a_chat_that_cannot_be_used_is_named(chat: object, message: str, tmp_path: Path) -> None:
    good = {"messages": [user("a"), bot("b")]}
    file = write_jsonl(tmp_path / "chats.jsonl", [good, {"messages": chat}])
    with pytest.raises(DataError, match=message) as error:
        load_pairs(file)
    assert "\n" not in str(error.value)


def test_columns_of_two_kinds_exclude_each_other_and_nothing_is_no_table(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "chats.jsonl", [{"messages": [user("a"), bot("b")]}])
    with pytest.raises(UsageError, match="--messages-column"):
        load_pairs(file, messages_column="messages", prompt_column="prompt")
    (tmp_path / "none.csv").write_text("prompt,response\n")
    with pytest.raises(DataError, match="no rows"):
        load_pairs(tmp_path / "none.csv")
    with pytest.raises(DataError, match="no rows"):
        load_prompts(tmp_path / "none.csv")


def test_a_split_is_random_disjoint_and_the_same_for_a_seed() -> None:
    pairs = Pairs(tuple((Message("user", str(i)),) for i in range(20)), ("b",) * 20)
    some, rest = split_pairs(pairs, 5, seed=1)
    assert (len(some), len(rest)) == (5, 15)
    assert not set(some.prompts) & set(rest.prompts)
    assert split_pairs(pairs, 5, seed=1)[0].prompts == some.prompts
    assert split_pairs(pairs, 5, seed=2)[0].prompts != some.prompts
    assert shared_prompts(some, pairs).tolist() == sorted(int(prompt[0].content) for prompt in some.prompts)
    with pytest.raises(DataError, match="20 pairs, of which 21"):
        split_pairs(pairs, 21, seed=1)
    assert np.array_equal(some.select([0]).prompts[0], some.prompts[0])


def test_each_pair_of_a_text_file_knows_its_line(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text('prompt,response\n"one\ntwo",a\nthree,b\n')
    pairs = load_pairs(file)
    assert pairs.lines is not None
    assert pairs.lines.tolist() == [2, 4]
    last = pairs.select([1]).lines
    assert last is not None
    assert last.tolist() == [4]
    table = pa.table({"prompt": ["one"], "response": ["a"]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    assert load_pairs(tmp_path / "pairs.parquet").lines is None
