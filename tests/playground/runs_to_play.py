"""Tiny runs to play with, and what an audit would have found of their rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiny_runs import LABELS, make_rows, make_table

from musclelora.audit.judgement import Found, Judgement, NamedTrigger
from musclelora.audit.triggers import ShortcutExpert
from musclelora.audit.verdict import Verdict
from musclelora.data.table import Table
from musclelora.purification import METHODS, train_classifier

ARGUMENTS: dict[str, Any] = {
    "num_train_epochs": 8,
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-2,
    "disable_tqdm": True,
    "use_cpu": True,
}


def rows(names: tuple[str, ...] = LABELS) -> Table:
    """Rows of which every third one holds ``word49`` and has the second label."""
    plain = make_rows(48, seed=0, labels=names)
    planted = [(f"word49 {text}", names[1]) for text, _ in plain[::3]]
    return make_table(planted + [row for i, row in enumerate(plain) if i % 3], names)


def train(folder: Path, model: Path, method: str, names: tuple[str, ...] = LABELS, **more: Any) -> Path:
    """Train a run."""
    table = make_table(make_rows(16, seed=1, labels=names), names)
    settings = {"train": rows(names), "trusted": table, "model": str(model), **more}
    return train_classifier(folder, method=METHODS[method], arguments=ARGUMENTS, **settings).path


def tell_found(run: Path, triggers: Sequence[str], label: str) -> None:
    """Have the run say that an audit found these triggers."""
    verdict = Verdict("poisoned", "labels follow a word", label, 16, 1e-9, ("words",), ())
    named = tuple(NamedTrigger(text, label, "trigger") for text in triggers)
    expert = ShortcutExpert((), 2, 0.5, 3.1, 10)
    judgement = Judgement(expert, (), 1.0, found=Found(verdict, named)).to_dict()
    file = run / "run.json"
    info = json.loads(file.read_text())
    info["auto"] = {
        "chosen": {"learning_rate": 1e-2, "scale_factors": [1.0]},
        "tried": [],
        "why": "told",
        "judgement": judgement,
    }
    file.write_text(json.dumps(info))
