"""The suite. One folder per noun, plus `contract/` (what must hold everywhere) and `faults/` (what breaks)."""
