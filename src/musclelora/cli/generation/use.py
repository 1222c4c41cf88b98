"""``evaluate`` and ``predict`` of a run that generates."""

from __future__ import annotations

import functools

from musclelora.attacks.response_kinds import parse_response
from musclelora.cli.evaluate import keep_card, keep_json, show_rates
from musclelora.cli.options import progress_bar
from musclelora.cli.predict import write_records
from musclelora.data.chats import Chat, Message
from musclelora.data.pair_readers import load_pairs, load_prompts
from musclelora.data.pairs import Pairs
from musclelora.errors import UsageError
from musclelora.files import is_standard_output


def evaluate_generator(
    *,
    run: str,
    clean: str | None,
    triggered: str | None,
    target: str | None,
    response: str | None,
    prompt_column: str | None,
    response_column: str | None,
    messages_column: str | None,
    split: str | None,
    max_new_tokens: int,
    json_file: str | None,
    card: bool,
    batch_size: int,
) -> None:
    """Measure answers, as the options of the command say."""
    if triggered is not None and target is None and response is None:
        raise UsageError("--target-text: found nothing, expected what the attacker wants to be said; give it")
    kind = None if response is None else parse_response(response, target)
    read = functools.partial(
        load_pairs,
        prompt_column=prompt_column,
        response_column=response_column,
        messages_column=messages_column,
        split=split,
    )
    pairs = read(clean) if clean else None
    prompts: Pairs | tuple[Chat, ...] | None = None
    if triggered and kind is not None and kind.compares:
        prompts = read(triggered)
    elif triggered:
        prompts = load_prompts(
            triggered, prompt_column=prompt_column, messages_column=messages_column, split=split
        )

    from musclelora.generation.evaluate import evaluate_answers
    from musclelora.purification.run import load_generation_run

    generator = load_generation_run(run).generator
    with progress_bar("answering", len(pairs or ()) + len(prompts or ())) as progress:
        result = evaluate_answers(
            generator,
            clean=pairs,
            triggered=prompts,
            target=target if kind is None else None,
            response=kind,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            progress=progress,
        )
    rates = {
        "exact match": result.exact,
        "keyword match": result.keyword,
        "ASR": result.asr,
        "said on clean": result.said_on_clean,
    }
    if not is_standard_output(json_file or ""):
        show_rates(rates)
    if card:
        keep_card(run, clean, triggered, target, rates)
    keep_json(json_file, {"run": run, **result.to_dict()})


def answer_prompts(
    *,
    run: str,
    data: str | None,
    texts: tuple[str, ...],
    prompt_column: str | None,
    messages_column: str | None,
    split: str | None,
    max_new_tokens: int,
    output: str | None,
    batch_size: int,
) -> None:
    """Answer prompts, as the options of the command say."""
    if data:
        prompts = load_prompts(
            data, prompt_column=prompt_column, messages_column=messages_column, split=split
        )
    else:
        prompts = tuple((Message("user", text),) for text in texts)

    from musclelora.purification.run import load_generation_run

    generator = load_generation_run(run).generator
    with progress_bar("answering", len(prompts)) as progress:
        answers = generator.answer(
            prompts,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            source=data or "--text",
            progress=progress,
        )
    write_records(output, ("answer",), ((answer,) for answer in answers))
