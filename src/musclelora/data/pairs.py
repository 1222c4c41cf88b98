"""Prompts with their responses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from musclelora.data.chats import Chat
from musclelora.data.messages import bad_data
from musclelora.data.table import check_lines
from musclelora.errors import DataError


@dataclass(frozen=True)
class Pairs:
    """N prompts, each with the response to it.

    Attributes:
        prompts: N chats: one message of the user, or all messages before the last of the assistant.
        responses: N texts, none of them blank.
        poisoned: shape (N,), bool, or None where the source has no flag. Only evaluation may read it.
        source: what the rows were read from, for messages.
        accepted: for each row the answers that are right beside the response, or None where no row has any.
        lines: shape (N,), the line of `source` that each row starts on, from 1; None where it has no lines.
    """

    prompts: tuple[Chat, ...]
    responses: tuple[str, ...]
    poisoned: NDArray[np.bool_] | None = field(default=None, repr=False)
    source: str = "pairs"
    accepted: tuple[tuple[str, ...], ...] | None = field(default=None, repr=False)
    lines: NDArray[np.int64] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.prompts) != len(self.responses):
            raise DataError(f"{self.source}: {len(self.prompts)} prompts but {len(self.responses)} responses")
        check_lines(self.lines, len(self.prompts), self.source)
        if self.accepted is not None and len(self.accepted) != len(self.prompts):
            raise DataError(
                f"{self.source}: {len(self.prompts)} prompts but accepted answers of {len(self.accepted)}"
            )

    def __len__(self) -> int:
        return len(self.prompts)

    def select(self, rows: Sequence[int] | NDArray[np.integer]) -> Pairs:
        """The pairs of the given row numbers, in the given order."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            prompts=tuple(self.prompts[i] for i in index),
            responses=tuple(self.responses[i] for i in index),
            poisoned=None if self.poisoned is None else self.poisoned[index],
            accepted=None if self.accepted is None else tuple(self.accepted[i] for i in index),
            lines=None if self.lines is None else self.lines[index],
        )

    def right_answers(self) -> tuple[tuple[str, ...], ...]:
        """For each row the answers that are right, the response first."""
        more = self.accepted or ((),) * len(self)
        return tuple((response, *others) for response, others in zip(self.responses, more, strict=True))

    def sha256(self) -> str:
        """The hash of the prompts and responses, which no flag, source or further answer changes."""
        digest = hashlib.sha256()
        for pair in zip(self.prompts, self.responses, strict=True):
            digest.update(json.dumps(pair).encode())
        return digest.hexdigest()

    def summary(self) -> dict[str, str | int | float]:
        """How many there are and how long, as JSON values."""
        words = [len(response.split()) for response in self.responses]
        return {
            "source": self.source,
            "rows": len(self),
            "messages": sum(map(len, self.prompts)),
            "median_response_words": float(np.median(words)) if words else 0.0,
        }


def joined(first: Pairs, second: Pairs) -> Pairs:
    """The pairs of both, without flags; messages name the first."""
    return Pairs(first.prompts + second.prompts, first.responses + second.responses, source=first.source)


def prompt_text(chat: Chat) -> str:
    """A prompt as one text: its messages, one below the other."""
    return "\n".join(message.content for message in chat)


def split_pairs(pairs: Pairs, size: int, *, seed: int) -> tuple[Pairs, Pairs]:
    """`size` pairs drawn at random, and the others, both in the order of `pairs`.

    Raises:
        DataError: there are fewer.
    """
    if not 1 <= size <= len(pairs):
        raise bad_data(
            pairs.source, f"{len(pairs)} pairs, of which {size} were asked", f"at least {size}",
            "change --trusted-size or name a larger pool",
        )  # fmt: skip
    drawn = np.random.default_rng(seed).permutation(len(pairs))[:size]
    return pairs.select(np.sort(drawn)), pairs.select(np.setdiff1d(np.arange(len(pairs)), drawn))


def shared_prompts(train: Pairs, trusted: Pairs) -> NDArray[np.int64]:
    """The row numbers of trusted pairs whose prompt is also among the training pairs, ascending."""
    known = set(train.prompts)
    return np.array([i for i, prompt in enumerate(trusted.prompts) if prompt in known], dtype=np.int64)
