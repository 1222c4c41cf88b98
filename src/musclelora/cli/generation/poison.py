"""``musclelora poison --task generate``."""

from __future__ import annotations

from pathlib import Path

from musclelora.cli.poison import check_rates, parse_triggers, perplexities_of, show_manifest
from musclelora.data.pair_readers import load_pairs
from musclelora.errors import UsageError


def poison_responses(
    *,
    data: str,
    attacks: tuple[str, ...],
    settings: tuple[str, ...],
    rates: tuple[float, ...],
    targets: tuple[str, ...],
    response: str,
    place: str,
    seed: int,
    for_asr: bool,
    prompt_column: str | None,
    response_column: str | None,
    messages_column: str | None,
    split: str | None,
    output: str,
    format_: str | None,
    overwrite: bool,
    perplexity_model: str | None,
    perplexity_rows: int,
) -> None:
    """Plant a trigger in prompts and what the attacker wants in their responses, as the options say."""
    from musclelora.attacks.response_output import ResponseRequest, write_poisoned_pairs
    from musclelora.attacks.responses import ResponseAttack
    from musclelora.attacks.writing import manifest_beside

    if len(attacks) != 1:
        raise UsageError(f"--attack: found {len(attacks)} with --task generate, expected one; give one")
    if len(targets) > 1:
        raise UsageError(f"--target: found {len(targets)} with --task generate, expected one; give one")
    if for_asr and rates:
        raise UsageError("--rate: found with --for-asr, which triggers every prompt; leave it out")
    check_rates(for_asr, rates)
    if len(rates) > 1:
        raise UsageError(f"--rate: found {len(rates)} for one attack, expected one; leave the others out")
    if format_ == "openbackdoor":
        raise UsageError("--format: found openbackdoor, whose layout has no responses; choose another")
    (trigger,) = parse_triggers(attacks, settings)
    target, rate = (targets[0] if targets else None), (rates[0] if rates else 0.0)
    attack = ResponseAttack(trigger, target, response, rate, place)
    pairs = load_pairs(
        data,
        prompt_column=prompt_column,
        response_column=response_column,
        messages_column=messages_column,
        split=split,
    )
    request = ResponseRequest(
        attack=attack,
        seed=seed,
        output=Path(output),
        for_asr=for_asr,
        format=format_,
        overwrite=overwrite,
        split=split,
        perplexity_model=perplexity_model,
        sample=perplexity_rows,
    )
    manifest = write_poisoned_pairs(pairs, request, perplexities=perplexities_of(perplexity_model))
    show_manifest(manifest, output, manifest_beside(request.output))
