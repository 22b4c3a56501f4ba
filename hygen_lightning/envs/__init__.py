"""Batched battles. One table of environments: name -> class."""
