"""Answers: greedy, and the same whatever shares the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_chats import make_pairs

from musclelora.adapter import load_causal_backbone
from musclelora.errors import DataError
from musclelora.generation.generator import Generator
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
