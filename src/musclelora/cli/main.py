"""The entry point: commands are imported when they are asked for, so that ``--help`` answers at once."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import re
import sys
from typing import Any

import click

from musclelora import __version__
from musclelora.cli.noise import quiet_libraries
from musclelora.cli.terminal import printable
from musclelora.errors import DataError, ModelError, MuScleLoraError, OutputError, TrainingError, UsageError
from musclelora.interrupts import interrupted, take_the_last_word
from musclelora.launched import is_first_here, process_count, process_rank

_COMMANDS = {
    "audit": "Find what is wrong with training data, and which rows to train on.",
    "explain": "Explain why a training row is kept or dropped.",
    "report": "Show what an audit found, as one HTML file.",
    "train": "Train a clean model on data that may be poisoned.",
    "tune": "Search longer for training settings, judged by the trusted rows.",
    "evaluate": "Measure clean accuracy and attack success rate.",
    "predict": "Predict the labels of texts.",
    "play": "Type texts on a local page, and compare two models.",
    "export": "Write a trained model so that it loads without this package.",
    "poison": "Plant triggers in data, to test a defence.",
    "attacks": "List the trigger families, their parameters and examples.",
    "benchmark": "Compare defences on a grid of data, attacks, models and seeds.",
    "spectrum": "See at which frequencies a model learns, and compare runs.",
    "demo": "Poison BBC news, defend against it, and show what happened.",
    "info": "Show what is installed, the judge and the devices, or describe a run.",
}

# What several processes do together; each of them would do any other command whole.
_SHARED = ("train",)

# What torch, its library of kernels and Python say when the machine has no room for memory or a thread.
_NO_ROOM = ("can't allocate memory", "could not create a primitive", "can't start new thread")

# What the back ends of torch.distributed say when a process does not answer any more.
_LOST = re.compile("gloo|nccl|closed by peer|TCPStore", re.IGNORECASE)


class _Commands(click.Group):
    """A group that imports a command's module when it runs, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        _check_processes(cmd_name)
        module = importlib.import_module(f"musclelora.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            raise click.UsageError(f"no command {args[0]!r}; expected one of {', '.join(_COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="musclelora")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Train a clean language model on a labelled text data set that may be backdoor-poisoned."""
    ctx.obj = {"debug": debug}
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "10")
    if not debug:
        quiet_libraries()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with a documented code (see :mod:`musclelora.errors`).

    This process's signals and streams stay what they are; a command that is a process of its own begins in
    :mod:`musclelora.entry`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    # --debug is welcome after the command as well.
    arguments = (["--debug"] if debug else []) + [a for a in arguments if a != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a label that the terminal cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _say(interrupted(arguments), 130)
    except Exception as error:
        if debug:
            raise
        code = _say(*_explain(error))
    sys.exit(code)


def _explain(error: Exception) -> tuple[str, int]:
    if isinstance(error, MuScleLoraError):
        return str(error), error.exit_code
    if process_count() > 1 and isinstance(error, RuntimeError) and _LOST.search(str(error)):
        lost = "another process was lost; training stopped; the same command with --resume goes on"
        return lost, TrainingError.exit_code
    if _is_out_of_memory(error):
        return (
            "the device has too little memory; give a smaller --batch-size or --max-length, "
            "--gradient-checkpointing, --dtype bfloat16 or --quantize nf4, or --shard-backbone over several "
            "devices",
            TrainingError.exit_code,
        )
    if isinstance(error, OSError):
        return f"{error}; free some space or name another output", OutputError.exit_code
    return f"unexpected {type(error).__name__}: {error}; run again with --debug and report it", 1


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the machine had no room; torch, which is slow to import, is there if it says so."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if isinstance(error, ImportError) and "failed to map segment" in str(error):  # of a library
        return True
    if isinstance(error, RuntimeError) and any(said in str(error) for said in _NO_ROOM):
        return True
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _say(message: str, code: int) -> int:
    take_the_last_word(code)
    rank = process_rank()
    # Wrong use and interruptions are the same in every process, outputs are the first one's, and files are
    # those of a machine; what only one process can know is said by that one.
    shared = code in (UsageError.exit_code, OutputError.exit_code, 130)
    of_machine = code in (DataError.exit_code, ModelError.exit_code) and not is_first_here()
    if rank == 0 or not (shared or of_machine):
        who = f"musclelora: process {rank}: " if rank else "musclelora: "
        with contextlib.suppress(OSError):  # nobody hears it
            click.echo(who + _one_line(message), err=True)
    return code


def _check_processes(command: str) -> None:
    processes = process_count()
    if processes > 1 and command not in _SHARED:
        raise UsageError(
            f"musclelora {command}: started as {processes} processes, expected one; only "
            f"{', '.join(_SHARED)} shares its work among several, so start it without torchrun or accelerate"
        )


def _run(arguments: list[str]) -> int:
    try:
        result: Any = cli.main(args=arguments, prog_name="musclelora", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        where = (
            f" (see {error.ctx.command_path} --help)"
            if isinstance(error, click.UsageError) and error.ctx
            else ""
        )
        return _say(f"{error.format_message()}{where}", error.exit_code)
    except click.Abort:
        raise KeyboardInterrupt from None


def _one_line(message: str) -> str:
    return printable(" ".join(message.split()))
