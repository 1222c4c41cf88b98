"""Prefix-tuning."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from peft import PrefixTuningConfig, TaskType, get_peft_model

from musclelora.adapter import Backbone
from musclelora.defenses.base import Defense
from musclelora.defenses.peft_training import train_efficiently
from musclelora.defenses.setting import Setting
from musclelora.errors import UsageError


class Prefix(Defense):
    """Trained keys and values before those of the text in every layer, and a trained output layer (PEFT).

    Source: Li and Liang, "Prefix-Tuning" (arXiv 2101.00190), for classifiers as in Liu et al., "P-Tuning v2"
    (arXiv 2110.07602). Departure: no network reparametrises the prefix.

    Args:
        num_virtual_tokens: the length of the prefix.
        learning_rate: a prefix moves little at the rates of other adapters.
        **arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments`.
    """

    name: ClassVar[str] = "prefix"
    kind: ClassVar[str] = "training"

    def __init__(self, num_virtual_tokens: int = 16, learning_rate: float = 1e-2, **arguments: Any) -> None:
        if num_virtual_tokens < 1:
            raise UsageError(f"prefix num_virtual_tokens: found {num_virtual_tokens}, expected at least 1")
        self.num_virtual_tokens = num_virtual_tokens
        self.arguments = {"learning_rate": learning_rate, **arguments}

    def fit(self, setting: Setting) -> Self:
        """Train on the training rows."""
        self.classifier_ = train_efficiently(setting, self._wrap, **self.arguments)
        return self

    def _wrap(self, backbone: Backbone) -> Any:
        config = PrefixTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=self.num_virtual_tokens)
        return get_peft_model(backbone.model, config)
