"""Grids of data × attack × model × defence × seed: run, kept and compared.

What a grid says is checked before anything runs; every cell is a process of its own and is kept as it ends.
"""
