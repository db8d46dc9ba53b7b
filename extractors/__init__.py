"""One file a stream provider. `EXTRACTORS` lists them: stream -> provider name -> how to make it."""
