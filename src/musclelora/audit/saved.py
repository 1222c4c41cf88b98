"""Reading an audit's folder: what a later command takes up. What is in it: :mod:`musclelora.audit.folder`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from musclelora import __version__
from musclelora.audit.evidence import DEPTHS
from musclelora.audit.findings import STYLE_COLUMNS, TRIGGER_COLUMNS, explained
from musclelora.audit.judgement import Judgement
from musclelora.audit.kept import EVIDENCE
from musclelora.audit.schema import AuditState
from musclelora.audit.verdict import Verdict
from musclelora.data.table import Table, fingerprint
from musclelora.errors import OutputError, UsageError
from musclelora.files import special
from musclelora.hashes import sha256_of_files
from musclelora.state import State, check_state, read_values

if TYPE_CHECKING:
    import pandas as pd

    from musclelora.audit.answers.folder import SavedAnswerAudit

AUDIT: Final = "audit.json"
FORMAT: Final = 4
AGAIN: Final = "restore it, or audit the data again"
"""What to do about a file of an audit that cannot be used."""
_DECIDED: Final = re.compile(r"(?:^|; )a person decided: (?:keep|drop|relabel)\Z")
"""How the reasons of a row end about which a person decided; a phrase of the data is in quotes."""


class SavedFindings:
    """What an audit of either task found, read back from its folder.

    Attributes:
        folder: where it is.
        verdict: of the whole data set.
        triggers: as :attr:`Audit.triggers`.
        styles: as :attr:`Audit.styles`.
        issues: as :attr:`Audit.issues`, with each row's number and texts before.
        info: what ``audit.json`` holds.

    Raises:
        OutputError: the issues were altered, or lack a column.
    """

    columns: ClassVar[frozenset[str]]
    """What its issues have at least."""
    rows: ClassVar[str] = "rows"
    """What was audited, in a word."""

    def __init__(self, folder: Path, info: Mapping[str, Any]) -> None:
        import pandas as pd

        self.folder, self.info = folder, info
        self.verdict = Verdict.from_dict(info["verdict"])
        self.triggers = pd.DataFrame(info["triggers"], columns=TRIGGER_COLUMNS)
        self.styles = pd.DataFrame(info.get("styles", []), columns=STYLE_COLUMNS)
        self.issues = _read_issues(folder / "issues.parquet", info["issues_sha256"])
        if "decided" not in self.issues and "reasons" in self.issues:  # written before there was a column
            self.issues["decided"] = [_DECIDED.search(said) is not None for said in self.issues["reasons"]]
        missing = sorted(self.columns - set(self.issues.columns))
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
    def actions(self) -> NDArray[np.object_]:
        """What is done with each row, shape (N,); see :attr:`Audit.actions`."""
        found: NDArray[np.object_] = self.issues["action"].to_numpy(dtype=object)
        return found

    def quarantine(self) -> pd.DataFrame:
        """The rows that are not trained on as they are."""
        return self.issues[self.issues["action"] == "drop"].reset_index(drop=True)

    def explain(self, row: int) -> str:
        """Why a row is kept or dropped; see :meth:`Audit.explain`."""
        if not 0 <= row < len(self.issues):
            raise UsageError(f"row {row:,}: found {len(self.issues):,} rows, expected a number below that")
        return self._explained(row, self.issues.iloc[row])

    def check_same(self, fingerprint: str | None, source: str | None) -> None:
        """Raise :class:`OutputError` unless the rows of that fingerprint were audited."""
        if self.info["facts"]["train"] != fingerprint:
            raise OutputError(
                f"{self.folder}: it is an audit of other {self.rows} than {source or 'these'}; audit these, "
                f"or name the {self.rows} that were audited"
            )

    def _explained(self, row: int, issue: Mapping[str, Any]) -> str:
        raise NotImplementedError


class SavedAudit(SavedFindings):
    """The findings of an audit of labels: :class:`SavedFindings`."""

    columns = frozenset(
        (
            *("row", "text", "given_label", "suggested_label", "reasons", "action"),
            *("label_score", "trigger_score", "style_score"),
        )
    )

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
        self.check_same(fingerprint(train), train.source)
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

    def _explained(self, row: int, issue: Mapping[str, Any]) -> str:
        return explained(row, str(issue["text"]), issue)


def _read_issues(file: Path, sha256: str) -> pd.DataFrame:
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
