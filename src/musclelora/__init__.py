"""Train a clean language model on a labelled text data set that may be backdoor-poisoned.

Names are imported when they are first used, so that ``import musclelora`` costs nothing and torch is loaded
only by what needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from musclelora.adapter import MuScleLoraConfig
    from musclelora.audit import Audit
    from musclelora.data import Table, load_table
    from musclelora.errors import MuScleLoraError
    from musclelora.evaluation import evaluate
    from musclelora.purification import purify
    from musclelora.training import Classifier, MuScleTrainer, MuScleTrainingArguments

_HOMES = {
    "Audit": "musclelora.audit",
    "Classifier": "musclelora.training",
    "MuScleLoraConfig": "musclelora.adapter",
    "MuScleLoraError": "musclelora.errors",
    "MuScleTrainer": "musclelora.training",
    "MuScleTrainingArguments": "musclelora.training",
    "Table": "musclelora.data",
    "evaluate": "musclelora.evaluation",
    "load_table": "musclelora.data",
    "purify": "musclelora.purification",
}

__all__ = [
    "Audit",
    "Classifier",
    "MuScleLoraConfig",
    "MuScleLoraError",
    "MuScleTrainer",
    "MuScleTrainingArguments",
    "Table",
    "evaluate",
    "load_table",
    "purify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'musclelora' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
