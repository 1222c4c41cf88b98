"""Answers: greedy, and the same whatever shares the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_chats import make_pairs, write_decoder

from musclelora.adapter import MuScleLoraConfig, attach, load_causal_backbone
from musclelora.adapter.presets import preset_for
from musclelora.data.chats import Message
from musclelora.errors import DataError
from musclelora.generation import generator as generator_module
from musclelora.generation.generator import Generator, _shared
from musclelora.generation.rows import ChatFormat

PROMPTS = make_pairs(9, seed=4).prompts


def generator(folder: Path) -> Generator:
    backbone = load_causal_backbone(folder)
    return Generator(backbone.model, backbone.tokenizer, 40)


@torch.no_grad()
def greedy(made: Generator, prompt: object, most: int) -> str:
    """Token by token, each time the whole text anew."""
    chats = ChatFormat(made.tokenizer)
    ids = chats.prompt(prompt, "here")  # type: ignore[arg-type]
    said: list[int] = []
    while len(said) < most:
        token = int(made.model(input_ids=torch.tensor([ids + said])).logits[0, -1].argmax())
        if token in chats.stops:
            break
        said.append(token)
    return made.tokenizer.decode(said, skip_special_tokens=True).strip()


@pytest.mark.parametrize("model", ["decoder", "gpt2"])
def test_padded_batches_answer_as_prompts_alone(model: str, request: pytest.FixtureRequest) -> None:
    made = generator(request.getfixturevalue(model))
    answers = made.answer(PROMPTS, max_new_tokens=6, batch_size=4)
    assert answers == [greedy(made, prompt, 6) for prompt in PROMPTS]
    assert len(set(answers)) > 1


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("model", ["decoder", "gpt2"])
def test_an_answer_that_ends_early_changes_no_other(
    model: str, cut: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a cache cannot be cut, so that the texts are read again."""
    made = generator(request.getfixturevalue(model))
    whole = [greedy(made, prompt, 12).split() for prompt in PROMPTS]
    word = min(
        (word for words in whole for word in words[2:-2]), key=lambda one: sum(one in w for w in whole)
    )
    made.tokenizer.eos_token = word
    expected = [greedy(made, prompt, 12) for prompt in PROMPTS]
    lengths = {len(answer.split()) for answer in expected}
    assert len(lengths) > 1
    monkeypatch.setattr(generator_module, "ROUND", 2)
    if not cut:  # the texts are read again
        monkeypatch.setattr(generator_module, "_rows_of", lambda *_: None)
    assert made.answer(PROMPTS, max_new_tokens=12, batch_size=4) == expected


@pytest.mark.parametrize(
    ("architecture", "once"),
    [
        *[("LlamaConfig", True), ("GPT2Config", True), ("MistralConfig", False), ("BloomConfig", False)],
        *[("GPTNeoConfig", False), ("OpenAIGPTConfig", False)],
    ],
)
def test_what_all_prompts_begin_with_is_read_once(architecture: str, once: bool, tmp_path: Path) -> None:
    """Not where a window counts padding, nor where positions cannot be told."""
    window: dict[str, Any] = {
        "MistralConfig": {"num_key_value_heads": 2, "sliding_window": 4},
        "GPTNeoConfig": {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "window_size": 6},
    }
    made = generator(write_decoder(tmp_path / "decoder", architecture, **window.get(architecture, {})))
    turn = Message("system", "word1 word2 word3 word4 word5")
    prompts = [(turn, *prompt) for prompt in PROMPTS]
    chats = ChatFormat(made.tokenizer)
    begin = _shared([chats.prompt(prompt, "here") for prompt in prompts])
    assert len(begin) >= 6
    with torch.inference_mode():
        assert (made._parts([begin], begin)[1] is not None) == once
    answers = made.answer(prompts, max_new_tokens=12, batch_size=4)
    assert answers == [greedy(made, prompt, 12) for prompt in prompts]
    assert len(set(answers)) > 1 or architecture == "OpenAIGPTConfig"  # whose random model ends at once


def test_an_adapter_changes_nothing_of_it(decoder: Path) -> None:
    backbone = load_causal_backbone(decoder)
    config = MuScleLoraConfig(r=2, scale_factors=[1, 3], multiscale_modules="all-adapted")
    model = attach(backbone, config, preset_for(backbone.model.config)).model.eval()
    made = Generator(model, backbone.tokenizer, 40)
    turn = Message("system", "word1 word2 word3")
    prompts = [(turn, *prompt) for prompt in PROMPTS]
    chats = ChatFormat(made.tokenizer)
    with torch.inference_mode():
        encoded = [chats.prompt(prompt, "here") for prompt in prompts]
        assert made._parts(encoded, _shared(encoded))[1] is not None
    answers = made.answer(prompts, max_new_tokens=6, batch_size=4)
    assert answers == [greedy(made, prompt, 6) for prompt in prompts]


@pytest.mark.parametrize(
    "own",
    [
        *[{"use_cache": False}, {"cache_implementation": "dynamic"}, {"cache_implementation": "static"}],
        *[{"min_new_tokens": 10}, {"forced_eos_token_id": 3}],
    ],
)
def test_a_models_own_settings_mean_what_they_did(own: dict[str, Any], decoder: Path) -> None:
    made = generator(decoder)
    for name, value in own.items():
        setattr(made.model.generation_config, name, value)
    begun = [(Message("system", "word1 word2 word3"), *prompt) for prompt in PROMPTS]
    few = [made.answer([prompt], max_new_tokens=6)[0] for prompt in begun]
    assert made.answer(begun, max_new_tokens=6, batch_size=4) == few  # in one part
    alone = [made.answer([prompt], max_new_tokens=12, batch_size=1)[0] for prompt in PROMPTS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator_module, "ROUND", 12)
        patch.setattr(generator_module, "_shared", lambda _: [])
        whole = made.answer(PROMPTS, max_new_tokens=12, batch_size=4)
    assert made.answer(PROMPTS, max_new_tokens=12, batch_size=4) == whole == alone


def test_the_prompts_of_a_batch_may_be_the_same(decoder: Path) -> None:
    made = generator(decoder)
    same = [PROMPTS[0]] * 3
    assert made.answer(same, max_new_tokens=6) == [greedy(made, PROMPTS[0], 6)] * 3
    assert made.answer([], max_new_tokens=6) == []


def test_the_side_that_a_tokenizer_pads_on_does_not_matter(decoder: Path) -> None:
    made = generator(decoder)
    expected = made.answer(PROMPTS, max_new_tokens=6)
    made.tokenizer.padding_side = "right"
    assert made.answer(PROMPTS, max_new_tokens=6) == expected


def test_a_prompt_without_room_for_its_answer_is_refused(decoder: Path) -> None:
    with pytest.raises(DataError, match=r"asked.csv, row 1: a prompt of .* expected at most 1"):
        generator(decoder).answer(PROMPTS, max_new_tokens=39, source="asked.csv")


def test_progress_counts_every_prompt(decoder: Path) -> None:
    done: list[int] = []
    generator(decoder).answer(PROMPTS, max_new_tokens=1, batch_size=4, progress=done.append)
    assert done == [4, 4, 1]
