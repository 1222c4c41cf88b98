"""What the package reads of the state files of a Fourier analysis."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from musclelora.state import Count, Names, Positive, State, Text

Seconds = Annotated[float, Field(ge=0)]
Value = float | None
Values = list[Value]
Halved = float | Literal["never"] | None


class RecordState(State):
    """A line of ``records.jsonl``."""

    step: Count
    seconds: Seconds
    training_seconds: Seconds
    outputs: Annotated[list[list[float]], Field(min_length=1)]
    plan: list[Count] | None

    @model_validator(mode="after")
    def _even(self) -> RecordState:
        if len({len(row) for row in self.outputs}) != 1:
            raise ValueError("outputs of the same number for every row")
        return self


class GroupState(State):
    """A group of rows."""

    rows: Annotated[int, Field(ge=1)]
    labels: Annotated[dict[str, Count], Field(min_length=1)]


class CurveState(State):
    """A measure over the records."""

    value: Values
    low: Values
    high: Values
    by_sigma: list[Values]


class IntervalState(State):
    """When an error first halved."""

    value: Halved
    low: Halved
    high: Halved

    @model_validator(mode="after")
    def _defined(self) -> IntervalState:
        if (self.low is None or self.high is None) and self.value is not None:
            raise ValueError("both ends of an interval")
        return self


class BandsState(State):
    """Of the low and the high band."""

    low: IntervalState
    high: IntervalState


class LabelsState(State):
    """The band shares of the labels, by sigma."""

    lfr: list[float]
    hfr: list[float]


class CurvesState(State):
    """The measures of a group."""

    e_low: CurveState
    e_high: CurveState
    lfr: CurveState
    hfr: CurveState


class SpectrumState(State):
    """Power over frequency."""

    directions: Count
    labels: dict[str, Values]
    last: dict[str, Values]


class CostState(State):
    """What the analysis cost."""

    seconds: Seconds
    training_seconds: Seconds


class FindingState(State):
    """A line of the diagnosis."""

    text: str
    rule: str


class SummaryState(State):
    """``summary.json``."""

    groups: Annotated[dict[Text, GroupState], Field(min_length=1)]
    sigmas: Annotated[list[Positive], Field(min_length=1)]
    steps: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]
    curves: dict[str, CurvesState]
    labels: dict[str, LabelsState]
    convergence: dict[str, BandsState]
    spectrum: SpectrumState
    cost: CostState
    diagnosis: list[FindingState]

    @model_validator(mode="after")
    def _whole(self) -> SummaryState:
        for what, names in (
            ("curves", self.curves.keys()),
            ("labels", self.labels.keys()),
            ("convergence", self.convergence.keys()),
            ("a spectrum", self.spectrum.labels.keys()),
            ("a spectrum", self.spectrum.last.keys()),
        ):
            if names != self.groups.keys():
                raise ValueError(f"{what} of every group")
        for curves in self.curves.values():
            for curve in (curves.e_low, curves.e_high, curves.lfr, curves.hfr):
                lengths = {len(curve.value), len(curve.low), len(curve.high), len(curve.by_sigma)}
                if lengths != {len(self.steps)}:
                    raise ValueError("a value of every curve for each of the steps")
                if {len(values) for values in curve.by_sigma} != {len(self.sigmas)}:
                    raise ValueError("a value of every curve for each of the sigmas")
        return self


class AboutSample(State):
    """What a sample says of itself beside its tensors."""

    settings: dict[str, Any]
    label_names: Names
