"""What the commands do for ``--task generate``."""
