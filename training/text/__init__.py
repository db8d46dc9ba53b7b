"""Trains the text encoder's adapter for emotion: `python -m training.text --help`.

GoEmotions (seven Ekman classes, several a comment), MELD (seven classes) and CMU-MOSI (sentiment) together, three heads on one encoder
(encoder.py), read as the text provider reads words: sentence by sentence, one row per word. corpora.py reads the data, learning.py
trains and chooses, scores.py measures, card.py says what came of it.
"""
