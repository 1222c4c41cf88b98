"""What the defences that are a way of training share."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar, Self

from musclelora.adapter import MuScleLoraConfig
from musclelora.defenses.base import Defense
from musclelora.defenses.setting import Setting
from musclelora.errors import UsageError
from musclelora.training import Method, MuScleTrainingArguments
from musclelora.training.run import ADAPTER_FIELDS

OWN_FIELDS = frozenset({"seed", "output_dir"})
"""What the setting decides."""

TRAINING_FIELDS = tuple(field.name for field in fields(MuScleTrainingArguments) if field.init)


class Trained(Defense):
    """Training by one of the package's methods.

    Args:
        **settings: fields of :class:`~musclelora.adapter.MuScleLoraConfig` and
            :class:`~musclelora.training.MuScleTrainingArguments`; what is not given is the preset's.

    Raises:
        UsageError: a value out of range.
    """

    kind: ClassVar[str] = "training"
    method: ClassVar[Method]
    preset: ClassVar[str] = "published"
    keep: ClassVar[bool] = False

    def __init__(self, **settings: Any) -> None:
        for name in OWN_FIELDS & settings.keys():
            raise UsageError(f"{self.name} {name}: found it, expected none, as the setting decides it")
        adapter = {name: value for name, value in settings.items() if name in ADAPTER_FIELDS}
        arguments = {name: value for name, value in settings.items() if name not in ADAPTER_FIELDS}
        try:  # the two classes check their values; what they make is not needed here
            MuScleLoraConfig(**adapter)
            MuScleTrainingArguments(output_dir="", **arguments)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.name}: {error}") from error
        self.settings = settings

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """The fields of the two classes, less what the setting decides."""
        return tuple(sorted({*ADAPTER_FIELDS, *TRAINING_FIELDS} - OWN_FIELDS))

    def fit(self, setting: Setting) -> Self:
        """Train on the training rows, or on the trusted ones where the method says so."""
        self.classifier_ = setting.trained(self.method, self.settings, preset=self.preset, keep=self.keep)
        return self
