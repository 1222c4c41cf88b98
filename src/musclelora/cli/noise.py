"""Leaving the libraries' progress and warnings to those who debug: our own lines say what matters."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Final

_ENVIRONMENT: Final = {
    "DATASETS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""What the libraries read when they are imported, those in processes that a command starts too."""
_LOGGERS: Final = (
    *("accelerate", "bitsandbytes", "datasets", "filelock", "fsspec", "huggingface_hub", "kernels", "peft"),
    *("torch", "transformers", "urllib3"),
)


def quiet_libraries() -> None:
    """Silence every library that a command uses, whether it is imported already or will be.

    Nothing is imported for it: ``--help`` is to answer at once.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    warnings.simplefilter("ignore")
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    # Those that read the environment before, as where several commands run in one process.
    for module in ("transformers.utils.logging", "datasets.utils.logging"):
        if module in sys.modules:
            sys.modules[module].set_verbosity_error()
            sys.modules[module].disable_progress_bar()
