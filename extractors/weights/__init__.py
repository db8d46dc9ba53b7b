"""Weights that providers use: where they come from, how they are fetched and checked."""
