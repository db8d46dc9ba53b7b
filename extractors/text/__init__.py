"""Providers of the text stream: one embedding per word."""
