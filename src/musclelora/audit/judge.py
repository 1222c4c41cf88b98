"""What the trusted rows say of the training rows, as a training takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclelora.adapter import MuScleLoraConfig
from musclelora.adapter.presets import Preset
from musclelora.audit.checks import CHECKS, Check
from musclelora.audit.evidence import Evidence, Settings
from musclelora.audit.judgement import Judgement
from musclelora.data.table import Table


def judge(
    train: Table,
    trusted: Table,
    *,
    model: str,
    preset: Preset,
    config: MuScleLoraConfig,
    arguments: Mapping[str, Any],
    seed: int,
    say: Callable[[str], object] = lambda _: None,
) -> Judgement:
    """Find the training rows' shortcuts, and the rows whose label is in doubt.

    A second opinion (:mod:`musclelora.audit.labels`) is the first to contradict labels, and rows that
    are put as those with a shortcut are (:mod:`musclelora.audit.styles`) are left out as well. A model
    that is trained as the final one is right in more rows than the second opinion, once it has seen the rows
    that are left. It has not seen those that were contradicted, and the ones that it gives their label come
    back (:func:`second_look`).

    Training rows with the text of a trusted row are left out before all that: a model that was trained on
    them cannot be judged by the trusted rows, and their label is known better.

    Args:
        train: N rows that may be poisoned.
        trusted: rows that were checked.
        model: the backbone, of which models of the trusted rows are trained and which gives sentence vectors.
        preset: the backbone's own settings.
        config: of the second look's adapter; see :func:`look_settings`.
        arguments: fields of the training arguments of the second look. Models of folds take such as ``bf16``.
        seed: the same seed judges the same.
        say: called with lines of text; words in them come from the data.

    Raises:
        DataError: no class has two trusted rows, or the training rows that have no trusted text are too few.
    """
    evidence = Evidence(train, trusted, Settings(model, preset, config, arguments, seed), say)
    checks = [check() for check in CHECKS.values()]
    for check in checks:
        evidence.results[check.name] = check.find(evidence)
    return judgement_of(evidence, dropped_rows(evidence, checks))


def dropped_rows(evidence: Evidence, checks: Sequence[Check]) -> NDArray[np.bool_]:
    """The rows that some check drops, shape (N,); a label issue that a second look clears is none."""
    dropped = np.zeros(len(evidence.train), dtype=np.bool_)
    for check in checks:
        if check.action == "drop":
            flagged = evidence.results[check.name].flagged
            dropped |= flagged & ~evidence.results["restored"].flagged if check.name == "label" else flagged
    return dropped


def judgement_of(
    evidence: Evidence,
    dropped: NDArray[np.bool_],
    *,
    keep: Sequence[int] = (),
    drop: Sequence[int] = (),
) -> Judgement:
    """What the checks found, as what a training takes of it.

    Args:
        evidence: with the results of all checks.
        dropped: see :func:`dropped_rows`.
        keep: rows that a person decided to train on.
        drop: rows that a person decided not to train on.
    """
    results = evidence.results
    known, style, restored = (results[name].flagged for name in ("trusted_text", "style", "restored"))
    left_out = dropped.copy()
    left_out[list(keep)] = False
    left_out[list(drop)] = True
    right = results["restored"].info.get("accuracy_on_trusted")
    return Judgement(
        results["trigger"].objects["expert"],
        _numbers(left_out),
        evidence.teaching.accuracy,
        let_back=_numbers(restored),
        alike=_numbers(style),
        look_accuracy=right,
        trusted_texts=_numbers(known),
    )


def _numbers(rows: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(row) for row in np.flatnonzero(rows))
