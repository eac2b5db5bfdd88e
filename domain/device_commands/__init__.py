"""Commands for devices: queued by operators, told in the answer of a wake, confirmed in a later one."""
