"""What the package reads of the state files of a search."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from musclelora.state import Count, Sha256, State, Text


class TuneState(State):
    """``tune.json``."""

    model: Text
    judge: Text
    preset: Text
    seed: Count
    train: Sha256
    trusted: Sha256
    arguments: dict[str, Any]
    adapter: dict[str, Any]
    space: dict[str, Any]


class Attributes(State):
    """What a trial is marked with."""

    losses: list[float] = Field(default_factory=list)
    stopped: str = ""


class TriedState(State):
    """A finished trial, as Optuna's journal has it."""

    params: dict[str, float]
    epoch_losses: list[float]
    attributes: Attributes


class JournalLine(State):
    """A line of Optuna's journal."""

    op_code: Annotated[int, Field(ge=0, le=99)]
    worker_id: str
