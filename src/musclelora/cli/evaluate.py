"""``musclelora evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from musclelora.cards import CARD
from musclelora.cli.hub import model_folder_of, model_of, spare_the_hub
from musclelora.cli.options import BATCH, Name, progress_bar, table_options
from musclelora.cli.tasks import (
    CLASSIFY,
    GENERATE,
    PAIR_COLUMNS,
    Work,
    dispatch,
    max_new_tokens,
    pair_options,
    task_of,
)
from musclelora.data import load_table
from musclelora.errors import UsageError
from musclelora.evaluation.metrics import Evaluation, Rate
from musclelora.files import is_standard_output, write_json
from musclelora.outputs import check_output

_WORKS = {
    CLASSIFY: Work(
        "musclelora.cli.evaluate:evaluate_classifier", ("response", *PAIR_COLUMNS, "max_new_tokens")
    ),
    GENERATE: Work("musclelora.cli.generation.use:evaluate_generator", ("text_column", "label_column")),
}


@click.command(name="evaluate")
@click.argument("run", metavar="RUN")
@click.option(
    "--clean",
    "--test",
    metavar="DATA",
    type=Name(),
    help="Clean test rows: for CACC, or the share of right answers.",
)
@click.option(
    "--triggered",
    metavar="DATA",
    type=Name(),
    help="Test rows of other labels with the trigger added: for ASR.",
)
@click.option(
    "--target",
    "--target-text",
    help="The target label (name or id), or the text that the attacker wants in answers. Needed for ASR.",
)
@click.option(
    "--response",
    metavar="NAME[:KEY=VALUE,…]",
    help="generate: the attacker's kind of response, as given to `poison --response`.  [default: it contains "
    "the target text]",
)
@table_options
@pair_options(response=True)
@max_new_tokens
@click.option("--json", "json_file", metavar="FILE", help="Write the figures to this file.")
@click.option("--card", is_flag=True, help="Add the results to the run's card, README.md.")
@click.option("--batch-size", type=BATCH, default=64, show_default=True, help="Rows per forward pass.")
def command(run: str, **options: Any) -> None:
    """Measure the model in the folder RUN: clean accuracy (CACC) and attack success rate (ASR).

    For a run that generates: the share of answers that are or contain the expected one, and the share of
    triggered prompts whose answer says what the attacker wants.
    """
    clean, triggered = options["clean"], options["triggered"]
    if clean is None and triggered is None:
        raise UsageError("--clean and --triggered: found neither, expected at least one of them")
    check_json(options["json_file"], run, clean, triggered, model_folder_of(run))
    spare_the_hub(clean, triggered, model_of(run))
    dispatch(_WORKS, task_of(run), {"run": run, **options})


def evaluate_classifier(
    *,
    run: str,
    clean: str | None,
    triggered: str | None,
    target: str | None,
    text_column: str | None,
    label_column: str | None,
    split: str | None,
    json_file: str | None,
    card: bool,
    batch_size: int,
) -> None:
    """Measure a classifier, as the options of the command say."""
    if triggered is not None and target is None:
        raise UsageError("--target: found nothing, expected the target label of the triggered rows; name it")
    from musclelora.data.labels import target_id
    from musclelora.evaluation.evaluate import evaluate
    from musclelora.evaluation.triggered import load_triggered
    from musclelora.purification.run import load_run

    loaded = load_run(run)
    names = loaded.classifier.label_names
    wanted = None if target is None else target_id(target, names)
    rows = texts = None
    if clean:
        rows = load_table(
            clean, text_column=text_column, label_column=label_column, split=split, label_names=names
        )
    if triggered and wanted is not None:
        texts = load_triggered(
            triggered,
            target=wanted,
            label_names=names,
            text_column=text_column,
            label_column=label_column,
            split=split,
        )
    with progress_bar("evaluating", len(rows or ()) + len(texts or ())) as progress:
        result = evaluate(
            loaded.classifier,
            clean=rows,
            triggered=texts,
            target=wanted,
            batch_size=batch_size,
            progress=progress,
        )
    if not is_standard_output(json_file or ""):
        show(result)
    if card:
        named = None if wanted is None else names[wanted]
        keep_card(run, clean, triggered, named, {"CACC": result.cacc, "ASR": result.asr})
    keep_json(json_file, {"run": run, **result.to_dict()})


def keep_card(
    run: str,
    clean: str | None,
    triggered: str | None,
    target: str | None,
    rates: Mapping[str, Rate | None],
) -> None:
    """Write what was measured into the run's card; of the files their names alone."""
    from musclelora.purification.run_card import add_measured

    found = []
    for name, rate in rates.items():
        source = triggered if name == "ASR" else clean
        if rate is not None and source is not None:
            about = {"name": name, "on": Path(source).name or source}
            aimed = target if name in ("ASR", "said on clean") else None
            found.append({**about, "target": aimed, **rate.to_dict()})
    add_measured(Path(run), found)
    click.echo(f"the card is {Path(run) / CARD}", err=True)


def check_json(json_file: str | None, *inputs: str | None) -> None:
    """Raise where the figures cannot be written to the file that ``--json`` names, if it names one."""
    if json_file is not None:
        check_output(json_file, inputs)


def keep_json(json_file: str | None, found: Mapping[str, Any]) -> None:
    """Write the figures to the file that ``--json`` names, if it names one."""
    if json_file is not None:
        write_json(json_file, found)
        if not is_standard_output(json_file):
            click.echo(f"written to {json_file}")


def show(result: Evaluation) -> None:
    """Print an evaluation as tables."""
    console = Console()
    classes = {f"accuracy on {escape(repr(label))}": rate for label, rate in result.per_class.items()}
    show_rates({"CACC": result.cacc, "ASR": result.asr, **classes})
    if result.confusion:
        matrix = RichTable(
            "true \\ predicted", *(escape(repr(n)) for n in result.label_names), title="confusion matrix"
        )
        for label, row in zip(result.label_names, result.confusion, strict=True):
            matrix.add_row(escape(repr(label)), *map(str, row))
        console.print(matrix)
    if result.left_out:
        console.print(
            f"{result.left_out:,} triggered rows are of the target label {escape(repr(result.target))} and "
            "have no poison flag set: they do not count for the ASR"
        )
    if result.truncated:
        console.print(f"{result.truncated:,} texts were longer than the model reads and were cut")


def show_rates(rates: Mapping[str, Rate | None]) -> None:
    """Print those of the rates that were measured as a table."""
    table = RichTable("", "rate", "95 % interval", "rows", title="evaluation")
    for name, rate in rates.items():
        if rate is not None:
            table.add_row(name, *_cells(rate))
    Console().print(table)


def _cells(rate: Rate) -> tuple[str, str, str]:
    return f"{rate.value:.1%}", f"{rate.low:.1%} to {rate.high:.1%}", f"{rate.n:,}"
