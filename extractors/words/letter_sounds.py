"""A pronunciation for words that no dictionary has: ordered English letter-to-sound rules, in ARPAbet without stress.

In the manner of the NRL rules (Elovitz et al. 1976, IEEE ASSP 24(6)), much shortened: at each place in the word the first rule whose
letters and right-hand context fit gives its sounds. A forced aligner needs the length and the rough sequence of sounds, not
the perfect vowel, and every word of a text needs a time.
"""

from __future__ import annotations

import re

# (letters, what must follow as a regular expression, sounds). Longer and more particular rules stand first for each letter.
_RULES: tuple[tuple[str, str, str], ...] = (
    ("augh", "", "AO"), ("aigh", "", "EY"), ("air", "", "EH R"), ("ai", "", "EY"), ("ay", "", "EY"), ("au", "", "AO"), ("aw", "", "AO"),
    ("ah", r"$|[^aeiouy]", "AA"), ("ar", r"$|[^aeiouy]", "AA R"), ("a", r"[^aeiouywx][eiy]", "EY"), ("a", r"$", "AH"), ("a", "", "AE"),
    ("bb", "", "B"), ("b", "", "B"),
    ("ch", r"[rl]", "K"), ("ch", "", "CH"), ("ck", "", "K"), ("cc", r"[eiy]", "K S"), ("cc", "", "K"), ("ci", r"[aou]", "SH"),
    ("c", r"[eiy]", "S"), ("c", "", "K"),
    ("dge", "", "JH"), ("dd", "", "D"), ("d", "", "D"),
    ("eigh", "", "EY"), ("ear", "", "IH R"), ("eer", "", "IH R"), ("ee", "", "IY"), ("eau", "", "OW"), ("ea", "", "IY"), ("ei", "", "IY"),
    ("ew", "", "UW"), ("eu", "", "Y UW"), ("ey", r"$", "IY"), ("ey", "", "EY"), ("er", r"$|[^aeiouy]", "ER"), ("ed", r"$", "D"),
    ("es", r"$", "IH Z"), ("e", r"$", ""), ("e", r"[^aeiouywx][ei]", "IY"), ("e", "", "EH"),
    ("ff", "", "F"), ("f", "", "F"),
    ("gh", r"$|t", ""), ("gh", "", "G"), ("gn", r"$", "N"), ("gg", "", "G"), ("g", r"[eiy]", "JH"), ("g", "", "G"),
    ("h", r"$", ""), ("h", "", "HH"),
    ("igh", "", "AY"), ("ique", r"$", "IY K"), ("ie", r"$", "IY"), ("ie", "", "IY"), ("ir", r"$|[^aeiouy]", "ER"),
    ("i", r"[^aeiouywx][eiy]", "AY"), ("i", r"$", "IY"), ("i", r"[aou]", "IY"), ("i", "", "IH"),
    ("j", "", "JH"),
    ("kk", "", "K"), ("k", "", "K"),
    ("ll", "", "L"), ("l", "", "L"),
    ("mm", "", "M"), ("m", "", "M"),
    ("ng", r"$|[^aeiouyrl]", "NG"), ("nn", "", "N"), ("n", r"[kgq]", "NG"), ("n", "", "N"),
    ("ough", r"t", "AO"), ("ough", "", "OW"), ("ould", r"$", "UH D"), ("oor", "", "AO R"), ("oo", "", "UW"), ("oa", "", "OW"),
    ("oi", "", "OY"), ("oy", "", "OY"), ("ou", "", "AW"), ("ow", r"$", "OW"), ("ow", "", "AW"), ("or", r"$|[^aeiouy]", "AO R"),
    ("oe", r"$", "OW"), ("o", r"[^aeiouywx][eiy]", "OW"), ("o", r"$", "OW"), ("o", "", "AA"),
    ("ph", "", "F"), ("pp", "", "P"), ("p", "", "P"),
    ("qu", "", "K W"), ("q", "", "K"),
    ("rr", "", "R"), ("rh", "", "R"), ("r", "", "R"),
    ("sch", "", "SH"), ("sh", "", "SH"), ("sion", "", "ZH AH N"), ("ss", "", "S"), ("sc", r"[eiy]", "S"), ("s", "", "S"),
    ("tion", "", "SH AH N"), ("tch", "", "CH"), ("th", "", "TH"), ("ture", r"$", "CH ER"), ("tt", "", "T"), ("t", "", "T"),
    ("ui", "", "UW"), ("ue", r"$", "UW"), ("ur", r"$|[^aeiouy]", "ER"), ("u", r"[^aeiouywx][eiy]", "UW"), ("u", r"$", "UW"),
    ("u", "", "AH"),
    ("vv", "", "V"), ("v", "", "V"),
    ("wh", "", "W"), ("wr", "", "R"), ("w", r"$|[^aeiouy]", ""), ("w", "", "W"),
    ("x", "", "K S"),
    ("y", r"[aeiou]", "Y"), ("y", r"$", "IY"), ("y", "", "IH"),
    ("zz", "", "Z"), ("z", "", "Z"),
)  # fmt: skip
_BY_LETTER = {
    letter: tuple((letters, re.compile(follows), sounds.split()) for letters, follows, sounds in _RULES if letters[0] == letter)
    for letter in "abcdefghijklmnopqrstuvwxyz"
}
_BEGINNINGS = (("kn", "n"), ("gn", "n"), ("ps", "s"), ("pn", "n"), ("pt", "t"), ("mc", "mak"), ("x", "z"))
_NAMES = {
    "a": "EY", "b": "B IY", "c": "S IY", "d": "D IY", "e": "IY", "f": "EH F", "g": "JH IY", "h": "EY CH", "i": "AY", "j": "JH EY",
    "k": "K EY", "l": "EH L", "m": "EH M", "n": "EH N", "o": "OW", "p": "P IY", "q": "K Y UW", "r": "AA R", "s": "EH S", "t":
    "T IY", "u": "Y UW", "v": "V IY", "w": "D AH B AH L Y UW", "x": "EH K S", "y": "W AY", "z": "Z IY",
}  # fmt: skip


def letter_sounds(word: str) -> tuple[str, ...]:
    """ARPAbet sounds for a word of a-z and apostrophes, never empty: without a vowel its letters are named."""
    letters = re.sub(r"[^a-z]", "", word.lower())
    if not letters:
        raise ValueError(f"letter_sounds: expected a word with letters a-z, got {word!r}")
    if len(letters) == 1 or not re.search(r"[aeiouy]", letters):
        return tuple(sound for letter in letters for sound in _NAMES[letter].split())
    for beginning, replacement in _BEGINNINGS:
        if letters.startswith(beginning):
            letters = replacement + letters[len(beginning) :]
            break
    sounds: list[str] = []
    start = 0
    while start < len(letters):
        for rule, follows, said_as in _BY_LETTER[letters[start]]:
            end = start + len(rule)
            if letters.startswith(rule, start) and follows.match(letters, end):
                sounds += said_as
                start = end
                break
    return tuple(sounds) or tuple(sound for letter in letters for sound in _NAMES[letter].split())
