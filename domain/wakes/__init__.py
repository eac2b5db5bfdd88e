"""What a device is told when it wakes: the one exchange that config, commands and firmware share."""
