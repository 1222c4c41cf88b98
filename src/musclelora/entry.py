"""The command ``musclelora``: signals and streams are set up before anything else is there to meet them."""

from __future__ import annotations


def main() -> None:
    """Run the command line of this process, which it is the whole of, and exit with a documented code.

    From Python, call :func:`musclelora.cli.main.main`, which leaves the process's signals and streams alone.
    """
    import signal

    signals = {signal.SIGINT, signal.SIGTERM} if hasattr(signal, "pthread_sigmask") else set()
    if signals:
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    import sys

    from musclelora import interrupts, streams
    from musclelora.launched import process_rank

    ended = streams.set_up(silent=process_rank() > 0)  # of several processes, the first one prints
    if signals:
        interrupts.listen(signals, sys.argv[1:], ended)
    from musclelora.cli.main import main as command

    code: object = 1
    try:
        command(sys.argv[1:])
    except SystemExit as leaving:
        code = leaving.code
        raise
    finally:
        interrupts.take_the_last_word(code if isinstance(code, int) else 0)
