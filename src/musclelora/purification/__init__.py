"""From rows that may be poisoned to a trained model in a run folder: audit, choose, train."""

from musclelora.purification.api import purify
from musclelora.purification.fit import fit
from musclelora.purification.methods import AUTO, METHODS, Method, get_method
from musclelora.purification.run import Run, load_run

__all__ = ["AUTO", "METHODS", "Method", "Run", "fit", "get_method", "load_run", "purify"]
