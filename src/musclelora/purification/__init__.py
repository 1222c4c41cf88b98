"""From data that may be poisoned to a trained model in a run folder: audit, choose, train."""

from musclelora.purification.api import purify
from musclelora.purification.generation_train import train_generator
from musclelora.purification.methods import METHODS, Method, get_method
from musclelora.purification.run import (
    GenerationRun,
    Run,
    load_any_run,
    load_generation_run,
    load_run,
)
from musclelora.purification.train import train_classifier

__all__ = [
    "METHODS",
    "GenerationRun",
    "Method",
    "Run",
    "get_method",
    "load_any_run",
    "load_generation_run",
    "load_run",
    "purify",
    "train_classifier",
    "train_generator",
]
