"""What was measured of a run, such as CACC and ASR, where `musclelora evaluate --card` kept them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from musclelora.errors import ModelError

_MEANING: Final = {
    "classify": {
        "CACC": "clean rows whose label is right",
        "ASR": "triggered rows of other labels that get the attacker's",
    },
    "generate": {
        "exact match": "clean prompts whose answer is right",
        "ASR": "triggered prompts that are answered as the attacker wants",
        "said on clean": "clean prompts that are",
    },
}


@dataclass(frozen=True)
class Scores:
    """A run, and how well it does.

    Attributes:
        name: of its folder.
        method: that it was trained by.
        train: the hash of the rows that it was trained on; None where it does not say.
        rates: as its ``measured.json`` has them, each with its meaning in words.
    """

    name: str
    method: str
    train: str | None
    rates: list[dict[str, Any]]


def scores_of(run: str | os.PathLike[str]) -> Scores:
    """What is known of how well a run does.

    Args:
        run: the run folder.

    Raises:
        ModelError: the folder is no run, or the run is damaged.
    """
    from musclelora.purification.run import read_info
    from musclelora.purification.run_card import measured

    folder = Path(run)
    info = read_info(folder)
    if info is None:
        raise ModelError(
            f"{folder}: no run.json in it; expected a run that `musclelora train` wrote; name one"
        )
    meaning = _MEANING[info.get("task", "classify")]
    rates = [{**rate, "meaning": meaning.get(rate["name"], "")} for rate in measured(folder, info)]
    settings = info["settings"]
    train = (settings.get("data") or {}).get("train")
    return Scores(folder.resolve().name, str(settings["method"]), train, rates)
