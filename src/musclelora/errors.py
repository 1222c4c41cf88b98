"""The one exception family of the package, and the exit codes of the command line.

Every message is one line that names the place (file, row, column or flag), what was found, what was
expected and what to do. The command line prints it and exits with the class's ``exit_code``.

======  ==================================================================================
code    meaning
======  ==================================================================================
0       done
1       an unexpected error (a bug: run again with ``--debug`` and report the traceback)
2       wrong use: an unknown flag, a value out of range, flags that exclude each other
3       the data cannot be used: a missing, unreadable, malformed or unsuitable table
4       the model cannot be used: unknown, unsafe (pickled weights) or altered (hash mismatch)
5       training stopped: the loss is not finite, a process was lost, or all cells of a grid failed
6       the output cannot be written: unwritable, disk full, or it already holds a run
7       an audit ended, and found what ``--fail-on`` names (no error: everything is written)
130     interrupted (Ctrl-C)
143     told to end (SIGTERM)
======  ==================================================================================
"""

from __future__ import annotations

from typing import Final

GATE_CLOSED: Final = 7
"""The exit code of an audit that found what ``--fail-on`` names."""


class MuScleLoraError(Exception):
    """Base class: something the user can mend, said in one line."""

    exit_code = 1


class UsageError(MuScleLoraError, ValueError):
    """An option or argument has a value that cannot work."""

    exit_code = 2


class DataError(MuScleLoraError, ValueError):
    """A table cannot be read or does not suit the task."""

    exit_code = 3


class ModelError(MuScleLoraError, ValueError):
    """A model cannot be found, trusted or adapted."""

    exit_code = 4


class TrainingError(MuScleLoraError, RuntimeError):
    """Training cannot go on."""

    exit_code = 5


class OutputError(MuScleLoraError, OSError):
    """A result cannot be written where it was asked for."""

    exit_code = 6
