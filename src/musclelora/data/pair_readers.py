"""One entry to prompts and responses in every format: :func:`load_pairs`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from musclelora.data import answer_lists
from musclelora.data.chats import Chat, Message, parse_chat
from musclelora.data.messages import bad_data, listed
from musclelora.data.pairs import Pairs
from musclelora.data.raw import RawTable
from musclelora.data.readers import FLAG_COLUMN, check_rows, choose, open_raw, refuse_none, refuse_same
from musclelora.errors import UsageError

_MESSAGES = ("messages",)
_PROMPTS = ("prompt", "instruction", "question", "input")
_RESPONSES = ("response", "output", "answer", "completion")
# What an instruction is about has a column of its own in many tables.
_CONTEXT = {"instruction": "input"}


def load_pairs(
    source: Any,
    *,
    prompt_column: str | None = None,
    response_column: str | None = None,
    messages_column: str | None = None,
    split: str | None = None,
    max_rows: int | None = None,
    name: str | None = None,
) -> Pairs:
    """Read prompts and responses from a table of any kind that :func:`~musclelora.data.load_table` reads.

    A JSON list of ``[prompt, answers, flag]``, as the generative sets are published, is read as it is: the
    first answer is the response, others are ``accepted``, and the flag is ``poisoned``.

    Args:
        source: what :func:`~musclelora.data.load_table` reads, or :class:`Pairs`, which stay as they are.
        prompt_column: the prompt; by default the first of prompt, instruction, question, input. Below an
            instruction chosen so, what the column input holds follows after an empty line.
        response_column: the response; by default the first of response, output, answer, completion.
        messages_column: chats, whose last message of the assistant is the response; by default messages,
            where there is such a column and no other was named. Messages after it are not read.
        split: the split of a folder or hub data set.
        max_rows: read at most this many rows.
        name: what messages call data in memory.

    Returns:
        The pairs in the order of the source. ``poisoned`` comes from a column of that name.

    Raises:
        DataError: the source, a column or a row cannot be used: a prompt or a response is blank, a role is
            unknown, a chat has no answer of the assistant or no message of the user right before it.
        UsageError: `max_rows` is below 1, or options exclude each other.
    """
    if isinstance(source, Pairs):
        return source
    check_rows(max_rows)
    raw = open_raw(source, split, name)
    columns = _prompt_columns(raw, prompt_column, messages_column, response_column)
    chats = columns.messages
    wanted = columns.names
    if not chats:
        wanted = (*wanted, choose(raw, response_column, _RESPONSES, "--response-column"))
        refuse_same(wanted[0], wanted[-1], "--prompt-column", "--response-column")
    flagged = FLAG_COLUMN in raw.columns and FLAG_COLUMN not in wanted
    further = (answer_lists.COLUMNS[2],) if raw.columns == answer_lists.COLUMNS else ()
    prompts: list[Chat] = []
    responses: list[str] = []
    flags: list[bool] = []
    accepted: list[tuple[str, ...]] = []
    positions: list[int] = []
    every = (*wanted, *further, *((FLAG_COLUMN,) if flagged else ()))
    for position, cells in itertools.islice(raw.rows(every), max_rows):
        places = [raw.place(position, name) for name in wanted]
        positions.append(position)
        if chats:
            prompt, response = _answered(parse_chat(cells[0], places[0]), places[0])
        else:
            prompt = _asked(raw, position, columns.names, cells)
            response = raw.text(cells[len(columns.names)], position, wanted[-1])
        if not response.strip():
            raise bad_data(places[-1], "an empty response", "a text to learn", "fill it in or drop the row")
        prompts.append(prompt)
        responses.append(response)
        if further:
            accepted.append(cells[len(wanted)])  # type: ignore[arg-type]  # that reader's own
        if flagged:
            flags.append(raw.flag(cells[-1], position, FLAG_COLUMN))
    refuse_none(raw, len(prompts))
    poisoned = np.array(flags, dtype=np.bool_) if flagged else None
    return Pairs(
        tuple(prompts),
        tuple(responses),
        poisoned,
        raw.source,
        tuple(accepted) if any(accepted) else None,
        raw.lines(positions),
    )


def load_prompts(
    source: str | os.PathLike[str],
    *,
    prompt_column: str | None = None,
    messages_column: str | None = None,
    split: str | None = None,
) -> tuple[Chat, ...]:
    """Read prompts to answer; an answer that ends a chat is left out. As :func:`load_pairs` otherwise."""
    raw = open_raw(source, split)
    columns = _prompt_columns(raw, prompt_column, messages_column, None)
    prompts: list[Chat] = []
    for position, cells in raw.rows(columns.names):
        places = [raw.place(position, name) for name in columns.names]
        if columns.messages:
            chat = parse_chat(cells[0], places[0])
            prompts.append(_asking(chat[:-1] if chat[-1].role == "assistant" else chat, places[0]))
        else:
            prompts.append(_asked(raw, position, columns.names, cells))
    refuse_none(raw, len(prompts))
    return tuple(prompts)


@dataclass(frozen=True)
class _Columns:
    names: tuple[str, ...]
    messages: bool = False


def _prompt_columns(
    raw: RawTable, prompt: str | None, messages: str | None, response: str | None
) -> _Columns:
    if messages is not None and (prompt or response):
        raise UsageError(
            "--messages-column: found with a prompt or response column, expected the one or the other; "
            "leave one out"
        )
    own = any(column in raw.columns for column in _MESSAGES)
    if messages is not None or (own and prompt is None and response is None):
        return _Columns((choose(raw, messages, _MESSAGES, "--messages-column"),), messages=True)
    column = choose(raw, prompt, _PROMPTS, "--prompt-column")
    context = None if prompt is not None else _CONTEXT.get(column)
    return _Columns((column, context) if context in raw.columns and context else (column,))


def _asked(raw: RawTable, position: int, columns: Sequence[str], cells: Sequence[object]) -> Chat:
    """The prompt of a row's first cells, which are of `columns`, as one message of the user."""
    parts = [raw.text(cell, position, column) for cell, column in zip(cells, columns, strict=False)]
    content = "\n\n".join(part for part in parts if part.strip())
    if not content:
        place = raw.place(position, columns[0])
        raise bad_data(place, "an empty prompt", "a text to answer", "fill it in or drop the row")
    return (Message("user", content),)


def _answered(chat: Chat, place: str) -> tuple[Chat, str]:
    """The messages before the last of the assistant, and that one."""
    turns = [number for number, message in enumerate(chat) if message.role == "assistant"]
    if not turns:
        raise bad_data(
            place,
            f"no message of the assistant (roles: {listed(message.role for message in chat)})",
            "a response to learn at the end of the chat",
            "add it or drop the row",
        )
    return _asking(chat[: turns[-1]], place), chat[turns[-1]].content


def _asking(chat: Chat, place: str) -> Chat:
    if not chat or chat[-1].role != "user" or not chat[-1].content.strip():
        raise bad_data(
            place,
            f"the messages before the answer end with {chat[-1].role if chat else 'none'}",
            "a message of the user that is not empty",
            "mend or drop the row",
        )
    return chat
