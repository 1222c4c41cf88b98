"""What the defences that are a way of training share."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from musclelora.adapter import MuScleLoraConfig
from musclelora.defenses.base import Defense
from musclelora.defenses.setting import Setting
from musclelora.errors import UsageError
from musclelora.purification import Method
from musclelora.purification.run import ADAPTER_FIELDS
from musclelora.training import MuScleTrainingArguments

OWN_FIELDS = frozenset({"seed", "output_dir"})
"""What the setting decides."""

# fmt: off
TRAINING_FIELDS = (
    "learning_rate", "num_train_epochs", "max_steps", "lr_scheduler_type", "warmup_steps", "weight_decay",
    "optim", "adam_beta1", "adam_beta2", "adam_epsilon", "label_smoothing_factor", "max_grad_norm",
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "max_length",
    "alignment", "alignment_rule", "max_raw_ratio", "mix_from_epoch", "min_trusted_loss",
    "trusted_batch_size", "trusted_every", "gradient_passes", "bf16", "dtype", "quantize",
    "attn_implementation",
    "activation_checkpointing", "gradient_checkpointing", "use_cpu", "disable_tqdm", "logging_steps",
)
# fmt: on
"""The training arguments that a defence may be given: those that say how a model is trained.

Others say where it is saved, who is told and where it is uploaded, which is no part of a comparison, and
nothing that a grid from elsewhere may decide.
"""


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
        self.classifier_ = setting.trained(self.method, self.settings, keep=self.keep)
        return self
