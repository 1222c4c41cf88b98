"""An audit's folder: what a person reads, and what a later command takes up.

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

import contextlib
import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from musclelora import __version__
from musclelora.audit.evidence import DEPTHS
from musclelora.audit.findings import STYLE_COLUMNS, TRIGGER_COLUMNS, explained
from musclelora.audit.judgement import Judgement
from musclelora.audit.kept import EVIDENCE, read_facts
from musclelora.audit.schema import AuditState
from musclelora.audit.verdict import Verdict
from musclelora.cards import CARD, data_card, licence_in
from musclelora.data.table import Table, fingerprint
from musclelora.errors import OutputError, UsageError
from musclelora.files import LOCK, atomic_file, output_errors, special, write_json
from musclelora.hashes import sha256_of_files
from musclelora.outputs import check_output
from musclelora.state import State, check_state, read_values

if TYPE_CHECKING:
    import pandas as pd

    from musclelora.audit.answers.folder import SavedAnswerAudit
    from musclelora.audit.audit import Audit

AUDIT: Final = "audit.json"
FORMAT: Final = 4
_SCORES: Final = ("label_score", "trigger_score", "style_score")
AGAIN: Final = "restore it, or audit the data again"
"""What to do about a file of an audit that cannot be used."""


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
    with output_errors(folder):
        entries = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    half = tuple(f".{name}." for name in _WRITTEN)
    # Without its audit.json only what a killed audit leaves first is known to be an audit's.
    known = set(_WRITTEN) if AUDIT in entries or read_facts(folder / EVIDENCE) else {LOCK, EVIDENCE}
    foreign = sorted(name for name in entries - known if not name.startswith(half))
    if foreign:
        raise OutputError(
            f"{folder}: it holds files that no audit wrote, such as {foreign[0]}; name another output"
        )
    if AUDIT in entries:
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
    listed = audit.issues
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    listed.insert(0, "text", list(audit.train.texts))
    listed.insert(0, "row", np.arange(len(listed)))
    write_frame(listed, folder / "issues.parquet")
    write_frame(listed, folder / "issues.csv")
    write_frame(audit.triggers, folder / "triggers.csv")
    write_frame(audit.styles, folder / "styles.csv")
    write_frame(audit.quarantine(), folder / "quarantine.csv")
    write_frame(_cleaned(audit), folder / "cleaned.csv")
    state = {
        "format": FORMAT,
        **audit.to_dict(),
        "issues_sha256": sha256_of_files([folder / "issues.parquet"]),
        "judgement": audit.judgement.to_dict(),
    }
    write_state(folder, state)


def document(audit: Audit) -> dict[str, Any]:
    """What an audit found, as JSON values: ``audit.json`` without what ties it to the files of its folder."""
    issues = audit.issues
    issues.insert(0, "row", np.arange(len(issues)))
    return {
        "musclelora": __version__,
        "facts": audit.facts(),
        "label_names": list(audit.train.label_names),
        "rows": len(audit.train),
        "trusted_rows": len(audit.trusted),
        "verdict": audit.verdict.to_dict(),
        "triggers": plain_rows(audit.triggers),
        "styles": plain_rows(audit.styles),
        "checks": audit.checks(),
        "actions": counted(issues),
        "issues": plain_rows(issues[issues["reasons"] != ""]),
    }


def counted(issues: pd.DataFrame) -> dict[str, int]:
    """How many rows are kept, dropped and relabelled."""
    return {action: int((issues["action"] == action).sum()) for action in ("keep", "drop", "relabel")}


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the card of what is kept, which keeps a licence that it had, and ``audit.json``."""
    with output_errors(folder), atomic_file(folder / CARD) as temporary:
        temporary.write_text(data_card(state, licence_in(folder)), encoding="utf-8")
    write_json(folder / AUDIT, state)


class SavedAudit:
    """The findings of an audit, read back from its folder.

    Attributes:
        folder: where they are.
        verdict: of the whole data set.
        triggers: as :attr:`Audit.triggers`.
        styles: as :attr:`Audit.styles`.
        issues: as :attr:`Audit.issues`, with the columns row and text before.
        info: what ``audit.json`` holds.
    """

    def __init__(self, folder: Path, info: Mapping[str, Any]) -> None:
        import pandas as pd

        self.folder, self.info = folder, info
        self.verdict = Verdict.from_dict(info["verdict"])
        self.triggers = pd.DataFrame(info["triggers"], columns=TRIGGER_COLUMNS)
        self.styles = pd.DataFrame(info["styles"], columns=STYLE_COLUMNS)
        self.issues = read_issues(folder / "issues.parquet", info["issues_sha256"])
        wanted = {*("row", "text", "given_label", "suggested_label", "reasons", "action"), *_SCORES}
        missing = sorted(wanted - set(self.issues.columns))
        if missing or len(self.issues) != info["rows"]:
            found = f"no column {missing[0]}" if missing else f"{len(self.issues):,} rows"
            raise OutputError(
                f"{folder / 'issues.parquet'}: found {found}, expected the issues of {info['rows']:,} rows; "
                f"{AGAIN}"
            )

    def facts(self) -> dict[str, Any]:
        """What decided the findings; see :meth:`Audit.facts`."""
        found: dict[str, Any] = self.info["facts"]
        return found

    @property
    def judgement(self) -> Judgement:
        """What a training takes of it."""
        return Judgement.from_dict(self.info["judgement"])

    @property
    def vectors(self) -> NDArray[np.float32] | None:
        """Sentence vectors of the training rows, as :attr:`Audit.vectors`; None where the folder has none.

        They are evidence, which may be deleted: what cannot be read is none.
        """
        numbers = np.setdiff1d(np.arange(self.info["rows"]), self.judgement.trusted_texts)
        for file in sorted((self.folder / EVIDENCE).glob("vectors-*.npy")):
            with contextlib.suppress(OSError, ValueError, EOFError):
                found: Any = None if special(file) else np.load(file, mmap_mode="r", allow_pickle=False)
                shape = (len(DEPTHS), len(numbers))
                if found is not None and found.shape[:-1] == shape and found.dtype.kind == "f":
                    whole = np.full((self.info["rows"], found.shape[-1]), np.nan, dtype=np.float32)
                    whole[numbers] = found[-1]
                    return whole
        return None

    def labelled(self, train: Table) -> Table:
        """The training rows that were audited, with the labels that a person decided.

        Raises:
            OutputError: other rows were audited.
        """
        if self.info["facts"]["train"] != fingerprint(train):
            raise OutputError(
                f"{self.folder}: it is an audit of other rows than {train.source}; audit these, or name the "
                "rows that were audited"
            )
        labels = train.labels.copy()
        for row in np.flatnonzero(self.issues["action"] == "relabel"):
            labels[row] = self._label_id(self.issues["suggested_label"][row])
        return replace(train, labels=labels)

    def clean(self) -> Table:
        """The rows to train on, with the labels that a person decided."""
        names = tuple(self.info["label_names"])
        rows = self.issues[self.issues["action"] != "drop"]
        labels = np.where(rows["action"] == "relabel", rows["suggested_label"], rows["given_label"])
        return Table(
            tuple(map(str, rows["text"])),
            np.array([self._label_id(label) for label in labels], dtype=np.int64),
            names,
            source=str(self.folder),
        )

    def _label_id(self, label: object) -> int:
        names = self.info["label_names"]
        if label not in names:
            raise OutputError(
                f"{self.folder / 'issues.parquet'}: found the label {label!r}, expected one of "
                f"{', '.join(names)}; {AGAIN}"
            )
        found: int = names.index(label)
        return found

    def quarantine(self) -> pd.DataFrame:
        """The rows that are not trained on."""
        return self.issues[self.issues["action"] == "drop"].reset_index(drop=True)

    def explain(self, row: int) -> str:
        """Why a training row is kept or dropped; see :meth:`Audit.explain`."""
        if not 0 <= row < len(self.issues):
            raise UsageError(f"row {row:,}: found {len(self.issues):,} rows, expected a number below that")
        issue = self.issues.iloc[row]
        return explained(row, str(issue["text"]), issue)


def read_issues(file: Path, sha256: str) -> pd.DataFrame:
    """The issues that an ``audit.json`` with their hash was written with.

    Raises:
        OutputError: they are not there, or altered.
    """
    import pandas as pd

    if special(file):
        raise OutputError(f"{file}: found {special(file)}, expected a file; {AGAIN}")
    try:
        if sha256_of_files([file]) == sha256:
            return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise OutputError(f"{file}: cannot be read ({error}); {AGAIN}") from error
    raise OutputError(
        f"{file}: it is not the one that {AUDIT} was written with, for the command was killed or a file "
        "altered; run the same `musclelora audit` again"
    )


def read_audit(folder: str | Path) -> SavedAudit:
    """Read the folder of an audit of labels.

    Raises:
        OutputError: there is none, it was not written to its end, it was altered, or it is of pairs.
    """
    found = read_any_audit(folder)
    if not isinstance(found, SavedAudit):
        raise OutputError(f"{folder}: it is an audit of pairs, expected one of labels; use --task generate")
    return found


def read_any_audit(folder: str | Path) -> SavedAudit | SavedAnswerAudit:
    """Read the folder of an audit of either task.

    Raises:
        OutputError: there is none, it was not written to its end, or it was altered.
    """
    place = Path(folder)
    info = read_audit_json(place)
    if info.get("task") is None:
        return SavedAudit(place, info)
    from musclelora.audit.answers.folder import SavedAnswerAudit

    return SavedAnswerAudit(place, info)


def read_audit_json(folder: Path) -> dict[str, Any]:
    """What ``audit.json`` holds, checked; errors as for :func:`read_audit`."""
    file = folder / AUDIT
    try:
        info = read_values(file, OutputError, remedy=AGAIN)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OutputError(
            f"{folder}: no {AUDIT} in it; expected a folder that `musclelora audit` wrote to its end; "
            "run it (again)"
        ) from error
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise OutputError(f"{file}: not an audit of a version that musclelora {__version__} reads; {AGAIN}")
    check_state(info, _schema(info), file, OutputError, remedy=AGAIN)
    checked: dict[str, Any] = info
    return checked


def _schema(info: Mapping[str, Any]) -> type[State]:
    """What an ``audit.json`` is to hold, by its task; that of labels names none."""
    if info.get("task") is None:
        return AuditState
    from musclelora.audit.answers.schema import AnswerAuditState

    return AnswerAuditState


def _cleaned(audit: Audit) -> pd.DataFrame:
    import pandas as pd

    table = audit.clean_table()
    names = np.array(table.label_names, dtype=object)
    return pd.DataFrame({"text": list(table.texts), "label": names[table.labels]})


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
