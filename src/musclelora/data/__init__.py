"""Reading any table of (text, label): validation, summary, the trusted set, embedded corpora and models."""

from musclelora.data.embedded import EMBEDDED_MODELS, bbc_news, embedded_model_path
from musclelora.data.pair_readers import load_pairs, load_prompts
from musclelora.data.pairs import Pairs
from musclelora.data.readers import load_table, load_texts
from musclelora.data.splits import stratified_split
from musclelora.data.summary import Summary, summarize
from musclelora.data.table import Row, Table
from musclelora.data.trusted import check_trainable, check_trusted, overlap, select_trusted

__all__ = [
    "EMBEDDED_MODELS",
    "Pairs",
    "Row",
    "Summary",
    "Table",
    "bbc_news",
    "check_trainable",
    "check_trusted",
    "embedded_model_path",
    "load_pairs",
    "load_prompts",
    "load_table",
    "load_texts",
    "overlap",
    "select_trusted",
    "stratified_split",
    "summarize",
]
