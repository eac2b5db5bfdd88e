"""How long things are kept, and taking away what is over. What devices are and what was observed stays for ever."""
