"""compact: the face provider that ships in the package. Haar finds a face, a small network reads it and follows it."""
