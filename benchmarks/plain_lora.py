"""Plain fine-tuning as a user of transformers and PEFT would write it: what `run_cost.py` compares with.

python benchmarks/plain_lora.py MODEL train.csv OUTPUT EPOCHS
"""

from __future__ import annotations

import sys

import pandas as pd
from datasets import Dataset
from peft import LoraConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)


def main() -> None:
    """Tune the query and value layers of a classifier by LoRA."""
    name, train, output, epochs = sys.argv[1:]
    frame = pd.read_csv(train)
    names = sorted(frame["label"].astype(str).unique())
    tokenizer = AutoTokenizer.from_pretrained(name)
    rows = Dataset.from_dict(
        {"text": frame["text"].tolist(), "labels": [names.index(str(label)) for label in frame["label"]]}
    ).map(lambda row: tokenizer(row["text"], truncation=True), remove_columns="text", batched=True)
    model = get_peft_model(
        AutoModelForSequenceClassification.from_pretrained(name, num_labels=len(names)),
        LoraConfig(task_type=TaskType.SEQ_CLS, r=32, lora_alpha=64, target_modules=["query", "value"]),
    )
    arguments = TrainingArguments(
        output,
        num_train_epochs=float(epochs),
        per_device_train_batch_size=32,
        learning_rate=1e-3,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    Trainer(model, arguments, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer)).train()
    model.save_pretrained(output)


if __name__ == "__main__":
    main()
