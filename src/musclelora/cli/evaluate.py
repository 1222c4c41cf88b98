"""``musclelora evaluate``."""

from __future__ import annotations

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from musclelora.cli.hub import model_of, spare_the_hub
from musclelora.cli.options import progress_bar, quiet_libraries, table_options
from musclelora.data import load_table, load_texts
from musclelora.errors import UsageError
from musclelora.evaluation.metrics import Evaluation, Rate
from musclelora.files import write_json


@click.command(name="evaluate")
@click.argument("run", metavar="RUN")
@click.option("--clean", metavar="DATA", help="Clean test rows, for CACC.")
@click.option("--triggered", metavar="DATA", help="Test texts of other labels with the trigger in, for ASR.")
@click.option("--target", help="The target label, by name or id; needed for ASR.")
@table_options
@click.option("--json", "json_file", metavar="FILE", help="Write the figures to this file.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Rows per forward pass."
)
def command(
    run: str,
    clean: str | None,
    triggered: str | None,
    target: str | None,
    text_column: str | None,
    label_column: str | None,
    split: str | None,
    json_file: str | None,
    batch_size: int,
) -> None:
    """Measure clean accuracy (CACC) and attack success rate (ASR) of the model in the folder RUN."""
    if clean is None and triggered is None:
        raise UsageError("--clean and --triggered: found neither, expected at least one of them")
    if triggered is not None and target is None:
        raise UsageError("--target: found nothing, expected the target label of the triggered rows; name it")

    spare_the_hub(clean, triggered, model_of(run))
    from musclelora.data.labels import target_id
    from musclelora.evaluation.evaluate import evaluate
    from musclelora.training.run import load_run

    quiet_libraries()
    loaded = load_run(run)
    names = loaded.classifier.label_names
    wanted = None if target is None else target_id(target, names)
    rows = texts = None
    if clean:
        rows = load_table(
            clean, text_column=text_column, label_column=label_column, split=split, label_names=names
        )
    if triggered:
        texts = load_texts(triggered, text_column=text_column, split=split)
    with progress_bar("evaluating", len(rows or ()) + len(texts or ())) as progress:
        result = evaluate(
            loaded.classifier,
            clean=rows,
            triggered=texts,
            target=wanted,
            batch_size=batch_size,
            progress=progress,
        )
    show(result)
    if json_file:
        write_json(json_file, {"run": run, **result.to_dict()})
        click.echo(f"written to {json_file}")


def show(result: Evaluation) -> None:
    """Print an evaluation as tables."""
    console = Console()
    rates = RichTable("", "rate", "95 % interval", "rows", title="evaluation")
    for name, rate in (("CACC", result.cacc), ("ASR", result.asr)):
        if rate is not None:
            rates.add_row(name, *_cells(rate))
    for label, rate in result.per_class.items():
        rates.add_row(f"accuracy on {escape(repr(label))}", *_cells(rate))
    console.print(rates)
    if result.confusion:
        matrix = RichTable(
            "true \\ predicted", *(escape(repr(n)) for n in result.label_names), title="confusion matrix"
        )
        for label, row in zip(result.label_names, result.confusion, strict=True):
            matrix.add_row(escape(repr(label)), *map(str, row))
        console.print(matrix)
    if result.truncated:
        console.print(f"{result.truncated:,} texts were longer than the model reads and were cut")


def _cells(rate: Rate) -> tuple[str, str, str]:
    return f"{rate.value:.1%}", f"{rate.low:.1%} to {rate.high:.1%}", f"{rate.n:,}"
