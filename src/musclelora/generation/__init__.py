"""Generation: language models trained on prompts and responses that may be poisoned, and how they answer."""

from musclelora.generation.generator import Generator
from musclelora.generation.run import GenerationRun, load_generation_run
from musclelora.generation.train import train_generator
from musclelora.generation.trainer import GenerationTrainer, response_loss

__all__ = [
    "GenerationRun",
    "GenerationTrainer",
    "Generator",
    "load_generation_run",
    "response_loss",
    "train_generator",
]
