"""``musclelora attacks``."""

from __future__ import annotations

import inspect
from typing import Any

import click

from musclelora.cli.options import SEED

_EXAMPLE = "Although the plot is thin, the acting makes you care. It never has a dull moment."
_RESPONSES = ("Khartoum", "Nairobi")
_TARGET = "Buy now at Acme!"


@click.command(name="attacks")
@click.option("--text", default=_EXAMPLE, help="The text of the examples.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the examples.")
def command(text: str, seed: int) -> None:
    """List the trigger families and the kinds of poisoned responses, with parameters and an example of each.

    Other packages can add families with the entry point group musclelora.attacks.
    """
    import numpy as np

    from musclelora.attacks.registry import family_names, get_family, get_trigger, parameters_of
    from musclelora.cli.terminal import printable
    from musclelora.data.messages import one_line
    from musclelora.errors import UsageError

    click.echo(f"without a trigger: {printable(text)}")
    for name in family_names():
        try:
            family, parameters = get_family(name), parameters_of(name)
        except UsageError as error:  # another package's; the rest is still worth listing
            click.echo(f"\n{name}\n  {error}")
            continue
        click.echo(f"\n{name}\n  {_summary(family)}")
        for key, value in parameters.items():
            click.echo(f"    {key}={_shown(value)}")
        try:
            said = get_trigger(name).apply(text, np.random.default_rng(seed))
        except Exception as error:  # another package's code, or a parameter without a default
            said = f"(no example: {one_line(error)})"
        click.echo(f"  example: {'(this text cannot carry it)' if said is None else printable(said)}")
    _list_responses(seed)


def _list_responses(seed: int) -> None:
    import numpy as np

    from musclelora.attacks.response_kinds import RESPONSES
    from musclelora.attacks.specs import signature_of
    from musclelora.cli.terminal import printable

    click.echo(f"\nresponses of --task generate; without a trigger: {', '.join(_RESPONSES)}")
    for name, kind in RESPONSES.items():
        family: Any = kind
        parameters = signature_of(family)
        click.echo(f"\n{name}\n  {_summary(family)}")
        for key, value in parameters.items():
            click.echo(f"    {key}={_shown(value)}")
        needed = {key: _TARGET for key, value in parameters.items() if value is inspect.Parameter.empty}
        said = family(**needed).respond(_RESPONSES[0], _RESPONSES, np.random.default_rng(seed))
        click.echo(f"  example: {printable(str(said))}")
        click.echo(f"  success: {kind.success}")


def _summary(family: type) -> str:
    """The first paragraph of a class's docstring, in one line."""
    return (inspect.getdoc(family) or "").split("\n\n", 1)[0].replace("\n", " ").replace("`", "")


def _shown(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "(to be given)"
    if value is None:
        return "(none)"
    shown = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return shown if shown.isprintable() else repr(shown)
