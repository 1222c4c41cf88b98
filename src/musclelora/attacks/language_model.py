"""Language models that rewrite texts, or say how probable they are. Torch is imported when one is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from musclelora.attacks.sentences import split_sentences
from musclelora.data.language_models import load_language_model


@dataclass
class SentenceRewriter:
    """Rewrites texts sentence by sentence with a generating model, sampling from the top of the distribution.

    Every text is sampled with its own generator, so that what it becomes does not depend on its neighbours
    (but for rounding, which batches of other sizes can do otherwise).

    Attributes:
        name: a hub name, a folder, or an embedded language model.
        kind: "seq2seq" or "causal-lm".
        prompt: the prompt, with ``{text}`` where the sentence goes.
        top_p: sample from the smallest set of tokens that together have this probability.
        batch_size: sentences at a time.
        max_new_tokens: tokens that a sentence may become.

    Raises:
        ModelError: the model cannot be loaded safely: unknown, pickled, or with code of its own.
        UsageError: a package that it needs is missing.
    """

    name: str
    kind: str
    prompt: str
    top_p: float
    batch_size: int
    max_new_tokens: int

    def __post_init__(self) -> None:
        self.model, self.tokenizer = load_language_model(self.name, self.kind)

    def __call__(self, texts: Sequence[str], rngs: Sequence[np.random.Generator]) -> list[str | None]:
        """Every text rewritten; None where the model said nothing about a sentence of it."""
        sentences: list[str] = []
        owners: list[int] = []
        for owner, text in enumerate(texts):
            parts = [part.strip() for part in split_sentences(text) if part.strip()]
            sentences += parts
            owners += [owner] * len(parts)
        seeds = [int(rngs[owner].integers(2**63)) for owner in owners]
        # Sentences of like length share a batch: less padding.
        order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
        rewritten = [""] * len(sentences)
        from tqdm import tqdm

        for start in tqdm(
            range(0, len(order), self.batch_size), desc="rewriting", unit="batch", leave=False, disable=None
        ):
            batch = order[start : start + self.batch_size]
            said = self._generate([sentences[i] for i in batch], [seeds[i] for i in batch])
            for index, sentence in zip(batch, said, strict=True):
                rewritten[index] = sentence
        whole: list[list[str]] = [[] for _ in texts]
        for owner, sentence in zip(owners, rewritten, strict=True):
            whole[owner].append(sentence)
        return [" ".join(parts) if parts and all(parts) else None for parts in whole]

    def _generate(self, sentences: list[str], seeds: list[int]) -> list[str]:
        import torch
        from transformers import LogitsProcessorList

        prompts = [self.prompt.replace("{text}", sentence) for sentence in sentences]
        longest = _longest(self.model, self.tokenizer)
        room = max(1, longest - self.max_new_tokens) if self.kind == "causal-lm" else longest
        inputs = self.tokenizer(
            prompts, return_tensors="pt", padding=True, truncation=True, max_length=room
        ).to(self.model.device)
        inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            produced = self.model.generate(
                **inputs,
                do_sample=False,
                num_beams=1,
                max_new_tokens=self.max_new_tokens,
                pad_token_id=self.tokenizer.pad_token_id,
                logits_processor=LogitsProcessorList([_sampler(seeds, self.top_p)]),
            )
        if self.kind == "causal-lm":
            produced = produced[:, inputs["input_ids"].shape[1] :]
        said = self.tokenizer.batch_decode(produced, skip_special_tokens=True)
        # A causal model goes on with lines that nobody asked for.
        return [next((line.strip() for line in text.splitlines() if line.strip()), "") for text in said]


def perplexities(tables: Sequence[Sequence[str]], name: str, *, batch_size: int = 8) -> list[float]:
    """The perplexity of texts under a causal language model, all of their tokens together.

    Args:
        tables: lists of texts; a text of which no token can be predicted does not count.
        name: a hub name, a folder, or an embedded language model.
        batch_size: texts at a time.

    Returns:
        One figure for each table: exp of the mean negative log-likelihood of a token. A text is cut to what
        the model reads.

    Raises:
        ModelError, UsageError: as :class:`SentenceRewriter`.
    """
    model, tokenizer = load_language_model(name, "causal-lm")
    return [_perplexity(list(table), model, tokenizer, batch_size) for table in tables]


def _perplexity(texts: list[str], model: Any, tokenizer: Any, batch_size: int) -> float:
    losses = text_losses(texts, model, tokenizer, batch_size=batch_size)
    total, count = sum(loss for loss, _ in losses), sum(tokens for _, tokens in losses)
    return math.exp(min(total / count, 700.0)) if count else math.nan


def text_losses(
    texts: Sequence[str], model: Any, tokenizer: Any, *, batch_size: int, bf16: bool = False
) -> list[tuple[float, int]]:
    """The negative log-likelihood of each text in nats, and the number of tokens that it is of.

    Args:
        texts: N texts, each cut to what the model reads.
        model: a causal language model: see :func:`~musclelora.data.language_models.load_language_model`.
        tokenizer: its tokenizer.
        batch_size: texts at a time; those of like length share a batch.
        bf16: under bfloat16 autocast: faster on many machines, and about 1 % off in perplexity.
    """
    import torch

    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    longest = _longest(model, tokenizer)
    encoded = [
        ([] if start is None else [start])
        + tokenizer(text, add_special_tokens=False, truncation=True, max_length=longest - 1)["input_ids"]
        for text in texts
    ]
    found = [(0.0, 0)] * len(texts)
    order = sorted((row for row, ids in enumerate(encoded) if len(ids) > 1), key=lambda i: len(encoded[i]))
    for index in range(0, len(order), batch_size):
        rows = order[index : index + batch_size]
        width = max(len(encoded[row]) for row in rows)
        pad = tokenizer.pad_token_id
        ids = torch.tensor([encoded[row] + [pad] * (width - len(encoded[row])) for row in rows])
        known = torch.tensor([[1] * len(encoded[row]) + [0] * (width - len(encoded[row])) for row in rows])
        ids, known = ids.to(model.device), known.to(model.device)
        with torch.inference_mode(), torch.autocast(ids.device.type, torch.bfloat16, enabled=bf16):
            logits = model(input_ids=ids, attention_mask=known).logits[:, :-1]
        # The vocabulary is large: one pass over the logits, and no copy in another layout.
        said = logits.gather(2, ids[:, 1:, None]).squeeze(2).float()
        losses = logits.float().logsumexp(dim=2) - said
        totals = (losses * known[:, 1:]).double().sum(dim=1).tolist()
        for row, total in zip(rows, totals, strict=True):
            found[row] = (total, len(encoded[row]) - 1)
    return found


def _sampler(seeds: list[int], top_p: float) -> Any:
    import torch
    from transformers import LogitsProcessor, TopPLogitsWarper

    class Sampler(LogitsProcessor):  # type: ignore[misc]
        """Top-p sampling, one generator for each row: the largest of logit + Gumbel noise is a sample."""

        def __init__(self) -> None:
            self.cut = TopPLogitsWarper(top_p)
            self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

        def __call__(self, input_ids: Any, scores: Any) -> Any:
            scores = self.cut(input_ids, scores.float())
            uniform = torch.stack([torch.rand(scores.shape[1], generator=g) for g in self.generators])
            tiny = torch.finfo(torch.float32).tiny
            return scores - (-(uniform.clamp_min(tiny)).log()).log().to(scores.device)

    return Sampler()


def _longest(model: Any, tokenizer: Any) -> int:
    known = getattr(model.config, "max_position_embeddings", None) or getattr(
        model.config, "n_positions", None
    )
    return int(min(known or 512, tokenizer.model_max_length, 2048))
