"""One run: its folder, its checkpoints, the files it leaves."""
