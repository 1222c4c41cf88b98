"""Writing an audit's folder: what a person reads, and what a later command takes up (``saved.py``).

=====================  =======================================================================
``audit.json``         the verdict, the triggers, the checks, and every row that has an issue
``issues.csv``         one row for each training row, with its text; also as ``issues.parquet``
``triggers.csv``       the features that labels follow
``styles.csv``         the ways of putting texts that labels follow
``cleaned.csv``        the rows to train on
``quarantine.csv``     the others, with reasons
``README.md``          the card of ``cleaned.csv``
``evidence/``          arrays that a killed audit goes on from; may be deleted
=====================  =======================================================================
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from musclelora import __version__
from musclelora.audit.decisions import ACTIONS
from musclelora.audit.kept import EVIDENCE, read_facts
from musclelora.audit.saved import AUDIT, FORMAT, read_audit_json
from musclelora.cards import CARD, data_card, licence_in
from musclelora.errors import OutputError
from musclelora.files import LOCK, atomic_file, output_errors, write_json
from musclelora.hashes import sha256_of_files
from musclelora.outputs import check_output, entries_of, refuse_foreign

if TYPE_CHECKING:
    import pandas as pd

    from musclelora.audit.audit import Audit

_WRITTEN: Final = (
    *(AUDIT, "issues.csv", "issues.parquet", "triggers.csv", "styles.csv", "cleaned.csv"),
    *("cleaned.jsonl", "quarantine.csv", CARD, EVIDENCE, LOCK),
)


def claim(folder: Path, facts: Mapping[str, Any]) -> None:
    """Refuse a folder that an audit may not write.

    Raises:
        OutputError: what :func:`~musclelora.outputs.check_output` refuses; it holds files that no audit
            wrote, or an audit of other data.
    """
    check_output(folder, folder=True)
    half = tuple(f".{name}." for name in _WRITTEN)
    # Without its audit.json only what a killed audit leaves first is known to be an audit's.
    begun = os.path.lexists(folder / AUDIT)
    known = _WRITTEN if begun or read_facts(folder / EVIDENCE) else (LOCK, EVIDENCE)
    others = (e for e in entries_of(folder) if e.name not in known and not e.name.startswith(half))
    refuse_foreign(folder, "audit", others)
    if begun:
        before = read_audit_json(folder)["facts"]
        differs = [name for name, value in facts.items() if before.get(name) != value]
        if differs:
            raise OutputError(f"{folder}: it holds an audit with another {differs[0]}; name another output")


def write_audit(audit: Audit, folder: Path) -> None:
    """Write the findings of an audit; ``audit.json`` comes last, and has the hash of its issues.

    Raises:
        OutputError: the folder cannot be written.
    """
    claim(folder, audit.facts())
    listed = audit.listed()
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    more = audit._write_more(folder, listed)
    write_frame(listed, folder / "issues.csv")
    write_frame(audit.triggers, folder / "triggers.csv")
    write_frame(audit.quarantine(), folder / "quarantine.csv")
    issues_sha256 = sha256_of_files([folder / "issues.parquet"])
    state = {"format": FORMAT, **audit.to_dict(), "issues_sha256": issues_sha256, **more}
    with output_errors(folder), atomic_file(folder / CARD) as temporary:
        temporary.write_text(data_card(state, licence_in(folder)), encoding="utf-8")
    write_json(folder / AUDIT, state)


def write_rows(audit: Audit, folder: Path, listed: pd.DataFrame) -> dict[str, Any]:
    """Write what an audit of pairs has not, and the issues as Parquet.

    Returns:
        what ``audit.json`` has of it.
    """
    import pandas as pd

    write_frame(listed, folder / "issues.parquet")
    write_frame(audit.styles, folder / "styles.csv")
    table = audit.clean_table()
    names = np.array(table.label_names, dtype=object)
    cleaned = pd.DataFrame({"text": list(table.texts), "label": names[table.labels]})
    write_frame(cleaned, folder / "cleaned.csv")
    return {"judgement": audit.judgement.to_dict()}


def document(audit: Audit) -> dict[str, Any]:
    """What an audit found, as JSON values: ``audit.json`` without what ties it to the files of its folder."""
    issues = audit.listed().drop(columns=list(audit._texts()))
    return {
        "musclelora": __version__,
        "facts": audit.facts(),
        "rows": len(audit.train),
        "trusted_rows": len(audit.trusted or ()),
        "verdict": audit.verdict.to_dict(),
        "triggers": plain_rows(audit.triggers),
        "checks": audit.checks(),
        "actions": {action: int((issues["action"] == action).sum()) for action in ACTIONS},
        "issues": plain_rows(issues[issues["reasons"] != ""]),
        **audit._described(),
    }


def write_frame(frame: pd.DataFrame, file: Path) -> None:
    """Write a data frame as Parquet or CSV, by the end of the file's name.

    Raises:
        OutputError: the file cannot be written.
    """
    with output_errors(file), atomic_file(file) as temporary:
        if file.suffix == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            # Quoted: a bare carriage return in a text would end its row.
            frame.to_csv(temporary, index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a data frame as JSON values; see :func:`plain_row`."""
    return [plain_row(row) for row in frame.to_dict("records")]


def plain_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of a data frame as JSON values; what is no number is null."""
    return {str(name): _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_value(one) for one in value]
    return value
