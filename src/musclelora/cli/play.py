"""``musclelora play``."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Final

import click

from musclelora.cli.hub import model_of, spare_the_hub
from musclelora.cli.options import Name
from musclelora.cli.tasks import CLASSIFY, GENERATE, Work, dispatch, max_new_tokens, task_of
from musclelora.cli.terminal import printable

_WORKS = {
    CLASSIFY: Work("musclelora.cli.play:play", ("max_new_tokens",)),
    GENERATE: Work("musclelora.cli.play:play"),
}
# A browser of its own: no child of this process, whose signals are blocked and whose children end with it.
_OPEN: Final = """
import os, signal, sys, webbrowser
if hasattr(signal, "pthread_sigmask"):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
if not hasattr(os, "fork") or os.fork() == 0:
    if hasattr(os, "setsid"):
        os.setsid()
    webbrowser.open(sys.argv[1])
"""


@click.command(name="play")
@click.argument("run", metavar="RUN")
@click.option("--against", metavar="OTHER", type=Name(), help="Another run, to compare with.")
@max_new_tokens
@click.option(
    "--host",
    type=Name(),
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Others may open the page to everybody who can reach this machine.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port; 0 takes a free one.  [default: 0]"
)
@click.option("--open/--no-open", "open_", default=False, help="Open the page in a browser.  [default: no]")
def command(run: str, **options: Any) -> None:
    """Type texts on a page of this machine, and compare the model in the folder RUN with OTHER.

    The page shows labels or answers, which words matter, what the triggers do that the audit found, and the
    rows of a file. OTHER is usually a model without a defence (`musclelora train --method full`). Ctrl-C
    stops the page.
    """
    dispatch(_WORKS, task_of(run), {"run": run, **options})


def play(
    *, run: str, against: str | None, host: str, port: int, open_: bool, max_new_tokens: int = 64
) -> None:
    """Serve the page, as the options of the command say."""
    spare_the_hub(model_of(run), None if against is None else model_of(against))
    from musclelora.playground import load_playground, serve
    from musclelora.playground.page import need_gradio
    from musclelora.playground.server import is_private, listen

    need_gradio()  # before models are loaded, which takes a while
    with listen(host, port) as opened:
        playground = load_playground(run, against, max_new_tokens=max_new_tokens)
        if playground.advice is not None:
            click.echo(printable(playground.advice))
        if not is_private(opened):
            click.echo(
                "warning: whoever reaches this machine can use the page; it asks for no password", err=True
            )

        def ready(address: str) -> None:
            click.echo(f"serving at {address} (Ctrl-C ends it)")
            sys.stdout.flush()
            if open_:
                _open(address)

        serve(playground, opened, ready)


def _open(address: str) -> None:
    quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.run([sys.executable, "-c", _OPEN, address], check=False, **quiet)  # noqa: S603
