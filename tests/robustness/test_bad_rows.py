"""Rows, labels, columns and words of a command that cannot be meant, and texts that mean harm."""

from __future__ import annotations

from typing import Any

import pytest
from table import Case, copy, folder, nested, write

TRAIN = "train --train bad.csv --trusted trusted.csv --model model --method musclelora --output out"
TRUSTED = "train --train train.csv --trusted bad.csv --model model --method musclelora --output out"
DEV = f"{TRUSTED.replace('bad.csv', 'trusted.csv')} --dev bad.csv"
GOOD = "train --train train.csv --trusted trusted.csv --model model --method musclelora --output out"
TUNE = "tune --train bad.csv --trusted trusted.csv --model model --output out"
EVALUATE = "evaluate run --clean bad.csv"
ASR = "evaluate run --triggered bad.csv --target good"
PREDICT = "predict run bad.csv"
POISON = "poison bad.csv --attack addsent --rate 0.5 --target good --output out.csv"
POISON_GOOD = "poison train.csv --target good --output out.csv --rate 0.5"
GENERATE = "train --task generate --train bad.jsonl --trusted checked.jsonl --model decoder --output out"
GENERATE_GOOD = (
    "train --task generate --train pairs.jsonl --trusted checked.jsonl --model decoder --output out"
)
HEAD = "text,label\n"
HOSTILE = "\x1b[31mred\x1b[0m\u202egood\u2066\x07\x9b2J"


def csv(content: str | bytes) -> list[Any]:
    return [write("bad.csv", content)]


def jsonl(content: str | bytes) -> list[Any]:
    return [write("bad.jsonl", content)]


ROWS = "word1,good\nword2,bad\n"
CASES = [
    # Tables that are no tables.
    Case("only a heading", TRAIN, 3, csv(HEAD)),
    Case("a row too short", TRAIN, 3, csv(f"{HEAD}{ROWS}word3\n"), says="line 4"),
    Case("a row too long", TRAIN, 3, csv(f"{HEAD}{ROWS}word3,good,more\n"), says="line 4"),
    Case("a quote that does not end", TRAIN, 3, csv(f'{HEAD}{ROWS}"word3,good\n')),
    Case("a column twice", TRAIN, 3, csv("text,label,label\nword1,good,bad\nword2,bad,good\n")),
    Case("no column of texts", TRAIN, 3, csv("a,label\nword1,good\nword2,bad\n"), says="--text-column"),
    Case("no column of labels", TRAIN, 3, csv("text,b\nword1,good\nword2,bad\n"), says="--label-column"),
    Case("a byte order and no more", TRAIN, 3, csv(b"\xef\xbb\xbf")),
    Case("one column", TRAIN, 3, csv("text\nword1\n")),
    Case("a text column that is not there", f"{GOOD} --text-column nosuch", 3, says="nosuch"),
    Case("a label column that is not there", f"{GOOD} --label-column nosuch", 3, says="nosuch"),
    Case("a text column without a name", f"{GOOD} --text-column ''", (2, 3)),
    Case("texts that are the labels", f"{GOOD} --text-column label", (2, 3), says="label"),
    Case("labels that are the texts", f"{GOOD} --label-column text", (2, 3), says="text"),
    Case("both of a column", f"{GOOD} --text-column label --label-column label", (2, 3), says="label"),
    Case(
        "poison: both of a column",
        "poison train.csv --attack addsent --rate 0.5 --target good --output out.csv "
        "--text-column label --label-column label",
        (2, 3),
        says="label",
    ),
    Case(
        "evaluate: both of a column",
        "evaluate run --clean test.csv --text-column label --label-column label",
        (2, 3),
        says="label",
    ),
    Case(
        "tune: both of a column",
        "tune --train train.csv --trusted trusted.csv --model model --output out "
        "--text-column text --label-column text",
        (2, 3),
        says="text",
    ),
    Case("a split of a file", f"{GOOD} --split train", (2, 3), says="split"),
    Case(
        "a file name misspelt",
        "train --train train.cvs --trusted trusted.csv --model model --output out",
        3,
        [copy("train.csv", "test.csv")],
        says="train.csv",
    ),
    Case(
        "a trusted file misspelt",
        "train --train train.csv --trusted trused.csv --model model --output out",
        3,
        says="trused.csv",
    ),
    Case(
        "a name of 300 letters",
        f"train --train {'x' * 300} --trusted trusted.csv --model model --output out",
        3,
    ),
    Case(
        "prompt and response the same",
        f"{GENERATE_GOOD} --prompt-column prompt --response-column prompt",
        (2, 3),
        says="prompt",
    ),
    # Labels.
    Case("a single class", TRAIN, 3, csv(f"{HEAD}word1,good\nword2,good\n"), says="single class"),
    Case("empty labels", TRAIN, 3, csv(f"{HEAD}word1,\nword2,\n")),
    Case("a label that is no number", TRAIN, 3, csv(f"{HEAD}word1,nan\nword2,1\n")),
    Case("a label that is infinite", TRAIN, 3, csv(f"{HEAD}word1,inf\nword2,-inf\n")),
    Case("labels between whole numbers", TRAIN, 3, csv(f"{HEAD}word1,0.5\nword2,1.5\n")),
    Case("labels below 0", TRAIN, 3, csv(f"{HEAD}word1,-1\nword2,-2\n")),
    Case("a label of 5,000 digits", TRAIN, 3, csv(f"{HEAD}word1,{'9' * 5000}\nword2,1\n")),
    Case("as many classes as rows", TRAIN, 3, csv(HEAD + "".join(f"word{i},c{i}\n" for i in range(50)))),
    Case("an unknown trusted label", TRUSTED, 3, csv(f"{HEAD}{ROWS}word3,great\n"), says="great"),
    Case("a trusted class missing", TRUSTED, 3, csv(f"{HEAD}word1,good\nword2,good\n"), says="bad"),
    Case("too few trusted rows", TRUSTED, 3, csv(f"{HEAD}word1,good\n")),
    Case("an unknown dev label", DEV, 3, csv(f"{HEAD}{ROWS}word3,great\n"), says="great"),
    Case("only empty texts", TRAIN, 3, csv(f"{HEAD} ,good\n,bad\n"), says="empty"),
    Case("tune: a single class", TUNE, 3, csv(f"{HEAD}word1,good\nword2,good\n")),
    Case(
        "tune: an unknown trusted label",
        "tune --train train.csv --trusted bad.csv --model model --output out",
        3,
        csv(f"{HEAD}{ROWS}w,great\n"),
    ),
    Case("evaluate: an unknown label", EVALUATE, 3, csv(f"{HEAD}{ROWS}word3,great\n"), says="great"),
    Case("evaluate: no labels", EVALUATE, 3, csv("text\nword1\n"), says="--label-column"),
    Case("evaluate: no rows", EVALUATE, 3, csv(HEAD)),
    # Rows of the target are not counted.
    Case("triggered rows of the target", ASR, (0, 3), csv(f"{HEAD}word1 word2,bad\nword3,good\n")),
    Case("triggered rows of the target alone", ASR, 3, csv(f"{HEAD}word1 word2,good\n"), says="target"),
    Case("triggered rows of no known label", ASR, (0, 3), csv(f"{HEAD}word1 word2,great\n")),
    Case("no triggered rows", ASR, 3, csv(HEAD)),
    Case("predict: no rows", PREDICT, (0, 3), csv(HEAD)),
    Case("predict: no column of texts", PREDICT, 3, csv("a,b\n1,2\n"), says="--text-column"),
    Case("no target", "evaluate run --triggered test.csv", 2, says="--target"),
    Case("an unknown target", "evaluate run --triggered test.csv --target great", (2, 3), says="great"),
    Case("an empty target", "evaluate run --triggered test.csv --target ''", (2, 3)),
    Case("a target of no class", "evaluate run --triggered test.csv --target 7", (2, 3), says="7"),
    Case("a target below 0", "evaluate run --triggered test.csv --target=-1", (2, 3), says="-1"),
    Case("nothing to evaluate", "evaluate run", 2, says="--clean"),
    Case("nothing to predict", "predict run", 2),
    Case("rows and texts to predict", "predict run test.csv --text word1", 2, says="--text"),
    Case("a text that is not UTF-8", "predict run --text 'a\udcff'", 2, says="UTF-8"),
    # Texts that mean harm: shown escaped wherever they are.
    Case("a hostile label", TRUSTED, 3, csv(f"{HEAD}{ROWS}word3,{HOSTILE}\n"), says=r"\x1b[31m"),
    Case("a hostile column", TRAIN, 3, csv(f"{HOSTILE},label\nword1,good\nword2,bad\n")),
    Case("a hostile column that is asked for", f"{GOOD} --text-column '{HOSTILE}'", 3),
    Case(
        "a hostile file", f"train --train '{HOSTILE}.csv' --trusted trusted.csv --model model --output out", 3
    ),
    Case(
        "a hostile model",
        f"train --train train.csv --trusted trusted.csv --model '{HOSTILE}' --output out",
        4,
    ),
    Case("a hostile run", f"info '{HOSTILE}'", 4),
    Case(
        "a hostile output",
        f"train --train train.csv --trusted trusted.csv --model model --output 'bad.csv/{HOSTILE}'",
        6,
        csv("x"),
    ),
    Case("a hostile command", f"'{HOSTILE}'", 2),
    Case("a hostile option", f"train '--{HOSTILE}'", 2),
    Case("a hostile method", f"{GOOD} --method '{HOSTILE}'", 2),
    Case("a hostile number", f"{GOOD} --epochs '{HOSTILE}'", 2),
    Case("a hostile attack", f"{POISON_GOOD} --attack '{HOSTILE}'", 2),
    Case(
        "a hostile target",
        f"poison train.csv --attack addsent --rate 0.5 --target '{HOSTILE}' --output out.csv",
        (2, 3),
    ),
    Case("a hostile single label", TRAIN, 3, csv(f"{HEAD}word1,{HOSTILE}\nword2,{HOSTILE}\n")),
    Case("a hostile text", TRAIN, 3, csv(f"{HEAD}{HOSTILE},\nword2,bad\n")),
    Case(
        "a hostile poison flag", POISON, 3, csv(f"text,label,poisoned\nword1,good,{HOSTILE}\nword2,bad,0\n")
    ),
    Case("a hostile label that a run has", "evaluate run --clean test.csv --target x", (2, 3)),
    Case("a hostile prompt", GENERATE, 3, jsonl(f'{{"prompt": "{HOSTILE}", "response": "word1"}}\n')),
    Case("a hostile key", GENERATE, 3, jsonl('{"\\u001b[31m\\u202e": "word1", "response": "word1"}\n')),
    # Pairs and chats.
    Case("pairs without responses", GENERATE, 3, jsonl('{"prompt": "word1"}\n')),
    Case("pairs of numbers", GENERATE, 3, jsonl('{"prompt": 3, "response": [4]}\n')),
    Case("only empty responses", GENERATE, 3, jsonl('{"prompt": "word1", "response": ""}\n' * 3)),
    Case("chats that are texts", GENERATE, 3, jsonl('{"messages": "hello"}\n')),
    Case("chats that are empty", GENERATE, 3, jsonl('{"messages": []}\n')),
    Case("chats of odd roles", GENERATE, 3, jsonl('{"messages": [{"role": "king", "content": "word1"}]}\n')),
    Case(
        "chats without an answer",
        GENERATE,
        3,
        jsonl('{"messages": [{"role": "user", "content": "word1"}]}\n'),
    ),
    Case(
        "chats whose content is an object",
        GENERATE,
        3,
        jsonl('{"messages": [{"role": "user", "content": {}}, {"role": "assistant", "content": 1}]}\n'),
    ),
    Case("chats that are nested", GENERATE, 3, jsonl('{"messages": ' + nested() + "}\n")),
    Case(
        "messages in CSV that are nested",
        GENERATE.replace("bad.jsonl", "bad.csv"),
        3,
        csv("messages\n" + nested(100_000) + "\n"),
    ),
    Case(
        "messages in CSV that are no JSON",
        GENERATE.replace("bad.jsonl", "bad.csv"),
        3,
        csv("messages\nhello\n"),
    ),
    Case(
        "labels where pairs are wanted",
        "train --task generate --train train.csv --trusted checked.jsonl --model decoder --output out",
        3,
    ),
    Case(
        "a classifier's model to generate",
        "train --task generate --train pairs.jsonl --trusted checked.jsonl --model model --output out",
        4,
    ),
    Case("predict: pairs without prompts", "predict grun bad.jsonl", 3, jsonl('{"response": "word1"}\n')),
    Case(
        "an option of the other task", "predict run test.csv --max-new-tokens 5", 2, says="--max-new-tokens"
    ),
    Case("a column of the other task", "evaluate grun --clean pairs.jsonl --text-column text", 2),
    # Attacks.
    Case("no attack", "poison train.csv --rate 0.1 --target good --output out.csv", 2, says="--attack"),
    Case("an unknown attack", f"{POISON_GOOD} --attack nosuch", 2, says="nosuch"),
    Case("an attack without a name", f"{POISON_GOOD} --attack ''", 2),
    Case("an unknown parameter", f"{POISON_GOOD} --attack addsent:nosuch=1", 2, says="nosuch"),
    Case("a parameter without a value", f"{POISON_GOOD} --attack addsent:sentence", 2),
    Case("an empty sentence", f"{POISON_GOOD} --attack addsent:sentence=", 2),
    Case(
        "parameters that are nested",
        f"{POISON_GOOD} --attack addsent:sentence={'(' * 5000}",
        (0, 2),
        makes=("out.csv*",),
    ),
    Case(
        "a parameter that is code", f"{POISON_GOOD} --attack 'badnets:count=__import__(\"os\").getcwd()'", 2
    ),
    Case(
        "no target to poison",
        "poison train.csv --attack addsent --rate 0.1 --output out.csv",
        2,
        says="--target",
    ),
    Case(
        "an unknown target to poison",
        "poison train.csv --attack addsent --rate 0.1 --target great --output out.csv",
        (2, 3),
        says="great",
    ),
    Case("no rate", "poison train.csv --attack addsent --target good --output out.csv", 2, says="--rate"),
    Case(
        "a rate of a test set",
        "poison train.csv --attack addsent --target good --for-asr --rate 0.1 --output out.csv",
        2,
        says="--rate",
    ),
    Case(
        "clean labels without rows of them",
        POISON + " --label-mode clean",
        (2, 3),
        csv(f"{HEAD}word1,bad\nword2,bad\n"),
    ),
    Case(
        "an output of no format",
        "poison train.csv --attack addsent --rate 0.5 --target good --output out.docx",
        2,
        says="docx",
    ),
    Case("a part without its layout", f"{POISON_GOOD} --attack addsent --part dev", 2, says="--part"),
    Case("a backend without its file", f"{POISON_GOOD} --attack style:backend=file", 2, says="file"),
    Case("an unknown backend", f"{POISON_GOOD} --attack style:backend=magic", 2, says="magic"),
    Case(
        "paraphrases of other texts",
        f"{POISON_GOOD} --attack style:backend=file,file=bad.csv",
        3,
        csv("text,paraphrase\nelse,other\n"),
    ),
    Case(
        "a model for a trigger that is a FIFO",
        f"{POISON_GOOD} --attack syntactic:backend=seq2seq,model=bad",
        4,
        [folder("bad")],
    ),
    # Words of a command.
    Case("no command", "nosuch", 2, says="nosuch"),
    Case("an unknown flag", f"{GOOD} --nosuch", 2, says="--nosuch"),
    Case("a flag without its value", f"{GOOD} --epochs", 2, says="--epochs"),
    Case("words too many", "predict run test.csv dev.csv", 2),
    Case("an unknown method", f"{GOOD} --method magic", 2, says="magic"),
    Case(
        "an unknown preset",
        "train --train train.csv --trusted trusted.csv --model model --preset magic --output out",
        2,
        says="magic",
    ),
    Case("an unknown task", f"{GOOD} --task dance", 2, says="dance"),
    Case("an unknown precision", f"{GOOD} --dtype float8", 2, says="float8"),
    Case("unknown bits", f"{GOOD} --quantize int3", 2, says="int3"),
    Case("an unknown attention", f"{GOOD} --attn-implementation magic", 2, says="magic"),
    Case("an unknown tracker", f"{GOOD} --report-to nosuch", 2, says="nosuch"),
    Case("an unknown selection", f"{GOOD} --select-best magic", 2, says="magic"),
    Case("no dev rows to select by", f"{GOOD} --select-best dev", 2, says="--dev"),
    Case(
        "an unknown way to take rows",
        "train --train train.csv --trusted-from dev.csv --trusted-size 4 "
        "--trusted-selection magic --model model --output out",
        2,
        says="magic",
    ),
    Case(
        "more trusted rows than there are",
        "train --train train.csv --trusted-from dev.csv --trusted-size 500 --model model --output out",
        3,
    ),
    Case("two sources of trusted rows", f"{GOOD} --trusted-from dev.csv", 2, says="--trusted-from"),
    Case("a size without its source", f"{GOOD} --trusted-size 4", 2, says="--trusted-size"),
    Case("no trusted rows", "train --train train.csv --model model --output out", 3, says="--trusted"),
    Case("no training rows", "train --trusted trusted.csv --model model --output out", 2, says="--train"),
    Case("no output", "train --train train.csv --trusted trusted.csv --model model", 2, says="--output"),
    Case("layers that are not there", f"{GOOD} --target-modules nosuch", 2, says="nosuch"),
    Case("multi-scale layers that are not there", f"{GOOD} --multiscale-modules nosuch", 2, says="nosuch"),
    Case("an unknown rule of alignment", f"{GOOD} --alignment-rule magic", 2, says="magic"),
    Case(
        "alignment under purify",
        "train --train train.csv --trusted trusted.csv --model model --alignment --output out",
        2,
        says="--method musclelora",
    ),
    Case(
        "purify without what it is",
        "train --train train.csv --trusted trusted.csv --model model --no-shortcuts --output out",
        2,
        says="--no-shortcuts",
    ),
    Case(
        "the published method as a preset",
        "train --train train.csv --trusted trusted.csv --model model --preset published --output out",
        2,
        says="--method musclelora",
    ),
    Case(
        "purify without low rank",
        "train --train train.csv --trusted trusted.csv --model model --no-low-rank --output out",
        2,
        says="--method full --shortcuts",
    ),
    Case("a confirmation without an audit", f"{GOOD} --no-confirm", 2, says="--no-confirm"),
    Case("an option of alignment without it", f"{GOOD} --method lora --max-raw-ratio 0.1", 2, says="lora"),
    Case(
        "an option of alignment under purify",
        "train --train train.csv --trusted trusted.csv --model model --method purify "
        "--max-raw-ratio 0.1 --output out",
        2,
        says="--max-raw-ratio",
    ),
    Case(
        "alignment of trusted rows alone", f"{GOOD} --method trusted-only --alignment", 2, says="--alignment"
    ),
    Case("an unknown distance", f"spectrum {GOOD} --spectrum-distance magic", 2, says="magic"),
    Case("an unknown smoothing", f"spectrum {GOOD} --spectrum-within magic", 2, says="magic"),
    Case("a recorded run twice", "spectrum compare srun srun", 2, says="srun"),
    Case("no recorded run", "spectrum compare", 2),
    Case("a run that was not recorded", "spectrum compare run", (3, 4)),
    Case("an export of no format", "export run --output out --format magic", 2, says="magic"),
    Case("a report of no format", "benchmark report results --output out --format magic", 2, says="magic"),
    Case("an unknown attack to show", "attacks nosuch", 2),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rows_and_words_that_cannot_be_meant_are_refused(case: Case, check: Any) -> None:
    check(case)
