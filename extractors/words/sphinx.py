"""The pocketsphinx decoder and its US English model, as the recogniser and the aligner use them.

pocketsphinx 5 (Huggins-Daines et al. 2006) carries a semi-continuous acoustic model (MFCC, 10 ms frames), a trigram language model and
the CMU dictionary in its wheel: nothing is fetched. Frame k is computed from a window of 25.625 ms that begins at k * 10 ms; it
speaks for the 10 ms around its window's middle, so a segment's time starts (25.625 - 10) / 2 ms after its first frame's window.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emofuse.pipeline.errors import WeightsError
from emofuse.pipeline.hashing import sha256_of
from emofuse.pipeline.media import SAMPLE_RATE

from .recording import Stretch

FRAME = SAMPLE_RATE // 100
FRAME_OFFSET = (0.025625 * SAMPLE_RATE - FRAME) / 2
FILLERS = "<[+"  # <s>, <sil>, [NOISE], [SPEECH]


def model_folder() -> Path:
    """The US English model inside the installed pocketsphinx; raises `WeightsError` where there is none. Imports nothing heavy."""
    spec = find_spec("pocketsphinx")
    for location in spec.submodule_search_locations or () if spec else ():
        folder = Path(location) / "model" / "en-us"
        if folder.is_dir():
            return folder
    raise WeightsError("pocketsphinx: expected the package with its en-us model (pip install pocketsphinx), found none")


@cache
def weights() -> dict[str, str]:
    """SHA-256 of each file of the model that decoding reads."""
    folder = model_folder()
    names = [f"en-us/{name}" for name in ("mdef", "means", "variances", "sendump", "transition_matrices", "feat.params", "noisedict")]
    return {name: sha256_of(folder / name) for name in ["cmudict-en-us.dict", "en-us.lm.bin", *names]}


def version() -> str:
    return metadata.version("pocketsphinx")


def make_decoder(**options: Any) -> Any:
    """A pocketsphinx Decoder that says nothing on stderr; options as in its own configuration."""
    from pocketsphinx import Decoder

    return Decoder(loglevel="FATAL", **options)


def decode(decoder: Any, stretch: Stretch) -> list[Any]:
    """The segments of one stretch, by the search that is active. The same stretch always gives the same segments.

    pocketsphinx carries its estimate of the noise from one utterance to the next (measured: other words for the same sound);
    starting afresh makes the answer depend on this stretch alone.
    """
    decoder.reinit_feat()
    decoder.start_utt()
    decoder.process_raw(stretch.values.tobytes(), full_utt=True)
    decoder.end_utt()
    return list(decoder.seg() or ())


def sample_of(frame: int) -> float:
    """The sample at which a frame's own 10 ms begin."""
    return frame * FRAME + FRAME_OFFSET if frame else 0.0
