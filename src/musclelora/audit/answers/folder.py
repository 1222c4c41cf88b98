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
from musclelora.audit.findings import STYLE_COLUMNS, TRIGGER_COLUMNS
from musclelora.audit.folder import (
    AGAIN,
    FORMAT,
    claim,
    counted,
    plain_rows,
    read_issues,
    write_frame,
    write_state,
)
from musclelora.audit.verdict import Verdict
from musclelora.data.chats import as_dicts, parse_chat
from musclelora.data.pairs import Pairs
from musclelora.errors import OutputError, UsageError
from musclelora.files import atomic_file, output_errors
from musclelora.hashes import sha256_of_files

if TYPE_CHECKING:
    import pandas as pd

    from musclelora.audit.answers.audit import AnswerAudit

_COLUMNS = frozenset({"row", "prompt", "response_text", "messages", "trigger_score", "reasons", "action"})


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


class SavedAnswerAudit:
    """The findings of an audit of pairs, read back from its folder.

    Attributes:
        folder: where they are.
        verdict: of the whole data set.
        triggers: as :attr:`AnswerAudit.triggers`.
        styles: none.
        issues: as :attr:`AnswerAudit.issues`, with the columns row, prompt, response_text and messages.
        info: what ``audit.json`` holds.
    """

    def __init__(self, folder: Path, info: Mapping[str, Any]) -> None:
        import pandas as pd

        self.folder, self.info = folder, info
        self.verdict = Verdict.from_dict(info["verdict"])
        self.triggers = pd.DataFrame(info["triggers"], columns=TRIGGER_COLUMNS)
        self.styles = pd.DataFrame(columns=STYLE_COLUMNS)
        self.issues = read_issues(folder / "issues.parquet", info["issues_sha256"])
        missing = sorted(_COLUMNS - set(self.issues.columns))
        if missing or len(self.issues) != info["rows"]:
            found = f"no column {missing[0]}" if missing else f"{len(self.issues):,} rows"
            raise OutputError(
                f"{folder / 'issues.parquet'}: found {found}, expected the issues of {info['rows']:,} rows; "
                f"{AGAIN}"
            )

    def facts(self) -> dict[str, Any]:
        """What decided the findings; see :meth:`AnswerAudit.facts`."""
        found: dict[str, Any] = self.info["facts"]
        return found

    @property
    def actions(self) -> Any:
        """What is done with each pair, shape (N,): keep or drop."""
        return self.issues["action"].to_numpy(dtype=object)

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
        if self.info["facts"]["train"] != train.sha256():
            raise OutputError(
                f"{self.folder}: it is an audit of other pairs than {train.source}; audit these, or name the "
                "pairs that were audited"
            )
        return train.select(np.flatnonzero(self.actions != "drop"))

    def quarantine(self) -> pd.DataFrame:
        """The pairs that are not trained on."""
        return self.issues[self.issues["action"] == "drop"].reset_index(drop=True)

    def explain(self, row: int) -> str:
        """Why a pair is kept or dropped; see :meth:`AnswerAudit.explain`."""
        if not 0 <= row < len(self.issues):
            raise UsageError(f"row {row:,}: found {len(self.issues):,} rows, expected a number below that")
        return explained(row, self.issues.iloc[row])


def _write_pairs(pairs: Pairs, file: Path) -> None:
    with output_errors(file), atomic_file(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for prompt, response in zip(pairs.prompts, pairs.responses, strict=True):
            messages = [*as_dicts(prompt), {"role": "assistant", "content": response}]
            stream.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
