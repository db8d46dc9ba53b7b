"""Which device torch computes on: one check, for every provider and for the assembly."""

from __future__ import annotations

from emofuse.pipeline.errors import UsageError


def resolve(device: str, option: str = "--device") -> str:
    """The device that a name means here: "auto" is the GPU if torch sees one, else "cpu".

    option   what the message begins with
    Raises `UsageError` for a device that this machine does not have.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"{option} {device}: not on this machine ({str(error).splitlines()[0]})") from None
    return device
