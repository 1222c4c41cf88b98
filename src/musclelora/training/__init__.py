"""Training: arguments, the Trainer and its step, trained classifiers."""

from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.classifier import Classifier, Predictions
from musclelora.training.trainer import MuScleTrainer

__all__ = ["Classifier", "MuScleTrainer", "MuScleTrainingArguments", "Predictions"]
