"""Reading any table of (text, label): validation, summary, the trusted set, embedded corpora and models."""
