"""Providers of the voice stream."""
