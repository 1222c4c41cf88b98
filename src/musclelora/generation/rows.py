"""Prompts and responses as token ids, and which of them are learned."""

from __future__ import annotations

from typing import Final

import torch
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase as Tokenizer

from musclelora.data.chats import Chat, Message
from musclelora.data.messages import bad_data, one_line
from musclelora.data.pairs import Pairs
from musclelora.errors import ModelError
from musclelora.generation.templates import ChatTemplate
from musclelora.training.shards import IGNORED, Features

_MARK: Final = "the answer of the assistant"


class ChatFormat:
    """How a model reads a prompt and ends an answer.

    A tokenizer with a chat template is asked by it, in bounded time and memory. Without one, the messages
    follow one another and the answer follows them, each on a new line, after the begin token where there is
    one.

    Args:
        tokenizer: the model's.

    Attributes:
        end: the token that ends an answer.
        stops: the tokens at which generation stops.

    Raises:
        ModelError: the tokenizer has no token that ends an answer, or its template cannot be used.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        try:
            self._template = ChatTemplate(tokenizer) if tokenizer.chat_template else None
            end = self._end_of_turn(self._template) if self._template else None
        except TemplateError as error:
            raise ModelError(
                f"{tokenizer.name_or_path}: its chat template cannot be used ({error}); expected "
                "one that takes a user and an assistant; mend it, or remove it from the tokenizer"
            ) from error
        found = tokenizer.eos_token_id if end is None else end
        if found is None:
            raise ModelError(
                f"{tokenizer.name_or_path}: its tokenizer has no end token, expected one for answers; "
                "set one and save the tokenizer beside the model"
            )
        self.end: int = found
        self.stops = sorted({self.end, tokenizer.eos_token_id} - {None})

    def prompt(self, chat: Chat, place: str) -> list[int]:
        """The token ids of a chat, up to where the answer begins.

        Raises:
            DataError: the chat template refuses it; the message names `place`.
        """
        if self._template is not None:
            try:
                return self._ids(self._template.render(chat, for_answer=True))
            except TemplateError as error:
                raise bad_data(
                    place,
                    f"messages that the model's chat template refuses ({one_line(error)})",
                    "roles that it knows, in its order",
                    "mend the row or choose another model",
                ) from error
        begin = self.tokenizer.bos_token_id
        text = "".join(f"{message.content}\n" for message in chat)
        return [*([] if begin is None else [begin]), *self._ids(text)]

    def answer(self, response: str) -> list[int]:
        """The token ids of a response, the end token last."""
        return [*self._ids(response), self.end]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _end_of_turn(self, template: ChatTemplate) -> int | None:
        """The token that the template puts after an answer; None where it puts none of its own."""
        chat = (Message("user", "a question"), Message("assistant", _MARK))
        after = template.render(chat).rpartition(_MARK)[2]
        ids = self._ids(after.strip())
        return ids[0] if ids and ids[0] in self.tokenizer.added_tokens_decoder else None


class TokenizedPairs(torch.utils.data.Dataset[Features]):
    """Pairs as token ids: ``input_ids`` of prompt and response, ``labels`` of the response and its end alone.

    Args:
        pairs: N pairs.
        chats: how the model reads them.
        max_length: tokens of a row; a response that goes beyond them is cut and not ended.

    Attributes:
        truncated: how many responses were cut.

    Raises:
        DataError: a prompt leaves no token for its response.
    """

    def __init__(self, pairs: Pairs, chats: ChatFormat, max_length: int) -> None:
        self.truncated = 0
        self._rows: list[tuple[list[int], int]] = []
        rows = zip(pairs.prompts, pairs.responses, strict=True)
        for number, (prompt, response) in enumerate(rows, start=1):
            place = f"{pairs.source}, row {number}"
            asked = chats.prompt(prompt, place)
            check_length(len(asked), max_length - 1, place, "raise --max-length where the model allows it")
            ids = asked + chats.answer(response)
            self.truncated += len(ids) > max_length
            self._rows.append((ids[:max_length], len(asked)))

    @property
    def lengths(self) -> list[int]:
        """The tokens of each row."""
        return [len(ids) for ids, _ in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Features:
        ids, asked = self._rows[index]
        return {
            "input_ids": ids,
            "attention_mask": [1] * len(ids),
            "labels": [IGNORED] * asked + ids[asked:],
        }


def check_length(tokens: int, most: int, place: str, instead: str) -> None:
    """Refuse a prompt that is too long for the model; `instead` says what else than its text may be changed.

    Raises:
        DataError: it has more than `most` tokens.
    """
    if tokens > most:
        raise bad_data(
            place,
            f"a prompt of {tokens:,} tokens",
            f"at most {max(most, 0):,}, so that the answer has a place in what the model reads",
            f"shorten it, drop the row, or {instead}",
        )
