"""StarCraft II through the `smac` package; importing this needs neither."""
