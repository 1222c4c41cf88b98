"""What the package reads of the state files of a benchmark."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from musclelora.state import Count, FileName, State, Text, distinct, matching

CellId = Annotated[
    str, AfterValidator(matching("[a-z0-9-]{1,200}", "a cell's id, of letters, digits and hyphens"))
]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Size = Annotated[int, Field(ge=1, le=2**53)]


class GridName(State):
    """Of a grid, what a report reads."""

    name: str = ""


class BegunState(State):
    """``grid.json``."""

    bf16: bool
    grid: GridName
    cells: Annotated[list[CellId], AfterValidator(distinct)]


def _numbers(text: str) -> str:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(type(value) in (int, float) for value in found):
        raise ValueError("a list of numbers as JSON")
    return text


class CellState(State):
    """``cells/<id>.json``: the columns that are known before a cell runs, and what was measured.

    The results have these columns in this order; what is of the oracle is added when the table is made.
    """

    cell: CellId
    data: Text
    attack: Text
    label_mode: Text | None
    rate: Share | None
    model: Text
    defense: Text
    kind: Text
    trusted_size: Count | None
    seed: Count
    status: Literal["done", "failed"]
    error: str | None = None
    cacc: Share | None = None
    cacc_low: float | None = None
    cacc_high: float | None = None
    cacc_n: Size | None = None
    asr: Share | None = None
    asr_low: float | None = None
    asr_high: float | None = None
    asr_n: Size | None = None
    oracle_cacc: Share | None = None
    oracle_asr: Share | None = None
    excess_asr: float | None = None
    cacc_gap: float | None = None
    rejected_clean: Share | None = None
    rejected_triggered: Share | None = None
    auroc: Share | None = None
    dropped_poisoned: Share | None = None
    dropped_clean: Share | None = None
    fit_seconds: Seconds | None = None
    predict_seconds: Seconds | None = None
    peak_memory: Count | None = None
    parameters: str | None = None
    scale_factors: Annotated[str, AfterValidator(_numbers)] | None = None
    r: Count | None = None
    musclelora: str | None = None
    torch: str | None = None
    machine: str | None = None
    date: str | None = None

    @model_validator(mode="after")
    def _measured(self) -> CellState:
        for name in ("cacc", "asr", "cacc_n", "asr_n") if self.status == "done" else ():
            if getattr(self, name) is None:
                raise ValueError(f"{name} in it, as its status is done")
        return self


class ReportState(State):
    """``report.json``."""

    files: list[FileName]


def kept_rows(classes: int) -> Any:
    """``shared/tables/<hash>.json``: rows of a text, a label of so many classes, and a flag of poison."""

    def check(row: list[Any]) -> list[Any]:
        if [type(value) for value in row] != [str, int, bool] or not 0 <= row[1] < classes:
            raise ValueError("a text, a label and a flag")
        return row

    return Annotated[list[Annotated[list[Any], AfterValidator(check)]], Field(min_length=1)]
