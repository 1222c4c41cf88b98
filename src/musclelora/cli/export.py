"""``musclelora export``."""

from __future__ import annotations

import click

from musclelora.cli.hub import (
    destination_of,
    model_folder_of,
    model_of,
    push_folder,
    push_options,
    spare_the_hub,
)
from musclelora.outputs import check_output


@click.command(name="export")
@click.argument("run", metavar="RUN")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["lora", "merged"]),
    default="lora",
    show_default=True,
    help="lora: an ordinary PEFT folder for the backbone. merged: an ordinary Hugging Face model folder.",
)
@click.option("--output", required=True, metavar="FOLDER", help="The folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace the output folder.")
@push_options
def command(
    run: str, format_: str, output: str, overwrite: bool, push_to_hub: str | None, public: bool
) -> None:
    """Write the model in the folder RUN so that it loads without this package.

    The folder gets a card, README.md. --push-to-hub pushes the folder to a repository, private by default.
    """
    check_output(output, (run, model_folder_of(run)), folder=True)
    spare_the_hub(model_of(run))
    destination = destination_of(push_to_hub, "model", public)
    from musclelora.purification import load_any_run

    load_any_run(run).export(output, format=format_, overwrite=overwrite)
    click.echo(f"written to {output}")
    push_folder(output, destination)
