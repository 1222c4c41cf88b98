"""From rows that may be poisoned to a trained model in a run folder: audit, choose, train."""

from musclelora.purification.api import purify
from musclelora.purification.methods import METHODS, Method, get_method
from musclelora.purification.run import Run, load_run
from musclelora.purification.train import train_classifier

__all__ = ["METHODS", "Method", "Run", "get_method", "load_run", "purify", "train_classifier"]
