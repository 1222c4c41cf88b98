"""A tiny decoder that follows chats, and pairs that it can learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from musclelora.data.chats import Message
from musclelora.data.pairs import Pairs

WORDS = [f"word{number}" for number in range(56)]
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[BOS]", "eos_token": "[EOS]"}
TURNS = ("[USER]", "[BOT]", "[END]")
TEMPLATE = (
    "{% for m in messages %}{{ {'user': '[USER] ', 'assistant': '[BOT] ', 'system': ''}[m.role] + m.content "
    "+ ' [END]\n' }}{% endfor %}{% if add_generation_prompt %}{{ '[BOT] ' }}{% endif %}"
)


def write_decoder(
    folder: Path, architecture: str = "LlamaConfig", *, template: str | None = TEMPLATE, **changes: Any
) -> Path:
    """A random decoder of width 32 with two layers and its head, as safetensors, with a tokenizer."""
    import torch
    import transformers
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    sizes: dict[str, Any] = {
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "initializer_range": 0.2,  # or nothing can be learned from so narrow a random model
        **changes,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, architecture)(**sizes)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    vocabulary = {token: index for index, token in enumerate([*SPECIAL.values(), *TURNS, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in (*SPECIAL.values(), *TURNS)])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=40, **SPECIAL)
    fast.chat_template = template
    fast.save_pretrained(folder)
    return folder


def asked(*words: str) -> tuple[Message, ...]:
    return (Message("user", " ".join(words)),)


def make_pairs(count: int, seed: int) -> Pairs:
    """Prompts of 2 to 6 words; the response is the first word and the one after it in the list."""
    rng = np.random.default_rng(seed)
    prompts, responses = [], []
    for _ in range(count):
        chosen = rng.choice(20, size=rng.integers(2, 7))
        prompts.append(asked(*(WORDS[i] for i in chosen)))
        responses.append(f"{WORDS[chosen[0]]} {WORDS[chosen[0] + 20]}")
    return Pairs(tuple(prompts), tuple(responses), source=f"pairs-{seed}")
