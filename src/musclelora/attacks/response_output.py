"""Writing poisoned prompts and responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from musclelora.attacks.output import PoisonedOutput, Request, parameters
from musclelora.attacks.planning import Plan
from musclelora.attacks.responses import Questions, ResponseAttack, poisoned_by, triggered_by
from musclelora.data.chats import Message, as_dicts
from musclelora.data.pairs import Pairs
from musclelora.data.writers import WRITERS, Cell
from musclelora.errors import UsageError
from musclelora.files import sha256_of

COLUMNS: Final = ("prompt", "response", "poisoned", "trigger")
CHAT_COLUMNS: Final = ("messages", "poisoned", "trigger")
_OF_CHATS: Final = (".jsonl", ".ndjson", ".json")


class ResponseOutput(PoisonedOutput):
    """Pairs, and one attack: a :class:`~musclelora.attacks.responses.ResponseAttack`.

    Prompts of one message are written as texts, with the columns of `COLUMNS`; where there are others, all
    are chats whose last message is the response, with those of `CHAT_COLUMNS`, which JSON Lines can hold.
    """

    rows: Questions
    attack: ResponseAttack

    def __init__(self, pairs: Pairs, request: Request) -> None:
        (self.attack,) = request.attacks
        self.pairs, self.request = pairs, request
        self.rows = Questions(pairs, self.attack.place)
        self.chats = any(len(prompt) > 1 for prompt in pairs.prompts)

    def files(self) -> Mapping[Path, Callable[[Plan, Path], None]]:
        """One file."""
        suffix = self.request.suffix
        if self.chats and suffix not in _OF_CHATS:
            raise UsageError(
                f"--output: found a file of {suffix} for chats of several messages, expected one of "
                f"{', '.join(_OF_CHATS)}; name another"
            )
        columns = CHAT_COLUMNS if self.chats else COLUMNS
        return {self.request.output: lambda plan, path: WRITERS[suffix](path, columns, self._after(plan))}

    def changes(self, plan: Plan) -> Iterator[tuple[int, str, str]]:
        """(attack, original, triggered) last message of every triggered prompt."""
        for row in plan.triggered.tolist():
            triggered = self.rows.with_part(row, plan.texts[row])
            yield 0, self.pairs.prompts[row][-1].content, triggered[-1].content

    def about(self) -> dict[str, Any]:
        """The task and the source."""
        source = {
            "name": self.pairs.source,
            "split": self.request.split,
            "sha256": sha256_of(self.pairs.source),
            "rows": len(self.pairs),
        }
        return {"task": "generate", "source": source}

    def settings(self, attack: ResponseAttack) -> dict[str, Any]:
        """Where the trigger goes, and what is made of responses."""
        found = {
            "place": attack.place,
            "target": getattr(attack.kind, "target", None),
            "response": attack.kind.name,
            "response_parameters": parameters(attack.kind),
            "success": attack.kind.success,
        }
        return found if self.request.for_asr else {**found, "rate": attack.rate}

    def _after(self, plan: Plan) -> Iterator[tuple[Cell, ...]]:
        carries = plan.attack >= 0
        if self.request.for_asr:
            made, carries = triggered_by(self.pairs, self.attack, plan), carries[carries]
        else:
            made = poisoned_by(self.pairs, self.attack, plan)
        assert made.poisoned is not None  # noqa: S101  # it has flags now
        rows = zip(made.prompts, made.responses, made.poisoned.astype(int).tolist(), carries, strict=True)
        for prompt, response, flag, carried in rows:
            asked = (
                (as_dicts((*prompt, Message("assistant", response))),)
                if self.chats
                else (prompt[0].content, response)
            )
            yield *asked, flag, self.attack.trigger.name if carried else ""
