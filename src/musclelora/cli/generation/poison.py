"""``musclelora poison --task generate``."""

from __future__ import annotations

from typing import Any

from musclelora.cli.poison import check_rates, parse_triggers, write_poisoned
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
    prompt_column: str | None,
    response_column: str | None,
    messages_column: str | None,
    **options: Any,
) -> None:
    """Plant a trigger in prompts and what the attacker wants in their responses, as the options say."""
    from musclelora.attacks.response_output import ResponseOutput
    from musclelora.attacks.responses import ResponseAttack

    if len(attacks) != 1:
        raise UsageError(f"--attack: found {len(attacks)} with --task generate, expected one; give one")
    if len(targets) > 1:
        raise UsageError(f"--target: found {len(targets)} with --task generate, expected one; give one")
    if options["for_asr"] and rates:
        raise UsageError("--rate: found with --for-asr, which triggers every prompt; leave it out")
    check_rates(options["for_asr"], rates)
    if len(rates) > 1:
        raise UsageError(f"--rate: found {len(rates)} for one attack, expected one; leave the others out")
    if options["format_"] == "openbackdoor":
        raise UsageError("--format: found openbackdoor, whose layout has no responses; choose another")
    (trigger,) = parse_triggers(attacks, settings)
    target, rate = (targets[0] if targets else None), (rates[0] if rates else 0.0)
    attack = ResponseAttack(trigger, target, response, rate, place)
    pairs = load_pairs(
        data,
        prompt_column=prompt_column,
        response_column=response_column,
        messages_column=messages_column,
        split=options["split"],
    )
    write_poisoned(ResponseOutput, pairs, [attack], **options)
