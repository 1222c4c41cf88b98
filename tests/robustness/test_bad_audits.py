"""Audits of data that cannot be audited, and decisions and folders that are none of theirs."""

from __future__ import annotations

from typing import Any

import pytest
from table import Case, change, flip, remove, write
from world import AUDIT

ROWS = "".join(f"word{i} word{i + 1},{('bad', 'good')[i % 2]}\n" for i in range(24))
TRAIN = "train --train train.csv --trusted trusted.csv --model model --epochs 1"


def rows(text: str) -> str:
    return f"text,label\n{text}"


def decisions(text: str, says: str) -> Case:
    return Case(
        f"decisions: {says}",
        f"{AUDIT} --decisions bad.csv --output out",
        3,
        [write("bad.csv", text)],
        says=says,
    )


CASES = [
    Case("no trusted rows", "audit train.csv --model model --output out", 3, says="--trusted"),
    Case("both ways of trusted rows", f"{AUDIT} --trusted-from dev.csv --output out", 2),
    Case("no output", AUDIT, 2, says="--output"),
    Case("a gate and no rows", "audit gone.csv --trusted trusted.csv --model model --fail-on poisoned", 3),
    Case("an open gate", f"{AUDIT} --fail-on poisoned --format junit", 0),
    Case(
        "a document in the folder of an audit",
        f"{AUDIT} --format sarif --format-output audit/x.sarif",
        6,
        says="the folder of an audit",
    ),
    Case("no data", "audit --trusted trusted.csv --output out", 2),
    Case(
        "one class",
        f"{AUDIT} --output out",
        3,
        [write("train.csv", rows("a b,bad\nc d,bad\n"))],
        says="class",
    ),
    Case(
        "a text column of numbers",
        f"{AUDIT} --output out",
        3,
        [write("train.csv", rows("1,bad\n2.5,good\n-3,bad\n"))],
        says="no text has a letter",
    ),
    Case(
        "trusted rows of another class",
        f"{AUDIT} --output out",
        3,
        [write("trusted.csv", rows("a b,bad\nc d,ugly\n"))],
        says="ugly",
    ),
    Case(
        "trusted rows of one class",
        f"{AUDIT} --output out",
        3,
        [write("trusted.csv", rows("a b,bad\nc d,bad\n"))],
    ),
    Case(
        "one trusted row of each class",
        f"{AUDIT} --output out",
        3,
        [write("trusted.csv", rows("a b,bad\nc d,good\n"))],
        says="no label has two trusted rows",
    ),
    decisions("row,action\n24,drop\n", "row 24"),
    decisions("row,action\n1,delete\n", "action 'delete'"),
    decisions("row\n1\n", "no column 'action'"),
    decisions("row,action,label\n1,relabel,ugly\n", "label 'ugly'"),
    decisions("row,action\n1,keep\n1,drop\n", "both keep and drop"),
    Case("decisions: none", f"{AUDIT} --decisions gone.csv --output out", 3),
    Case("decisions in the folder", f"{AUDIT} --decisions audit/issues.csv --output audit", 6),
    Case("a folder of other files", f"{AUDIT} --output run", 6, says="no audit wrote"),
    Case("an audit with another seed", f"{AUDIT} --seed 1 --output audit", 6, says="another seed"),
    Case(
        "an audit of other rows",
        f"{AUDIT} --output audit",
        6,
        [write("train.csv", rows(ROWS))],
        says="another train",
    ),
    Case("explain: no such row", "explain audit --row 24", 2, says="row 24"),
    Case("explain: no row", "explain audit", 2),
    Case("explain: no audit", "explain run --row 0", 6, says="no audit.json"),
    Case("explain: nothing there", "explain gone --row 0", 6),
    Case("explain: another format", "explain audit --row 0", 6, [change("audit/audit.json", "format", 99)]),
    Case("report: no audit", "report run --output out.html", 6, says="no audit.json"),
    Case("report: nothing there", "report gone", 6, says="no audit.json"),
    Case("report: another format", "report audit", 6, [change("audit/audit.json", "format", 99)]),
    Case("report: over another file", "report audit --output train.csv", 6, says="no report"),
    Case("report: a run that is none", "report audit --run model --output out.html", 4, says="no run.json"),
    Case("report: a run without a spectrum", "report audit --run run", 0, makes=("audit.html",)),
    Case("report: a run with a spectrum", "report audit --run srun", 0, makes=("audit.html",)),
    Case(
        "report: a spectrum that has no analysis",
        "report audit --run srun",
        3,
        [remove("srun/spectrum/summary.json")],
    ),
    Case("report: in the run", "report audit --run run --output run/report.html", 6, says="lies in run"),
    Case("report: in the folder", "report audit --output audit/report.html", 6, says="lies in"),
    Case("report: issues altered", "report audit", 6, [flip("audit/issues.parquet")], says="not the one"),
    Case(
        "report: damaged vectors",
        "report audit",
        0,
        [write("audit/evidence/vectors-0.npy", "x")],
        makes=("audit.html",),
    ),
    Case("a report in the folder", f"{AUDIT} --output out --report out/report.html", 6, says="lies in out"),
    Case("a report over the data", f"{AUDIT} --output out --report train.csv", 6, says="it is train.csv"),
    Case("a report over another file", f"{AUDIT} --output out --report dev.csv", 6, says="no report"),
    Case("a report that is a folder", f"{AUDIT} --output out --report model", 6),
    Case("train by no audit", f"{TRAIN} --audit run --output out", 6, says="no audit.json"),
    Case(
        "train by an audit of other rows",
        f"{TRAIN} --audit audit --output out",
        6,
        [write("train.csv", rows(ROWS))],
        says="other rows",
    ),
    Case("lora by an audit", f"{TRAIN} --method lora --audit audit --output out", 2, says="takes none"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_cannot_be_audited_is_refused(case: Case, check: Any) -> None:
    check(case)
