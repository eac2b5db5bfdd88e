"""The log of everything that changed, and its live end."""
