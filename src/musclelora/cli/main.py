"""The entry point: commands are imported when they are asked for, so that ``--help`` answers at once."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from musclelora import __version__
from musclelora.errors import MuScleLoraError

_COMMANDS = {
    "train": "Train a clean model on data that may be poisoned.",
    "evaluate": "Measure clean accuracy and attack success rate.",
    "predict": "Predict the labels of texts.",
    "export": "Write a trained model so that it loads without this package.",
    "poison": "Plant triggers in data, to try a defence on it.",
    "attacks": "List the trigger families, their parameters and examples.",
    "demo": "Poison BBC news, defend against it, and show what happened.",
    "info": "Show versions and devices, or what is in a run.",
}


class _Commands(click.Group):
    """A group that imports a command's module when it runs, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"musclelora.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            raise click.UsageError(f"no command {args[0]!r}; expected one of {', '.join(_COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="musclelora")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Train a clean language model on a labelled text data set that may be backdoor-poisoned."""
    ctx.obj = {"debug": debug}
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # A hub that cannot be reached is reported once, not after minutes of retries.
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "10")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with a documented code (see :mod:`musclelora.errors`)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    # --debug is welcome after the command as well.
    arguments = (["--debug"] if debug else []) + [a for a in arguments if a != "--debug"]
    try:
        code = _run(arguments)
    except MuScleLoraError as error:
        if debug:
            raise
        click.echo(f"musclelora: {_one_line(error)}", err=True)
        code = error.exit_code
    except OSError as error:
        if debug:
            raise
        click.echo(f"musclelora: {_one_line(error)}", err=True)
        code = 6
    except KeyboardInterrupt:
        click.echo("musclelora: interrupted; `musclelora train … --resume` goes on from the last checkpoint", err=True)
        code = 130
    except Exception as error:
        if debug:
            raise
        kind = type(error).__name__
        click.echo(f"musclelora: unexpected {kind}: {_one_line(error)}; run again with --debug and report it", err=True)
        code = 1
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        result: Any = cli.main(args=arguments, prog_name="musclelora", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        where = f" (see {error.ctx.command_path} --help)" if isinstance(error, click.UsageError) and error.ctx else ""
        click.echo(f"musclelora: {_one_line(error.format_message())}{where}", err=True)
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None


def _one_line(message: object) -> str:
    return " ".join(str(message).split())


if __name__ == "__main__":
    main()
