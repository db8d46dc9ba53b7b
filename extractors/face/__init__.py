"""Providers of the face stream."""
