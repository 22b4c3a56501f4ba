"""Data sets of whole task sets: teachers, the qualities that their checkpoints give, run folders on disk."""
