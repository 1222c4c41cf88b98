"""Ordinary training of a classifier that another library, or another layer, made parameter-efficient."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from typing import Any, ClassVar, Self

from accelerate.utils import extract_model_from_parallel
from transformers import DataCollatorWithPadding, Trainer, set_seed

from musclelora.adapter import Backbone, load_backbone
from musclelora.adapter.backbone import length_limit
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import preset_for
from musclelora.defenses.base import Defense
from musclelora.defenses.setting import Setting
from musclelora.defenses.trained import OWN_FIELDS, TRAINING_FIELDS
from musclelora.errors import UsageError
from musclelora.limits import RATE, check_number
from musclelora.training import Classifier, MuScleTrainingArguments
from musclelora.training.batches import TokenizedTable


class Efficient(Defense):
    """Ordinary training of what :meth:`wrap` leaves trainable of the backbone.

    Args:
        **arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments`; they go before the
            setting's own, and what neither has is the backbone's preset. None is as if not given.

    Attributes:
        reserved: positions of the model that its texts cannot have.

    Raises:
        UsageError: a value out of range.
    """

    kind: ClassVar[str] = "training"
    reserved: int = 0

    def __init__(self, **arguments: Any) -> None:
        self.arguments = {name: value for name, value in arguments.items() if value is not None}
        rate = self.arguments.get("learning_rate", 1.0)
        check_number(f"{self.name} learning_rate", rate, 0, RATE, above=True)
        try:  # the class checks its values; what it makes is not needed here
            MuScleTrainingArguments(output_dir="", **self.arguments)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{self.name}: {error}") from error

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Those of the constructor, and the fields of the training arguments."""
        own = [name for name in super().parameters() if name != "arguments"]
        return (*own, *sorted(set(TRAINING_FIELDS) - {*own, *OWN_FIELDS, "alignment"}))

    @abstractmethod
    def wrap(self, backbone: Backbone) -> Any:
        """Adapt the backbone's classifier, and give the module to train."""

    def fit(self, setting: Setting) -> Self:
        """Train on the training rows."""
        set_seed(setting.seed)
        loading = loading_options({**setting.arguments, **self.arguments})
        backbone = load_backbone(setting.model, setting.train.label_names, **loading)
        model = self.wrap(backbone)
        config = backbone.model.config
        with tempfile.TemporaryDirectory(prefix="musclelora-") as folder:
            args = MuScleTrainingArguments(
                **{
                    "save_strategy": "no",
                    "train_sampling_strategy": "random",
                    "dataloader_pin_memory": False,
                    "logging_strategy": "no",
                    **setting.arguments,
                    **self.arguments,
                    "output_dir": folder,
                    "alignment": False,
                    "seed": setting.seed,
                },
            ).filled_in(preset_for(config, aligned=False))
            room = length_limit(backbone.tokenizer, config) - self.reserved
            longest = min(length_limit(backbone.tokenizer, config, args.max_length), room)
            rows = TokenizedTable(setting.train, backbone.tokenizer, longest)
            Trainer(
                model=model,
                args=args,
                data_collator=DataCollatorWithPadding(backbone.tokenizer),
                train_dataset=rows,
                processing_class=backbone.tokenizer,
            ).train()
        # Under autocast the Trainer wraps the model; like all others it is measured in float32.
        model = extract_model_from_parallel(model, keep_fp32_wrapper=False)
        self.classifier_ = Classifier(model, backbone.tokenizer, setting.train.label_names, longest)
        return self
