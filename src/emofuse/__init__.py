"""emofuse: raw video of a person speaking in, emotions over time and what they rest on out."""

__version__ = "0.1.0"
