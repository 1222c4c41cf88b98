"""Rows of which some have another label than they mean, and a recheck of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tiny_runs import make_rows, make_table

from musclelora.adapter.copies import Backbones
from musclelora.adapter.presets import PRESETS
from musclelora.audit.judgement import Judgement
from musclelora.audit.recheck import recheck, recheck_settings
from musclelora.audit.triggers import Shortcut, ShortcutExpert
from musclelora.data.table import Table

LEFT_OUT = tuple(range(0, 60, 3))
CHANGED = LEFT_OUT[:10]  # of these the label is wrong


def doubtful_rows() -> Table:
    """160 rows of which ten have another label than they mean."""
    table = make_table(make_rows(160, 2))
    labels = table.labels.copy()
    labels[list(CHANGED)] = 1 - labels[list(CHANGED)]
    return replace(table, labels=labels)


PRESET = replace(PRESETS["small-encoder"], epochs=40, learning_rate=3e-3)


def looked(
    rows: Table,
    model: Path,
    *,
    accuracy: float = 0.6,
    shortcuts: tuple[Shortcut, ...] = (),
    style_issues: tuple[int, ...] = (),
    said: list[str] | None = None,
    **arguments: Any,
) -> Judgement:
    expert = ShortcutExpert(shortcuts, num_labels=2, natural=0.5, threshold=3.1, tested=100)
    config, looking = recheck_settings(PRESET, {}, {"per_device_train_batch_size": 8, "seed": 0})
    return recheck(
        rows,
        make_table(make_rows(40, 1)),
        Judgement(expert, LEFT_OUT, accuracy, style_issues=style_issues),
        backbones=Backbones(str(model)),
        preset=PRESET,
        config=config,
        arguments={**looking, **arguments},
        say=[].append if said is None else said.append,
    )
