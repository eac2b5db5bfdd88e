"""Benchmarks: each measures something of the product beside its bare limit, in the same run, in turns.

`python -m bench` runs all of them and prints one table; `python -m bench uploads` runs one. Nothing here is
a test: machines differ and are busy, so what counts are ratios, never times alone.
"""
