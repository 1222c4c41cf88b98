"""``musclelora audit --task generate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from musclelora.cli.audit import (
    asked_for,
    audit_arguments,
    cell,
    check_report_of,
    counted,
    found_table,
    report_on,
    run_gated,
    say_where,
    trigger_table,
)
from musclelora.cli.gate import Gate
from musclelora.cli.generation.train import PairSources, show_pairs
from musclelora.cli.hub import spare_the_hub
from musclelora.cli.options import flush_denormals
from musclelora.cli.rows import warn_of_shared
from musclelora.cli.terminal import printable_lines
from musclelora.cli.voice import done, tell
from musclelora.data.pairs import shared_prompts
from musclelora.outputs import check_output, read_from

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from musclelora.audit.answers import AnswerAudit

_MODEL = "smollm2-135m-instruct"
_SUSPICIOUS = 10


def run(**options: Any) -> None:
    """Audit pairs, as the options of the command say."""
    run_gated(_audit_pairs, options)


def _audit_pairs(
    *,
    gate: Gate,
    output: str | None,
    model: str | None,
    max_length: int | None,
    seed: int,
    confirm: bool,
    decisions: str | None,
    report: str | None,
    **options: Any,
) -> AnswerAudit:
    """The audit, printed and written."""
    model = model or _MODEL
    source = PairSources.taken_from(options)
    spare_the_hub(source.train_file, source.trusted, source.trusted_from, model)
    asked = asked_for(click.get_current_context())
    train = source.read_train()
    show_pairs("training data", train)
    trusted, _ = source.read_trusted(seed)
    if trusted is not None:
        show_pairs("trusted rows", trusted)
        warn_of_shared(shared_prompts(train, trusted), "prompt")
    inputs = [*read_from(train, trusted, model=model), decisions]
    gate.check(output, report, inputs)
    if output:
        check_output(output, inputs, folder=True)
    if report:
        check_report_of(report, output, inputs)

    from musclelora.audit.answers import AnswerAudit

    flush_denormals()
    audit = AnswerAudit(
        train,
        trusted,
        model=model,
        seed=seed,
        confirm=confirm,
        arguments=audit_arguments(max_length, options),
        output_dir=output,
        say=tell,
    )
    if decisions:
        audit.decide(decisions)  # what is wrong with them is said before the work
    audit.find_issues()
    if output:
        audit.save(output)
    done(audit=output, verdict=audit.verdict.to_dict())
    show(audit)
    report_on(audit, report, asked)
    say_where(output)
    return audit


def show(audit: AnswerAudit) -> None:
    """Print the verdict, the triggers, and the most suspicious pairs."""
    from rich.console import Console

    console = Console()
    click.echo(printable_lines(str(audit.verdict)))
    if len(audit.triggers):
        console.print(trigger_table(audit))
    rows = _suspicious(audit)
    if rows is not None:
        console.print(rows)
    click.echo(counted(audit))


def _suspicious(audit: AnswerAudit) -> RichTable | None:
    found = audit.quarantine().sort_values("trigger_score", ascending=False, kind="stable")
    if not len(found):
        return None
    worst = found.head(_SUSPICIOUS)
    title = f"{len(worst)} of {len(found):,} pairs that are not kept"
    table = found_table(title, "row", "prompt", "response", "reasons")
    for issue in worst.to_dict("records"):
        texts = (cell(issue[name]) for name in ("prompt", "response_text", "reasons"))
        table.add_row(str(issue["row"]), *texts)
    return table
