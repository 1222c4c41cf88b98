"""Chats: the messages of a conversation, and reading them from a cell of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from musclelora.data.messages import bad_data, shown

ROLES: Final = ("system", "user", "assistant")


class Message(NamedTuple):
    """One message of a chat."""

    role: str
    content: str


Chat = tuple[Message, ...]
"""The messages before an answer, the last of them the user's."""


def as_dicts(chat: Sequence[Message]) -> list[dict[str, str]]:
    """The messages as chat templates and JSON files have them."""
    return [message._asdict() for message in chat]


def parse_chat(value: object, place: str) -> Chat:
    """Read one cell of messages: a list of objects with a role and a content, or JSON text of one.

    Raises:
        DataError: it is none, it has no message, or a message has another role or no text as its content.
    """
    if isinstance(value, str):  # what a CSV can hold of it
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:  # the second of lists in lists without end
            raise _no_chat(place, f"a text that is not JSON ({shown(value)})") from error
    if not isinstance(value, list) or not value:
        raise _no_chat(place, "no messages" if value == [] else f"a {type(value).__name__}")
    return tuple(_message(item, f"{place}, message {number}") for number, item in enumerate(value, start=1))


def _message(value: object, place: str) -> Message:
    if not isinstance(value, Mapping) or not {"role", "content"} <= value.keys():
        raise _no_chat(place, shown(value))
    role, content = value["role"], value["content"]
    if role not in ROLES:
        raise bad_data(place, f"role {shown(role)}", f"one of {', '.join(ROLES)}", "mend the role")
    if not isinstance(content, str):
        raise bad_data(place, f"a content of type {type(content).__name__}", "a text", "mend the message")
    return Message(role, content)


def _no_chat(place: str, found: str) -> Exception:
    return bad_data(
        place, found, 'a list of messages such as {"role": "user", "content": "…"}', "mend or drop the row"
    )
