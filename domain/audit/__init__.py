"""Who changed what: the part of the events log that people and their programs made."""
