"""StarCraft II through the `smac` package, for those who have both. Nothing here needs them on import."""
