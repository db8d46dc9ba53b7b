"""One file a format that results leave in."""
