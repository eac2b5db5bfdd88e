"""The battery devices that photograph shelves: who they are, and what they last said of themselves."""
