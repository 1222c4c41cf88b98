"""A trained language model: answering prompts."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from musclelora.data.chats import Chat
from musclelora.generation.rows import ChatFormat, check_length

ROUND: Final = 8
"""Tokens that a batch is given at a time; then the prompts whose answer has ended leave it."""
_OF_WHOLE_ANSWERS: Final = (
    *("cache_implementation", "min_new_tokens", "forced_eos_token_id", "begin_suppress_tokens"),
    *("exponential_decay_length_penalty", "max_time"),
)
"""Settings of a model's own that mean another thing where an answer is made in parts."""


@dataclass(frozen=True)
class Generator:
    """A model and its tokenizer.

    Attributes:
        model: a causal language model, with or without an adapter in it.
        tokenizer: its tokenizer.
        context: tokens that the model reads, a prompt and its answer together.
    """

    model: Any
    tokenizer: Tokenizer
    context: int

    @torch.inference_mode()
    def answer(
        self,
        prompts: Sequence[Chat],
        *,
        max_new_tokens: int = 64,
        batch_size: int = 16,
        source: str = "prompts",
        progress: Callable[[int], object] | None = None,
    ) -> list[str]:
        """The answer to each of N prompts: always the most probable token, until the model ends it.

        Args:
            prompts: N chats.
            max_new_tokens: tokens of an answer, beyond which it is cut.
            batch_size: prompts at a time; those of like length share a batch.
            source: where they are from, for messages.
            progress: called after each batch with the number of prompts it held.

        Returns:
            N texts, less the blanks around them and the tokens that end them.

        Raises:
            DataError: a prompt and an answer of `max_new_tokens` are longer than the model reads.
        """
        chats = ChatFormat(self.tokenizer)
        encoded: list[list[int]] = []
        for number, prompt in enumerate(prompts, start=1):
            place = f"{source}, row {number}"
            encoded.append(chats.prompt(prompt, place))
            most = self.context - max_new_tokens
            check_length(len(encoded[-1]), most, place, f"lower --max-new-tokens from {max_new_tokens:,}")
        answers = [""] * len(encoded)
        prefix = _shared(encoded)
        order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
        training = self.model.training
        self.model.eval()
        try:
            parts, read = self._parts(encoded, prefix)
            if read is None:
                prefix = []
            size = ROUND if parts else max_new_tokens
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                said = self._generate(
                    [encoded[row] for row in rows], prefix, read, chats, max_new_tokens, size
                )
                for row, text in zip(rows, said, strict=True):
                    answers[row] = text
                if progress is not None:
                    progress(len(rows))
        finally:
            self.model.train(training)
        return answers

    def _parts(self, prompts: list[list[int]], prefix: list[int]) -> tuple[bool, Any]:
        """Whether answers can be made in parts, and the cache of what all prompts begin with.

        Both need a cache that can be cut by rows. Padding stands behind what was read before, and must count
        for nothing: so the model has to take positions, and no layer may have a window, which counts places.

        Returns:
            The cache is None where none of use can be made.
        """
        settings = getattr(self.model, "generation_config", None)
        if not prompts or any(getattr(settings, name, None) is not None for name in _OF_WHOLE_ANSWERS):
            return False, None
        # An adapter's own forward takes anything.
        own = getattr(self.model, "get_base_model", lambda: self.model)()
        takes = inspect.signature(own.forward).parameters
        ids = torch.tensor([prefix or prompts[0][:1]], device=next(self.model.parameters()).device)
        more = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        try:
            cache = getattr(self.model(input_ids=ids, use_cache=True, **more), "past_key_values", None)
        except TypeError:  # it knows no cache
            return False, None
        kinds = {type(layer) for layer in getattr(cache, "layers", ())}
        if not kinds or not kinds <= {DynamicLayer, DynamicSlidingWindowLayer}:
            return False, None
        windows = DynamicSlidingWindowLayer in kinds or "local" in getattr(own.config, "attention_layers", ())
        return True, cache if prefix and "position_ids" in takes and not windows else None

    def _generate(
        self,
        prompts: list[list[int]],
        prefix: list[int],
        read: Any,
        chats: ChatFormat,
        max_new_tokens: int,
        size: int,
    ) -> list[str]:
        """The answers to a batch, `size` tokens at a time: then a prompt whose answer has ended leaves it."""
        rest = [prompt[len(prefix) :] for prompt in prompts]
        batch = self.tokenizer.pad({"input_ids": rest}, padding_side="left", return_tensors="pt")
        batch = batch.to(next(self.model.parameters()).device)
        shared = torch.tensor([prefix], device=batch["input_ids"].device, dtype=torch.long).expand(
            len(prompts), -1
        )
        ids = torch.cat([shared, batch["input_ids"]], dim=1)
        mask = torch.cat([torch.ones_like(shared), batch["attention_mask"]], dim=1)
        cache = copy.deepcopy(read)
        if cache is not None:
            cache.batch_repeat_interleave(len(prompts))
        answers: list[list[int]] = [[] for _ in prompts]
        going, left = list(range(len(prompts))), max_new_tokens
        while going and left > 0:
            made = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                **({} if cache is None else {"past_key_values": cache, "use_cache": True}),
                # All that the model's own configuration could make other than greedy.
                do_sample=False,
                num_beams=1,
                repetition_penalty=1.0,
                no_repeat_ngram_size=0,
                max_new_tokens=min(size, left),
                eos_token_id=chats.stops,
                pad_token_id=self.tokenizer.pad_token_id,
                return_dict_in_generate=True,
            )
            new = made.sequences[:, ids.shape[1] :]
            left -= new.shape[1]
            on = []
            for place, (row, tokens) in enumerate(zip(going, new.tolist(), strict=True)):
                said = _before(tokens, chats.stops)
                answers[row] += said
                if len(said) == len(tokens):
                    on.append(place)
            if on and left > 0:
                mask = torch.cat([mask, torch.ones_like(new)], dim=1)[on]
                ids, cache = made.sequences[on], _rows_of(made.get("past_key_values"), on, len(going))
            going = [going[place] for place in on]
        texts: list[str] = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [text.strip() for text in texts]


def _rows_of(cache: Any, rows: list[int], count: int) -> Any:
    """Some of the `count` rows of a cache, in place; None stays so, and the texts are read again."""
    if cache is not None and len(rows) < count:
        cache.batch_select_indices(torch.tensor(rows))
    return cache


def _shared(prompts: list[list[int]]) -> list[int]:
    """The tokens that all prompts begin with, with something left of each."""
    if len(prompts) < 2:
        return []
    first, last = min(prompts), max(prompts)
    most = min(len(prompt) for prompt in prompts) - 1
    return first[: next((at for at in range(most) if first[at] != last[at]), most)]


def _before(tokens: list[int], stops: Sequence[int]) -> list[int]:
    """The tokens before the first of `stops`."""
    return tokens[: next((at for at, token in enumerate(tokens) if token in stops), None)]
