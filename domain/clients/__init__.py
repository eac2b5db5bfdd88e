"""Clients: the organisations that own everything else."""
