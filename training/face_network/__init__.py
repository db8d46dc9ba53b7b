"""Training of the compact face network."""
