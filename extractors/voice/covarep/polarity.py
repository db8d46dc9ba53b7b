"""Whether a recording is upside down, from the skewness of two residuals (RESKEW).

Source: T. Drugman, "Residual Excitation Skewness for Automatic Speech Polarity Detection", IEEE Signal Process. Lett. 20(4), 2013.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from .framing import Floats
from .framing import signal as scipy_signal

ORDER = 18


@cache
def elliptic_highpass(order: int, edge: float) -> tuple[Floats, Floats]:
    """Numerator and denominator (order + 1): 3 dB ripple above `edge` Hz, 60 dB below, at 16 kHz."""
    b, a = scipy_signal.ellip(order, 3, 60, edge / 8000, "highpass")
    return b, a


def filter_both_ways(b: Floats, a: Floats, x: Floats) -> Floats:
    """Zero-phase filtering with odd reflection of 3 (taps - 1) samples; a shorter signal is returned as zeros."""
    reach = 3 * (max(len(a), len(b)) - 1)
    if len(x) <= reach:
        return np.zeros_like(x)
    result: Floats = scipy_signal.filtfilt(b, a, x, axis=0, padtype="odd", padlen=reach)
    return result


def without_voice_bar(signal: Floats) -> Floats:
    """The signal (n) above 480 Hz, on which the second residual's filters are estimated."""
    return filter_both_ways(*elliptic_highpass(9, 480.0), signal)


def skewness(x: Floats) -> float:
    """Third central moment of x (n) over the cube of the standard deviation; 0 for a constant."""
    if len(x) == 0:
        return 0.0
    centred = x - x.mean()
    square = centred * centred
    variance = float(square.mean())
    return float(square @ centred) / len(x) / variance**1.5 if variance > 0 else 0.0
