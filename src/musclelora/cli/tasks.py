"""Which function does a command's work for which task, and which options it has no use for."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from musclelora.cli.options import TOKENS, Command
from musclelora.errors import UsageError
from musclelora.files import read_json

CLASSIFY, GENERATE = "classify", "generate"
PAIR_COLUMNS = ("prompt_column", "response_column", "messages_column")


@dataclass(frozen=True)
class Work:
    """What a command does for one task.

    Attributes:
        function: "module:function", imported when it is asked for. It takes the command's other options.
        without: the options that have no meaning for the task.
    """

    function: str
    without: tuple[str, ...] = ()


Works = Mapping[str, Work]
"""A command's work by task; a task that a command knows is an entry."""


def task_option(command: Command) -> Command:
    """``--task``, for the commands that no run tells it."""
    return click.option(
        "--task",
        type=click.Choice([CLASSIFY, GENERATE]),
        default=CLASSIFY,
        show_default=True,
        help="classify: labels of texts. generate: responses to prompts.",
    )(command)


def pair_options(*, response: bool) -> Callable[[Command], Command]:
    """Which columns of a table hold the prompts and, where `response`, the responses."""

    def add(command: Command) -> Command:
        options = [
            click.option("--messages-column", help="generate: column of chats.  [default: messages]"),
            click.option(
                "--prompt-column",
                help="generate: column of the prompts.  [default: prompt, instruction, question, …]",
            ),
        ]
        if response:
            options.insert(
                1,
                click.option(
                    "--response-column",
                    help="generate: column of the responses.  [default: response, output, answer, …]",
                ),
            )
        for option in options:
            command = option(command)
        return command

    return add


def max_new_tokens(command: Command) -> Command:
    """``--max-new-tokens``, for the commands that answer prompts."""
    return click.option(
        "--max-new-tokens",
        type=TOKENS,
        default=64,
        show_default=True,
        help="generate: maximum number of tokens of an answer.",
    )(command)


def dispatch(works: Works, task: str, options: dict[str, Any]) -> None:
    """Do the work of the command that runs for a task.

    Raises:
        UsageError: an option was given that has no meaning for the task.
    """
    context, work = click.get_current_context(), works[task]
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in work.without
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(
            f"{', '.join(given)}: found with the task {task}, which has no use for it; leave it out"
        )
    module, _, function = work.function.partition(":")
    run = getattr(importlib.import_module(module), function)
    run(**{name: value for name, value in options.items() if name not in work.without})


def task_of(run: str) -> str:
    """The task of the run in a folder; classification where the folder does not say."""
    task = peek(run).get("task", CLASSIFY)
    return task if task in (CLASSIFY, GENERATE) else CLASSIFY


def peek(run: str) -> dict[str, Any]:
    """What the ``run.json`` of a folder says, before anything is loaded; nothing where it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        info = read_json(Path(run) / "run.json")
        if isinstance(info, dict):
            return info
    return {}
