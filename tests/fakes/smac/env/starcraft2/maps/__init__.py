"""As in SMAC."""
