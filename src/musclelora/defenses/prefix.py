"""Prefix-tuning."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from peft import PrefixTuningConfig, TaskType, get_peft_model

from musclelora.adapter import Backbone
from musclelora.adapter.backbone import length_limit
from musclelora.data.messages import one_line
from musclelora.defenses.peft_training import Efficient
from musclelora.errors import ModelError, UsageError
from musclelora.limits import TOKENS, check_whole


class Prefix(Efficient):
    """Trained keys and values before those of the text in every layer, and a trained head (PEFT).

    Source: Li and Liang, "Prefix-Tuning" (arXiv 2101.00190), for classifiers as in Liu et al., "P-Tuning v2"
    (arXiv 2110.07602). Departure: no network reparametrises the prefix.

    A prefix takes positions of the model: texts are cut to those that are left.

    Args:
        num_virtual_tokens: the length of the prefix.
        learning_rate: a prefix moves little at the rates of other adapters, so that the setting's is not its.
        **arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments`.
    """

    name: ClassVar[str] = "prefix"

    def __init__(self, num_virtual_tokens: int = 16, learning_rate: float = 1e-2, **arguments: Any) -> None:
        check_whole("prefix num_virtual_tokens", num_virtual_tokens, 1, TOKENS)
        super().__init__(learning_rate=learning_rate, **arguments)
        self.num_virtual_tokens = self.reserved = num_virtual_tokens

    def wrap(self, backbone: Backbone) -> Any:
        """PEFT's prefix before the backbone's classifier.

        Raises:
            ModelError: the model takes no prefix.
            UsageError: the prefix leaves no room for a text.
        """
        positions = length_limit(backbone.tokenizer, backbone.model.config)
        if self.num_virtual_tokens > positions - 4:
            raise UsageError(
                f"prefix num_virtual_tokens: found {self.num_virtual_tokens}, expected at most "
                f"{positions - 4}, as the model reads {positions} tokens, the prefix's among them"
            )
        config = PrefixTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=self.num_virtual_tokens)
        ids = torch.ones((1, 2), dtype=torch.long, device=backbone.model.device)
        try:
            model = get_peft_model(backbone.model, config)
            with torch.no_grad():
                model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
        except Exception as error:  # PEFT says in many ways that it does not know a model
            raise ModelError(
                f"{type(backbone.model).__name__}: it takes no prefix ({one_line(error)}); "
                "expected a model that takes keys and values of earlier tokens, such as BERT, RoBERTa, GPT-2 "
                "or Llama; choose another model or defence"
            ) from error
        return model
