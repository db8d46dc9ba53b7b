"""One file per format that results leave in."""
