"""The folder of an audit of pairs.

=====================  =======================================================================
``audit.json``         the verdict, the triggers, the checks, and every pair that has an issue
``issues.csv``         one row for each pair, with its texts; also as ``issues.parquet``
``triggers.csv``       the words of prompts that responses of a kind follow
``cleaned.jsonl``      the pairs to train on, as messages
``quarantine.csv``     the others, with reasons
``README.md``          the card of ``cleaned.jsonl``
``evidence/``          arrays that a killed audit goes on from; may be deleted
=====================  =======================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musclelora.audit.answers.audit import explained
from musclelora.audit.folder import write_frame
from musclelora.audit.saved import SavedFindings
from musclelora.data.chats import as_dicts, parse_chat
from musclelora.data.pairs import Pairs
from musclelora.files import atomic_file, output_errors

if TYPE_CHECKING:
    import pandas as pd

    from musclelora.audit.answers.audit import AnswerAudit


def write_pairs(audit: AnswerAudit, folder: Path, listed: pd.DataFrame) -> dict[str, Any]:
    """Write what an audit of labels has not, and the issues as Parquet.

    Returns:
        what ``audit.json`` has of it: nothing.
    """
    chats = [json.dumps(as_dicts(chat), ensure_ascii=False) for chat in audit.pairs.prompts]
    write_frame(listed.assign(messages=chats), folder / "issues.parquet")
    pairs, file = audit.clean_pairs(), folder / "cleaned.jsonl"
    with output_errors(file), atomic_file(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for prompt, response in zip(pairs.prompts, pairs.responses, strict=True):
            messages = [*as_dicts(prompt), {"role": "assistant", "content": response}]
            stream.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return {}


class SavedAnswerAudit(SavedFindings):
    """The findings of an audit of pairs: :class:`~musclelora.audit.saved.SavedFindings`; it has no styles."""

    rows = "pairs"
    columns = frozenset(
        (
            *("row", "prompt", "response_text", "messages", "reasons", "action"),
            *("trigger", "response", "trigger_score", "response_loss"),
        )
    )

    def clean(self) -> Pairs:
        """The pairs to train on."""
        rows = self.issues[self.issues["action"] != "drop"]
        file = self.folder / "issues.parquet"
        chats = (
            parse_chat(cell, f"{file}, row {row}")
            for row, cell in zip(rows["row"], rows["messages"], strict=True)
        )
        return Pairs(tuple(chats), tuple(map(str, rows["response_text"])), source=str(self.folder))

    def kept_of(self, train: Pairs) -> Pairs:
        """Those of the pairs that were audited which are to be trained on.

        Raises:
            OutputError: other pairs were audited.
        """
        self.check_same(train.sha256(), train.source)
        return train.select(np.flatnonzero(self.actions != "drop"))

    def _explained(self, row: int, issue: Mapping[str, Any]) -> str:
        return explained(row, issue)
