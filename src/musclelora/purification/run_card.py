"""The card of a run: what ``run.json`` says, and what was measured of it since.

=====================  =======================================================================
``README.md``          the card, made whole from the two files below
``measured.json``      what ``musclelora evaluate --card`` measured, of these weights
``run.json``           see :mod:`musclelora.purification.run`
=====================  =======================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from musclelora.cards import CARD, licence_in, model_card
from musclelora.cards.model import Kind
from musclelora.errors import ModelError
from musclelora.files import atomic_file, held, output_errors, write_json
from musclelora.purification.run import read_info
from musclelora.purification.run_schema import MeasuredState
from musclelora.state import check_state, read_values

MEASURED: Final = "measured.json"
_MOST: Final = 100
_AGAIN: Final = "restore it, or delete it and evaluate again"


def write_card(folder: Path, text: str) -> None:
    """Write a card into a folder, whole or not at all."""
    with output_errors(folder), atomic_file(folder / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")


def card_of(folder: Path, kind: Kind) -> str:
    """The card of the run in a folder, as one beside the run or beside an export of it.

    Args:
        folder: the run folder; a licence in its card is kept.
        kind: what the card is to lie beside.

    Raises:
        ModelError: a file of the run is damaged.
    """
    info = read_info(folder)
    if info is None:
        raise ModelError(f"{folder}: no run.json in it; expected a folder that `musclelora train` wrote")
    return model_card(info, measured(folder, info), kind=kind, licence=licence_in(folder))


def measured(folder: Path, info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was measured of the weights that `info` names.

    Raises:
        ModelError: the file of it is damaged.
    """
    file = folder / MEASURED
    try:
        found = read_values(file, ModelError, remedy=_AGAIN)
    except (FileNotFoundError, NotADirectoryError):
        return []
    check_state(found, MeasuredState, file, ModelError, remedy=_AGAIN)
    weights = (info.get("weights") or {}).get("sha256")
    return list(found["measured"]) if found["weights"] == weights else []


def add_measured(folder: Path, rates: Sequence[Mapping[str, Any]]) -> None:
    """Keep what was measured beside a finished run, and write its card again.

    Of rates of one name, on the same file and with the same target, the later counts.

    Args:
        folder: the run folder.
        rates: each with its name, the file that it was measured `on`, target (or None), value, low, high, n.

    Raises:
        ModelError: a file of the run is damaged.
        OutputError: another process writes in the folder, or it cannot be written.
    """
    with held(folder, "musclelora evaluate"):
        info = read_info(folder) or {}
        found = {_subject(rate): dict(rate) for rate in (*measured(folder, info), *rates)}
        weights = (info.get("weights") or {}).get("sha256")
        with output_errors(folder):
            write_json(folder / MEASURED, {"weights": weights, "measured": list(found.values())[-_MOST:]})
        write_card(folder, card_of(folder, "run"))


def _subject(rate: Mapping[str, Any]) -> tuple[Any, ...]:
    return rate["name"], rate["on"], rate["target"]
