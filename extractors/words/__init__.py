"""Providers of the words stream: recognisers, transcripts and forced alignment."""
