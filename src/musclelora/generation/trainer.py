"""The ``transformers`` Trainer of a language model on prompts and responses, with gradient alignment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import DataCollatorForSeq2Seq, TrainerCallback, set_seed

from musclelora.adapter import Adapted, Backbone, MuScleLoraConfig, attach, load_causal_backbone
from musclelora.adapter.backbone import length_limit
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import PRESETS, Preset
from musclelora.data.messages import bad_data
from musclelora.data.pairs import Pairs
from musclelora.errors import UsageError
from musclelora.generation.rows import ChatFormat, TokenizedPairs
from musclelora.training.aligned import AlignedTrainer
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.shards import IGNORED

INSTRUCTION = PRESETS["instruction"]


def response_loss(
    logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """The cross-entropy in nats of all tokens of N rows that are learned.

    Args:
        logits: shape (N, L, V): what is said at each token of the next one.
        labels: shape (N, M), M ≤ L: the tokens, or ``IGNORED``. Logits beyond them are of padding.
        label_smoothing: as in ``torch.nn.functional.cross_entropy``.
        reduction: the same.
    """
    after = labels[:, 1:]
    learned = after != IGNORED
    # The vocabulary is large: only what is learned becomes float32.
    said = logits[:, : after.shape[1]][learned].float()
    return nn.functional.cross_entropy(
        said, after[learned], label_smoothing=label_smoothing, reduction=reduction
    )


class GenerationTrainer(AlignedTrainer):
    """Fine-tunes a language model on pairs that may be poisoned; the loss is of the responses alone.

    It is a ``transformers.Trainer``, and aligns gradients as
    :class:`~musclelora.training.trainer.MuScleTrainer` does.

    Args:
        model: an embedded decoder, hub name or folder, or a loaded one.
        args: the training arguments.
        train_dataset: the pairs that may be poisoned.
        trusted_dataset: pairs that were checked; needed unless ``args.alignment`` is off.
        eval_dataset: clean pairs, whose loss is measured during training.
        peft_config: what to adapt; None: LoRA on the attention projections as the preset has it.
        preset: fills in what `args` and `peft_config` leave open.
        callbacks: as in ``Trainer``.

    Attributes:
        adapted: the model with its adapter.
        truncated: how many responses of each data set were cut, by its name.

    Raises:
        UsageError: there is no trusted set to align to, or the adapter's layers do not exist.
        DataError: there is nothing to train on, or a prompt is longer than the model reads.
        ModelError: see :func:`~musclelora.adapter.load_causal_backbone`.
        TrainingError: as in :class:`~musclelora.training.trainer.MuScleTrainer`.
    """

    def __init__(
        self,
        model: str | Backbone,
        args: MuScleTrainingArguments,
        *,
        train_dataset: Pairs,
        trusted_dataset: Pairs | None = None,
        eval_dataset: Pairs | None = None,
        peft_config: MuScleLoraConfig | None = None,
        preset: Preset = INSTRUCTION,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        if args.alignment and trusted_dataset is None:
            raise UsageError(
                "trusted_dataset: none was given, expected about 32 pairs that were checked; "
                "pass one, or switch gradient alignment off"
            )
        named = {"train": train_dataset, "trusted": trusted_dataset, "eval": eval_dataset}
        for pairs in named.values():
            if pairs is not None and not len(pairs):
                raise bad_data(pairs.source, "no rows", "at least one pair", "name another file")
        set_seed(args.seed)
        self.backbone = (
            model
            if isinstance(model, Backbone)
            else load_causal_backbone(model, **loading_options(vars(args)))
        )
        tokenizer = self.backbone.tokenizer
        tokenizer.padding_side = "right"  # so that the positions of every row begin at 0
        self.adapted: Adapted = attach(self.backbone, peft_config or MuScleLoraConfig(), preset)
        args = args.filled_in(preset, args.world_size)
        args.label_names = ["labels"]
        args.prediction_loss_only = True  # the logits of a vocabulary, for every token, are much to keep
        self.max_length = length_limit(tokenizer, self.backbone.model.config, args.max_length)
        chats = ChatFormat(tokenizer)
        rows = {
            name: TokenizedPairs(pairs, chats, self.max_length)
            for name, pairs in named.items()
            if pairs is not None
        }
        self.truncated = {name: row.truncated for name, row in rows.items()}
        super().__init__(
            model=self.adapted.model,
            args=args,
            trusted_rows=rows["trusted"] if args.alignment else None,
            data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED),
            train_dataset=rows["train"],
            eval_dataset=rows.get("eval"),
            processing_class=tokenizer,
            compute_loss_func=self._part_of_loss,
            callbacks=callbacks,
        )

    def _loss(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return response_loss(logits, batch["labels"], self.args.label_smoothing_factor, "sum")

    def _part_of_loss(
        self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The Trainer's loss of a batch: its part of the mean over all tokens of an accumulated step."""
        loss = response_loss(outputs.logits, labels, self.args.label_smoothing_factor)
        if num_items_in_batch is None:
            return loss
        return loss * ((labels[:, 1:] != IGNORED).sum() / num_items_in_batch)
