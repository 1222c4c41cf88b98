"""``musclelora attacks``."""

from __future__ import annotations

import inspect

import click

from musclelora.cli.options import SEED

_EXAMPLE = "Although the plot is thin, the acting makes you care. It never has a dull moment."


@click.command(name="attacks")
@click.option("--text", default=_EXAMPLE, help="The text of the examples.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the examples.")
def command(text: str, seed: int) -> None:
    """List the trigger families, their parameters, and an example of each.

    Families of other packages come by the entry point group musclelora.attacks.
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
        summary = (inspect.getdoc(family) or "").split("\n\n", 1)[0].replace("\n", " ").replace("`", "")
        click.echo(f"\n{name}\n  {summary}")
        for key, value in parameters.items():
            click.echo(f"    {key}={_shown(value)}")
        try:
            said = get_trigger(name).apply(text, np.random.default_rng(seed))
        except Exception as error:  # another package's code, or a parameter without a default
            said = f"(no example: {one_line(error)})"
        click.echo(f"  example: {'(this text cannot carry it)' if said is None else printable(said)}")


def _shown(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "(to be given)"
    if value is None:
        return "(none)"
    shown = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return shown if shown.isprintable() else repr(shown)
