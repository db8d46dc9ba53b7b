"""How the shipped checkpoints are trained: utterances composed of parts that share an emotion.

`python -m training.fusion_checkpoints --help`.

No large set with faces, voices, words and labels together can be had here. So each training utterance is put together (composer.py)
from a RAVDESS voice (voices.py), a photograph made to move (faces.py) and a text (texts.py); the trainer (training.py), the scores
(scores.py) and the card (card.py) are the same for all models, whose numbers stand in the TOML recipes of this folder.
"""
