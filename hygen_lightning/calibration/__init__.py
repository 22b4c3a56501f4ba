"""The embedded simulator held against recorded StarCraft II battles: what `fidelity` measures."""
