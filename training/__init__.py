"""How the weights in the package are made. Not part of the wheel: run it from the checkout, `python -m training.NAME`."""
