"""The command line: each command parses, calls and prints; what it does lives in the other rooms."""
