"""The embedded simulator: StarCraft II battles in torch, many at once."""
