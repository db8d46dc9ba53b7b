"""Fusion models in torch, one file a model. `MODELS` lists them."""
