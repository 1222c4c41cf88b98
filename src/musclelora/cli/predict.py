"""``musclelora predict``."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import click

from musclelora.cli.hub import model_folder_of, model_of, spare_the_hub
from musclelora.cli.options import BATCH, at_most_one, progress_bar
from musclelora.cli.tasks import CLASSIFY, GENERATE, Work, dispatch, max_new_tokens, pair_options, task_of
from musclelora.cli.terminal import printable
from musclelora.data import load_texts
from musclelora.errors import UsageError
from musclelora.files import atomic_file, is_standard_output
from musclelora.outputs import check_output

_WORKS = {
    CLASSIFY: Work(
        "musclelora.cli.predict:predict_labels", ("prompt_column", "messages_column", "max_new_tokens")
    ),
    GENERATE: Work("musclelora.cli.generation.use:answer_prompts", ("text_column",)),
}


@click.command(name="predict")
@click.argument("run", metavar="RUN")
@click.argument("data", required=False, metavar="[DATA]")
@click.option("--text", "texts", multiple=True, help="A text or prompt, instead of DATA. Can be repeated.")
@click.option("--text-column", help="Column of the texts.")
@pair_options(response=False)
@max_new_tokens
@click.option("--split", help="Split of a folder or hub data set.")
@click.option("--output", metavar="FILE", help="Write CSV to this file, not to standard output.")
@click.option("--batch-size", type=BATCH, default=64, show_default=True, help="Rows per forward pass.")
def command(run: str, data: str | None, texts: tuple[str, ...], **options: Any) -> None:
    """Predict the labels of the texts in DATA, or answer its prompts, with the model in the folder RUN.

    Writes CSV: row (from 1), label, and the probability of that label; or row and answer.
    """
    at_most_one(data=data, text=texts)
    if not data and not texts:
        raise UsageError("DATA: found nothing to predict, expected a table of texts or --text; name one")
    if not all(_is_unicode(text) for text in texts):
        raise UsageError("--text: found bytes that are not UTF-8, expected UTF-8 text; convert it")
    if options["output"] is not None:
        check_output(options["output"], (run, data, model_folder_of(run)))
    spare_the_hub(data, model_of(run))
    dispatch(_WORKS, task_of(run), {"run": run, "data": data, "texts": texts, **options})


def predict_labels(
    *,
    run: str,
    data: str | None,
    texts: tuple[str, ...],
    text_column: str | None,
    split: str | None,
    output: str | None,
    batch_size: int,
) -> None:
    """Predict labels, as the options of the command say."""
    rows = load_texts(data, text_column=text_column, split=split) if data else texts

    from musclelora.purification.run import load_run

    classifier = load_run(run).classifier
    with progress_bar("predicting", len(rows)) as progress:
        said = classifier.predict(rows, batch_size=batch_size, progress=progress)
    names = (classifier.label_names[label] for label in said.labels)
    shares = (f"{share:.6f}" for share in said.probabilities.max(1))
    write_records(output, ("label", "probability"), zip(names, shares, strict=True))
    if said.truncated:
        click.echo(f"{said.truncated:,} texts were longer than the model reads and were cut", err=True)


def _is_unicode(text: str) -> bool:
    # What is not UTF-8 on a command line reaches Python as halves of surrogate pairs.
    return not any("\ud800" <= character <= "\udfff" for character in text)


def write_records(output: str | None, columns: Sequence[str], records: Iterable[Sequence[str]]) -> None:
    """Write CSV with the number of each record before it, to a file or to standard output."""
    if output is not None and not is_standard_output(output):
        with atomic_file(output) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            _write(file, columns, records)
    else:
        if sys.stdout.isatty():
            records = (tuple(map(printable, record)) for record in records)
        _write(sys.stdout, columns, records)


def _write(file: TextIO, columns: Sequence[str], records: Iterable[Sequence[str]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("row", *columns))
    writer.writerows((row, *record) for row, record in enumerate(records, start=1))
