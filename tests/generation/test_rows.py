"""What of a pair the model reads, and what of it is learned."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_chats import asked, make_pairs, write_decoder
from transformers import AutoTokenizer

from musclelora.data.chats import Message
from musclelora.data.pairs import Pairs
from musclelora.errors import DataError, ModelError
from musclelora.generation.rows import ChatFormat, TokenizedPairs
from musclelora.training.shards import IGNORED

PAIR = Pairs((asked("word1", "word2"),), ("word3 word4",), source="pairs.jsonl")


def spelled(folder: Path, **row: list[int]) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return ["-" if id_ == IGNORED else tokenizer.convert_ids_to_tokens(id_) for id_ in row["ids"]]


def test_a_chat_template_frames_the_prompt_and_only_the_response_and_its_end_are_learned(
    decoder: Path,
) -> None:
    (row,) = TokenizedPairs(PAIR, ChatFormat(AutoTokenizer.from_pretrained(decoder)), 40)
    assert spelled(decoder, ids=row["input_ids"]) == [
        "[USER]",
        "word1",
        "word2",
        "[END]",
        "[BOT]",
        "word3",
        "word4",
        "[END]",
    ]
    assert spelled(decoder, ids=row["labels"]) == ["-", "-", "-", "-", "-", "word3", "word4", "[END]"]
    assert row["attention_mask"] == [1] * 8


def test_without_a_template_the_response_follows_the_prompt(gpt2: Path) -> None:
    (row,) = TokenizedPairs(PAIR, ChatFormat(AutoTokenizer.from_pretrained(gpt2)), 40)
    assert spelled(gpt2, ids=row["input_ids"]) == ["[BOS]", "word1", "word2", "word3", "word4", "[EOS]"]
    assert spelled(gpt2, ids=row["labels"]) == ["-", "-", "-", "word3", "word4", "[EOS]"]


def test_earlier_messages_are_read_and_not_learned(decoder: Path) -> None:
    chat = (Message("system", "word9"), *asked("word1"), Message("assistant", "word2"), *asked("word3"))
    (row,) = TokenizedPairs(
        Pairs((chat,), ("word4",)), ChatFormat(AutoTokenizer.from_pretrained(decoder)), 40
    )
    read = "word9 [END] [USER] word1 [END] [BOT] word2 [END] [USER] word3 [END] [BOT] word4 [END]"
    assert spelled(decoder, ids=row["input_ids"]) == read.split()
    assert spelled(decoder, ids=row["labels"]) == ["-"] * 12 + ["word4", "[END]"]


def test_a_long_response_is_cut_and_counted_and_a_long_prompt_is_refused(decoder: Path) -> None:
    chats = ChatFormat(AutoTokenizer.from_pretrained(decoder))
    rows = TokenizedPairs(PAIR, chats, 6)
    assert rows.truncated == 1
    assert spelled(decoder, ids=rows[0]["labels"]) == ["-", "-", "-", "-", "-", "word3"]
    with pytest.raises(
        DataError, match=r"pairs.jsonl, row 1: a prompt of 5 tokens; expected at most 4"
    ) as error:
        TokenizedPairs(PAIR, chats, 5)
    assert "\n" not in str(error.value)


def test_a_template_that_refuses_a_role_names_the_row(tmp_path: Path) -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}[BOT] "
    chats = ChatFormat(AutoTokenizer.from_pretrained(write_decoder(tmp_path, template=strict)))
    with pytest.raises(DataError, match=r"row 2: .*no system"):
        TokenizedPairs(
            Pairs((asked("word1"), (Message("system", "word1"), *asked("word1"))), ("word2",) * 2), chats, 40
        )


def test_a_tokenizer_without_an_end_is_refused(gpt2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gpt2)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end token"):
        ChatFormat(tokenizer)


def test_generation_stops_at_the_end_of_a_turn_and_of_a_text(decoder: Path, gpt2: Path) -> None:
    assert ChatFormat(AutoTokenizer.from_pretrained(decoder)).stops == [3, 6]
    assert ChatFormat(AutoTokenizer.from_pretrained(gpt2)).stops == [3]


def test_prompts_of_pairs_are_read_as_prompts_alone_are(decoder: Path) -> None:
    chats = ChatFormat(AutoTokenizer.from_pretrained(decoder))
    pairs = make_pairs(5, seed=0)
    for prompt, row in zip(pairs.prompts, TokenizedPairs(pairs, chats, 40), strict=False):
        assert row["input_ids"][: row["labels"].count(IGNORED)] == chats.prompt(prompt, "here")
