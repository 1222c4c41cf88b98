"""Training: arguments, the Trainer, trained classifiers and the folders that hold them."""

from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.classifier import Classifier, Predictions
from musclelora.training.fit import fit
from musclelora.training.methods import AUTO, METHODS, Method, get_method
from musclelora.training.run import Run, load_run
from musclelora.training.trainer import MuScleTrainer

__all__ = [
    "AUTO",
    "METHODS",
    "Classifier",
    "Method",
    "MuScleTrainer",
    "MuScleTrainingArguments",
    "Predictions",
    "Run",
    "fit",
    "get_method",
    "load_run",
]
