"""COVAREP's voice features in Python, one file per method: `compat` computes them as the program does, `voice` without its faults."""
