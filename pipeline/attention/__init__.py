"""Attention of a clip: maps, shares per row and timelines, computed from what a model hands out."""
