"""What the decoding process is made of: the container, its clock, the picture, the sound, and the way out. `../decoder.py` runs it."""
