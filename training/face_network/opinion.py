"""A second opinion on noisy expression labels: what a network trained before says of the same photographs.

FER2013's labels are noisy (people agree with them in about two photographs of three). Each label is mixed with the earlier network's
answer, the mean over the photograph and its mirror image: soft bootstrapping (Reed et al. 2015) with the opinion of an earlier
generation (born-again networks, Furlanello et al. 2018), made once. No photograph outside the training part is touched.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emofuse.extractors.face.compact.network import CompactNetwork, Reader
from emofuse.pipeline.timed import Floats32

from .distort import centred
from .photographs import Photographs


def opinions(network: CompactNetwork, facts: Mapping[str, object], photographs: Photographs, share: float) -> Floats32:
    """(n 7) labels of which `share` (0..1) is the network's; photographs without a label (NaN) stay without."""
    mean, spread = (np.asarray(facts[key], np.float32) for key in ("shape_mean", "shape_spread"))
    read = Reader(network, mean, spread, temperature=float(str(facts.get("temperature", 1.0))), both=True)
    answered = read(centred(photographs)).expression
    return np.asarray((1 - share) * photographs.expression + share * answered, np.float32)
