"""Training: arguments, the Trainer, trained classifiers and the folders that hold them."""

from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.classifier import Classifier, Predictions
from musclelora.training.trainer import MuScleTrainer

__all__ = ["Classifier", "MuScleTrainer", "MuScleTrainingArguments", "Predictions"]
