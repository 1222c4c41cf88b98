"""``musclelora predict``."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from typing import TextIO

import click

from musclelora.cli.hub import model_of, spare_the_hub
from musclelora.cli.options import at_most_one, progress_bar, quiet_libraries
from musclelora.cli.terminal import printable
from musclelora.data import load_texts
from musclelora.errors import UsageError
from musclelora.files import atomic_file


@click.command(name="predict")
@click.argument("run", metavar="RUN")
@click.argument("data", required=False, metavar="[DATA]")
@click.option("--text", "texts", multiple=True, help="A text to predict, instead of DATA; may be repeated.")
@click.option("--text-column", help="Column of the texts.")
@click.option("--split", help="Split of a folder or hub data set.")
@click.option("--output", metavar="FILE", help="Write CSV to this file, not to standard output.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Rows per forward pass."
)
def command(
    run: str,
    data: str | None,
    texts: tuple[str, ...],
    text_column: str | None,
    split: str | None,
    output: str | None,
    batch_size: int,
) -> None:
    """Predict the labels of the texts in DATA with the model in the folder RUN.

    Writes CSV: row (from 1), label, and the probability of that label.
    """
    at_most_one(data=data, text=texts)
    if not data and not texts:
        raise UsageError("DATA: found nothing to predict, expected a table of texts or --text; name one")
    if not all(_is_unicode(text) for text in texts):
        raise UsageError("--text: found bytes that are not UTF-8, expected UTF-8 text; convert it")
    spare_the_hub(data, model_of(run))
    rows = load_texts(data, text_column=text_column, split=split) if data else texts

    from musclelora.training.run import load_run

    quiet_libraries()
    classifier = load_run(run).classifier
    with progress_bar("predicting", len(rows)) as progress:
        said = classifier.predict(rows, batch_size=batch_size, progress=progress)
    names = (classifier.label_names[label] for label in said.labels)
    records = (
        (i, n, f"{p:.6f}") for i, (n, p) in enumerate(zip(names, said.probabilities.max(1), strict=True), 1)
    )
    if output:
        with atomic_file(output) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            _write(file, records)
    else:
        safe = printable if sys.stdout.isatty() else str
        _write(sys.stdout, ((row, safe(name), share) for row, name, share in records))
    if said.truncated:
        click.echo(f"{said.truncated:,} texts were longer than the model reads and were cut", err=True)


def _is_unicode(text: str) -> bool:
    # What is not UTF-8 on a command line reaches Python as halves of surrogate pairs.
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _write(file: TextIO, records: Iterable[tuple[int, str, str]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("row", "label", "probability"))
    writer.writerows(records)
