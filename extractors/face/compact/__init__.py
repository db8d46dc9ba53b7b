"""compact: the face provider that ships in the package. One small network finds faces, another reads and follows them."""
