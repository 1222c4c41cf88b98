"""``musclelora audit``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from musclelora.cli.gate import Gate, gate_options
from musclelora.cli.hub import destination_of, push_folder, push_options, spare_the_hub
from musclelora.cli.options import JUDGE, MODEL_OPTIONS, SEED, TEXT_TOKENS, Name, given, named_judge
from musclelora.cli.rows import ROW_OPTIONS, PairSources, Rows, Sources
from musclelora.cli.tasks import CLASSIFY, GENERATE, PAIR_COLUMNS, Work, dispatch, pair_options, task_option
from musclelora.cli.terminal import printable, printable_lines
from musclelora.cli.voice import done, tell, voice, voice_options
from musclelora.errors import OutputError, UsageError
from musclelora.outputs import check_output, read_from

if TYPE_CHECKING:
    from rich.table import Table as RichTable
    from rich.text import Text

    from musclelora.audit import Audit

_SUSPICIOUS, _TRIGGERS = 10, 10
PUSHED = ("README.md", "cleaned.csv", "cleaned.jsonl")
"""Of an audit's folder: what is there of these, and never a row that was left out."""
_LONGEST = 48
_LOADING = ("dtype", "quantize", "attn_implementation")
_PUSHING = ("push_to_hub", "public")


def _row_options() -> list[Any]:
    """The options of rows, but for the training rows, which are the argument."""
    return list(ROW_OPTIONS[1:])


_WORKS = {
    CLASSIFY: Work("musclelora.cli.audit:audit_labels", PAIR_COLUMNS),
    GENERATE: Work(
        "musclelora.cli.audit:audit_pairs",
        ("text_column", "label_column", "trusted_selection", "judge"),
    ),
}


@click.command(name="audit")
@click.argument("train_file", metavar="DATA", type=Name())
@task_option
@click.option(
    "--output", metavar="FOLDER", help="The folder to write. Required without --fail-on and --format."
)
@click.option(
    "--model",
    type=Name(),
    help="Embedded model, hub name or folder.  [default: all-minilm-l6-v2; generate: smollm2-135m-instruct]",
)
@JUDGE
@click.option("--max-length", type=TEXT_TOKENS, help="Tokens per text.  [default: the model's limit]")
@click.option("--seed", type=SEED, default=42, show_default=True, help="Random seed.")
@click.option("--confirm/--no-confirm", default=True, help="Test whether a model obeys the triggers.")
@click.option(
    "--decisions", metavar="FILE", type=Name(), help="A person's decisions: a table of row, action, label."
)
@click.option("--report", metavar="FILE", type=Name(), help="Also write the findings as one HTML file.")
@gate_options
@push_options
@pair_options(response=True)
@voice_options
def command(task: str, **options: Any) -> None:
    """Find what is wrong with labelled texts, or with prompts and responses, and which rows to train on.

    DATA has the forms that `musclelora train` takes. Trusted rows are about 100 rows that you checked. The
    folder gets the verdict and all findings (audit.json), one line per row (issues.csv), triggers and styles
    (triggers.csv, styles.csv), the rows to train on (cleaned.csv), the other rows (quarantine.csv) and a card
    (README.md). After a kill, the same command continues. `musclelora report` shows the folder as one HTML
    file. In a pipeline, --fail-on sets exit code 7 by the verdict, and --format prints the result for a
    program. --push-to-hub pushes the card and the rows to train on, unless --fail-on ends the command.
    """
    dispatch(_WORKS, task, options)


for _option in reversed([*_row_options(), *MODEL_OPTIONS]):
    command = _option(command)


def audit_labels(**options: Any) -> None:
    """Audit labels, as the options of the command say."""
    _run_gated(Rows, options)


def audit_pairs(**options: Any) -> None:
    """Audit prompts and responses, as the options of the command say."""
    _run_gated(PairSources, options)


def _run_gated(rows: type[Sources], options: dict[str, Any]) -> None:
    """Audit, tell the pipeline, and push what is kept if the gate lets it through.

    Args:
        rows: of the task.
        options: of the command.

    Raises:
        UsageError: what the gate refuses, or something is to be pushed that is not kept.
    """
    voice()  # whose options may be wrong
    gate = Gate.taken_from(options)
    output, repo = options["output"], options.pop("push_to_hub")
    if repo and not output:
        raise UsageError("--push-to-hub: found without --output, expected the folder to push from; name one")
    destination = destination_of(repo, "dataset", options.pop("public"))
    with gate.aside():
        source = rows.taken_from(options)
        audit = _audit(source, gate=gate, **options)
    gate.end(audit)
    with gate.aside():
        push_folder(output, destination, PUSHED)


def _audit(
    source: Sources,
    *,
    gate: Gate,
    output: str | None,
    model: str | None,
    max_length: int | None,
    seed: int,
    confirm: bool,
    decisions: str | None,
    report: str | None,
    judge: str | None = None,
    **options: Any,
) -> Audit:
    """The audit, printed and written."""
    model = model or source.model
    spare_the_hub(*source.names, model, named_judge(judge))
    asked = asked_for(click.get_current_context())
    train = source.read_train()
    if source.trusted:
        trusted = source.read(source.trusted, train)
    else:
        loading = given(**{name: options[name] for name in _LOADING})
        trusted, _ = source.take_trusted(train, model, seed, **loading)
    if trusted is not None:
        source.show_trusted(train, trusted)
    inputs = [*read_from(train, trusted, model=model), decisions]
    gate.check(output, report, inputs)
    if output:
        check_output(output, inputs, folder=True)
    if report:
        _check_report_of(report, output, inputs)

    from musclelora.audit import Audit
    from musclelora.cli.options import flush_denormals

    flush_denormals()
    audit = Audit(
        train,
        trusted,
        model=model,
        seed=seed,
        confirm=confirm,
        arguments=_audit_arguments(max_length, options),
        output_dir=output,
        say=tell,
        **given(judge=judge),
    )
    if decisions:
        audit.decide(decisions)  # what is wrong with them is said before the work
    audit.find_issues()
    if output:
        audit.save(output)
    done(audit=output, verdict=audit.verdict.to_dict())
    show(audit)
    if report:
        from musclelora.report import write_report

        write_report(audit, report, command=asked)
        click.echo(f"the report is {printable(report)}")
    if output:
        click.echo(f"written to {output}; ask about a row with musclelora explain {output} --row N")
    return audit


def asked_for(context: click.Context) -> str:
    """The command line as it was given: its argument, and the options named that its findings may need."""
    words = [context.command_path]
    for parameter in context.command.params:
        if parameter.name not in context.params:  # it changes nothing but what is said
            continue
        if parameter.name in _PUSHING:
            continue
        value = context.params[parameter.name]
        if context.get_parameter_source(str(parameter.name)) is not ParameterSource.COMMANDLINE:
            continue
        if isinstance(parameter, click.Option):
            named = parameter.opts[0] if value is not False else (*parameter.secondary_opts, "")[0]
            words += [named] if parameter.is_flag else [named, str(value)]
        else:
            words.insert(1, str(value))
    return " ".join([words[0], *map(shlex.quote, words[1:])])


def _check_report_of(report: str, output: str | None, inputs: Sequence[str | None]) -> None:
    """Refuse a place where no report may be written, before anything is computed.

    Raises:
        OutputError: it is such a place, or lies in the audit's folder.
    """
    from musclelora.report.page import check_report

    check_report(report, *inputs)
    if output and Path(os.path.realpath(output)) in Path(os.path.realpath(report)).parents:
        raise OutputError(f"{report}: it lies in {output}, the folder of the audit; name an output beside it")


def show(audit: Audit) -> None:
    """Print the verdict, the triggers, and the most suspicious rows."""
    from rich.console import Console

    console = Console()
    click.echo(printable_lines(str(audit.verdict)))
    if len(audit.triggers):
        console.print(_trigger_table(audit))
    for line in _styles(audit):
        click.echo(line)
    rows = _suspicious(audit)
    if rows is not None:
        console.print(rows)
    counts = {action: int((audit.actions == action).sum()) for action in ("keep", "drop", "relabel")}
    click.echo("rows         " + ", ".join(f"{count:,} to {action}" for action, count in counts.items()))


def _audit_arguments(max_length: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """The fields of the training arguments that a command's options give an audit."""
    names = (*_LOADING, "bf16")
    arguments = given(max_length=max_length, **{name: options[name] for name in names})
    if options["gradient_checkpointing"]:
        arguments["activation_checkpointing"] = True
    return arguments


def _cell(text: object) -> Text:
    """A cell with text of the data: no markup and no emoji code in it counts."""
    from rich.text import Text

    shown = printable(str(text))
    return Text(shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…")


def _trigger_table(audit: Audit) -> RichTable:
    """The triggers of an audit, each text with its label once."""
    table = _found_table("triggers", "text", "label")
    table.columns[0].min_width = 16
    for name in ("rows", "expected", "p", "flips", "random", "what"):
        table.add_column(name, justify="right")
    seen = audit.triggers.drop_duplicates(["text", "label"])
    for row in seen.head(_TRIGGERS).to_dict("records"):
        table.add_row(
            _cell(row["text"]),
            _cell(row["label"]),
            f"{row['observed']:,} of {row['rows']:,}",
            f"{row['expected']:,.0f}",
            f"{row['p_value']:.0e}",
            *_rates_of(row),
            row["what"],
        )
    return table


def _found_table(title: str, *names: str) -> RichTable:
    """A table of findings, with the columns of these names."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    return RichTable(*names, title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _styles(audit: Audit) -> list[str]:
    """Each style in three lines: what tells it, a row that has it, and one of the label that does not."""
    lines = []
    for row in audit.styles.to_dict("records"):
        flips, others = _rates_of(row)
        tested = f", flips {flips} (others {others})" if flips else ""
        told = _cell(", ".join(row["telling"]))
        lines.append(
            f"style        {row['rows']:,} rows with {_cell(row['label'])}, told by {told}; "
            f"p {row['p_value']:.0e}{tested}, {row['what']}"
        )
        for name, numbers in (("such as", row["examples"]), ("unlike", row["others"])):
            lines += [f"  {name:<11}row {n:,}: {_cell(audit.train.texts[n])}" for n in numbers[:1]]
    return lines


def _rates_of(row: dict[Any, Any]) -> list[str]:
    """The flip rate and the control rate, empty where there was no test."""
    rates = (row[name] for name in ("flip_rate", "control_rate"))
    return ["" if rate is None or rate != rate else f"{rate:.0%}" for rate in rates]


def _suspicious(audit: Audit) -> RichTable | None:
    import pandas as pd

    from musclelora.report.subject import task_of

    task, listed = task_of(audit), audit.listed()
    found = listed[listed["action"] != "keep"]
    if not len(found):
        return None
    scores = [found[name] for name in task.scores]
    if task.low_first:
        scores.append(1 - found[task.score])
    worst = pd.concat(scores, axis=1).max(axis=1).sort_values(ascending=False, kind="stable")
    order = worst.index[:_SUSPICIOUS]
    kept = "kept as they are" if "relabel" in task.actions else "kept"
    columns = (task.text, task.said or task.named, "reasons")
    title = f"{len(order)} of {len(found):,} {task.rows} that are not {kept}"
    table = _found_table(title, "row", task.text, "response" if task.said else "label", "reasons")
    for row in order:
        table.add_row(str(row), *(_cell(listed.loc[row, name]) for name in columns))
    return table
