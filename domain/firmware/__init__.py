"""Firmware: artifacts, rollouts that bring them to devices in stages, and what devices report of it."""
