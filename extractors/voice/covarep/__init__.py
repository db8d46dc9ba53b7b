"""COVAREP's voice features in Python, one file a method. `compat` computes them as the program does; `voice` with its faults corrected."""
