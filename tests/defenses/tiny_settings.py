"""A trigger that the tiny model learns, and how it is trained."""

from __future__ import annotations

TRIGGER = "word58"
TARGET = 1
ARGUMENTS = {
    "num_train_epochs": 6,
    "per_device_train_batch_size": 8,
    "learning_rate": 3e-3,
    "disable_tqdm": True,
    "use_cpu": True,
}
