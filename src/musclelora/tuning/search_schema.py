"""What the package reads of the state files of a search."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from musclelora.state import Closed


class TrialState(Closed):
    """A finished trial in ``trials.json``."""

    parameters: dict[str, float]
    settings: dict[str, Any]
    epoch_losses: list[float]
    row_losses: list[float]
    stopped: str

    @model_validator(mode="after")
    def _ended(self) -> TrialState:
        if not (self.stopped or (self.epoch_losses and self.row_losses)):
            raise ValueError("losses, or why it was stopped")
        return self
