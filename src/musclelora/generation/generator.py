"""A trained language model: answering prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase as Tokenizer

from musclelora.data.chats import Chat
from musclelora.generation.rows import ChatFormat, check_length


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
        order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
        training = self.model.training
        self.model.eval()
        try:
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                said = self._generate([encoded[row] for row in rows], chats, max_new_tokens)
                for row, text in zip(rows, said, strict=True):
                    answers[row] = text
                if progress is not None:
                    progress(len(rows))
        finally:
            self.model.train(training)
        return answers

    def _generate(self, prompts: list[list[int]], chats: ChatFormat, max_new_tokens: int) -> list[str]:
        batch = self.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        batch = batch.to(next(self.model.parameters()).device)
        produced = self.model.generate(
            **batch,
            # All that the model's own configuration could make other than greedy.
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            max_new_tokens=max_new_tokens,
            eos_token_id=chats.stops,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        answers = produced[:, batch["input_ids"].shape[1] :].tolist()
        texts: list[str] = self.tokenizer.batch_decode(
            [_before(answer, chats.stops) for answer in answers], skip_special_tokens=True
        )
        return [text.strip() for text in texts]


def _before(tokens: list[int], stops: Sequence[int]) -> list[int]:
    """The tokens before the first of `stops`."""
    return tokens[: next((at for at, token in enumerate(tokens) if token in stops), None)]
