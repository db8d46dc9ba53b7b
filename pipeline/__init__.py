"""The ground floor: what a clip is, what a stream is, and how they flow. Never imports torch or a floor above."""
