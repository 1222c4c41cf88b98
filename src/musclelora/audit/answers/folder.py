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

from musclelora import __version__
from musclelora.audit.answers.audit import explained
from musclelora.audit.folder import claim, counted, plain_rows, write_frame, write_state
from musclelora.audit.saved import FORMAT, SavedFindings
from musclelora.data.chats import as_dicts, parse_chat
from musclelora.data.pairs import Pairs
from musclelora.files import atomic_file, output_errors
from musclelora.hashes import sha256_of_files

if TYPE_CHECKING:
    from musclelora.audit.answers.audit import AnswerAudit


def write_answer_audit(audit: AnswerAudit, folder: Path) -> None:
    """Write the findings of an audit; ``audit.json`` comes last, and has the hash of its issues.

    Raises:
        OutputError: the folder cannot be written.
    """
    claim(folder, audit.facts())
    listed = audit.listed()
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    chats = [json.dumps(as_dicts(chat), ensure_ascii=False) for chat in audit.pairs.prompts]
    write_frame(listed.assign(messages=chats), folder / "issues.parquet")
    write_frame(listed, folder / "issues.csv")
    write_frame(audit.triggers, folder / "triggers.csv")
    write_frame(audit.quarantine(), folder / "quarantine.csv")
    _write_pairs(audit.clean_pairs(), folder / "cleaned.jsonl")
    state = {
        "format": FORMAT,
        **audit.to_dict(),
        "issues_sha256": sha256_of_files([folder / "issues.parquet"]),
    }
    write_state(folder, state)


def document(audit: AnswerAudit) -> dict[str, Any]:
    """What an audit found, as JSON values: ``audit.json`` without what ties it to the files of its folder."""
    listed = audit.listed()
    found = listed[listed["reasons"] != ""].drop(columns=["prompt", "response_text"])
    return {
        "task": "generate",
        "musclelora": __version__,
        "facts": audit.facts(),
        "rows": len(audit.pairs),
        "trusted_rows": 0 if audit.trusted_pairs is None else len(audit.trusted_pairs),
        "verdict": audit.verdict.to_dict(),
        "triggers": plain_rows(audit.triggers),
        "checks": audit.checks(),
        "actions": counted(listed),
        "issues": plain_rows(found),
    }


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


def _write_pairs(pairs: Pairs, file: Path) -> None:
    with output_errors(file), atomic_file(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for prompt, response in zip(pairs.prompts, pairs.responses, strict=True):
            messages = [*as_dicts(prompt), {"role": "assistant", "content": response}]
            stream.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
