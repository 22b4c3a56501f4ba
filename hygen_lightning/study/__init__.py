"""Many runs as one: which there are, where they run, how far they are."""
