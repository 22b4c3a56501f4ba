"""A stand-in for SMAC's package: its interface, with battles of the embedded simulator behind it."""
