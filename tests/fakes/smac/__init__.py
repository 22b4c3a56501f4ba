"""A stand-in for SMAC's package: its interface, without a game behind it."""
