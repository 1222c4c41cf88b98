"""What was measured of a run: CACC and ASR, where `musclelora evaluate --card` kept them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from musclelora.errors import ModelError

_MEANING: Final = {
    "CACC": "clean rows whose label is right",
    "ASR": "triggered rows of other labels that get the attacker's",
}


def measured_of(run: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rates of a run, as its ``measured.json`` has them, each with its meaning in words.

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
    return [{**rate, "meaning": _MEANING.get(rate["name"], "")} for rate in measured(folder, info)]
