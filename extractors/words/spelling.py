"""How written words are said: numbers, clock times, money, ordinals, symbols and initials, in English.

An aligner can only find what is spoken, and a transcript says "$5.50" or "1961". `readings` gives every token the ways it may be
said, the most usual first, as plain words (a-z and apostrophe); the aligner picks the one that was heard. A token without any
reading (another script, a lone dash) gives none, and its time comes from its neighbours.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import product

Reading = tuple[str, ...]

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
    "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (10**3, "thousand"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_CURRENCIES = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent"), "¥": ("yen", "sen")}
_MAGNITUDES = {"k": "thousand", "m": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
_FRACTIONS = {"1/2": ("half", "one half"), "1/4": ("quarter", "one quarter"), "3/4": ("three quarters",), "1/3": ("a third", "one third")}
_SYMBOLS = {
    "&": ("and",),
    "+": ("plus",),
    "=": ("equals",),
    "@": ("at",),
    "%": ("percent",),
    "#": ("number", "hashtag"),
    "°": ("degrees",),
    "€": ("euros",),
    "$": ("dollars",),
    "£": ("pounds",),
    "¥": ("yen",),
    "×": ("times",),
}
_LETTERS = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "þ": "th", "ð": "th", "ı": "i"}
_MOST_READINGS = 6

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_PART = re.compile(
    rf"(?P<fraction>\d+/\d+(?!\d))|(?P<clock>\d{{1,2}}:\d{{2}}(?::\d{{2}})?)|(?P<ordinal>\d[\d,]*(?:st|nd|rd|th)\b)"
    rf"|(?P<money>[$£€¥](?:{_NUMBER})(?:(?:bn|tn|[kmb])\b)?)|(?P<decade>\d*\d0'?s\b)|(?P<number>{_NUMBER})"
    r"|(?P<word>[^\W\d_]+(?:'[^\W\d_]+)*'?)|(?P<symbol>[&+=@%#°€$£¥×])"
)


def readings(token: str) -> tuple[Reading, ...]:
    """Ways to say a written token, most usual first; () where it has no sound that we can name."""
    text = "".join(_plain(character) for character in unicodedata.normalize("NFKC", token).replace("⁄", "/"))
    parts = [ways for match in _PART.finditer(text) if (ways := _ways(match))]
    if not parts:
        return ()
    whole: dict[Reading, None] = {}
    for choice in product(*parts):
        whole[tuple(word for part in choice for word in part)] = None
        if len(whole) == _MOST_READINGS:
            break
    return tuple(whole)


def cardinal(number: int) -> Reading:
    """1234 -> ("one", "thousand", "two", "hundred", "thirty", "four")."""
    if number < 20:
        return (_ONES[number],)
    if number < 100:
        return (_TENS[number // 10], *(cardinal(number % 10) if number % 10 else ()))
    if number < 1000:
        return (_ONES[number // 100], "hundred", *(cardinal(number % 100) if number % 100 else ()))
    for size, name in _SCALES:
        if number >= size:
            return (*cardinal(number // size), name, *(cardinal(number % size) if number % size else ()))
    raise AssertionError("unreachable: every number from 1000 has a scale")


def _plain(character: str) -> str:
    """One character in ASCII where it has an obvious form: digits of any script, curly apostrophes; letters keep their case."""
    if character.isdigit():
        return str(unicodedata.digit(character))
    return "'" if character in "’‘ʼ`´" else character


def _ways(match: re.Match[str]) -> tuple[Reading, ...]:
    kind, text = match.lastgroup, match.group()
    if kind == "word":
        return _word(text)
    if kind == "symbol":
        return tuple((word,) for word in _SYMBOLS[text])
    if kind == "fraction":
        if text in _FRACTIONS:
            return tuple(tuple(way.split()) for way in _FRACTIONS[text])
        above, below = text.split("/")
        first, second = _number(above)[0], _number(below)[0]
        return ((*first, *second), (*first, "slash", *second), (*first, "over", *second))
    if kind == "clock":
        return _clock(text)
    if kind == "ordinal":
        spoken = cardinal(_whole(text[:-2]))
        return ((*spoken[:-1], _ordinal(spoken[-1])),)
    if kind == "money":
        return _money(text)
    if kind == "decade":
        return tuple((*way[:-1], _plural(way[-1])) for way in _number(text.rstrip("s").rstrip("'")))
    return _number(text)


def _word(text: str) -> tuple[Reading, ...]:
    letters = "".join(_LETTERS.get(c, c) for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))
    if not re.fullmatch(r"[a-z']+", letters) or not letters.strip("'"):
        return ()
    word = letters.rstrip("'") if letters.endswith("s'") else letters
    initials = tuple(letters.replace("'", ""))
    if text.isupper() and 2 <= len(initials) <= 5:
        return ((word,), initials)
    # Nothing without a vowel can be read as a word: "mph", "tv".
    return ((word,),) if re.search(r"[aeiouy]", word) or len(word) == 1 else ((word,), initials)


def _number(text: str) -> tuple[Reading, ...]:
    whole, _, decimals = text.replace(",", "").partition(".")
    digit_by_digit = tuple(_ONES[int(d)] for d in whole)
    if decimals:
        point = ("point", *(_ONES[int(d)] for d in decimals))
        return (((*cardinal(int(whole)), *point)),) if len(whole) < 16 else ((*digit_by_digit, *point),)
    if len(whole) > 15 or (len(whole) > 1 and whole[0] == "0"):
        return (digit_by_digit, tuple("oh" if word == "zero" else word for word in digit_by_digit))
    number = int(whole)
    ways: list[Reading] = [cardinal(number)]
    if "," not in text and len(whole) == 4 and number % 1000:
        year = _year(number)
        ways = [year, *ways] if 1100 <= number <= 1999 or 2010 <= number <= 2099 else [*ways, year]
    if number == 0:
        ways.append(("oh",))
    if number >= 100 and "," not in text:
        ways += [digit_by_digit, tuple("oh" if word == "zero" else word for word in digit_by_digit)]
        if number < 1000 and number % 100 >= 10:
            ways.append((_ONES[number // 100], *cardinal(number % 100)))
    return tuple(ways)


def _year(number: int) -> Reading:
    century, rest = cardinal(number // 100), number % 100
    if rest == 0:
        return (*century, "hundred")
    return (*century, "oh", *cardinal(rest)) if rest < 10 else (*century, *cardinal(rest))


def _clock(text: str) -> tuple[Reading, ...]:
    hours, *rest = (int(part) for part in text.split(":"))
    spoken = [("oh", *cardinal(part)) if 0 < part < 10 else cardinal(part) for part in rest if part or len(rest) > 1]
    plain = cardinal(hours) + tuple(word for part in spoken for word in part)
    return (plain, (*plain, "o'clock")) if len(rest) == 1 and not rest[0] else (plain,)


def _money(text: str) -> tuple[Reading, ...]:
    unit, hundredth = _CURRENCIES[text[0]]
    amount = text[1:].rstrip("kmbnt")
    magnitude = _MAGNITUDES.get(text[1 + len(amount) :], "")
    whole, _, cents = amount.partition(".")
    if magnitude:
        return ((*_number(amount)[0], magnitude, _plural(unit)),)
    units = unit if _whole(whole) == 1 else _plural(unit)
    if len(cents) != 2:
        return ((*_number(amount)[0], units),)
    few = cardinal(int(cents)) if int(cents) else ()
    full = (*_number(whole)[0], units, *(("and", *few, _plural(hundredth)) if few else ()))
    return (full, (*_number(whole)[0], units, *few), (*_number(whole)[0], *few))


def _whole(text: str) -> int:
    return int(text.replace(",", "")[-15:])


def _ordinal(word: str) -> str:
    if word in _ORDINALS:
        return _ORDINALS[word]
    return word[:-1] + "ieth" if word.endswith("y") else word + "th"


def _plural(word: str) -> str:
    if word in ("yen", "sen"):
        return word
    if word == "penny":
        return "pence"
    if word.endswith("y"):
        return word[:-1] + "ies"
    return word + "es" if word.endswith("x") else word + "s"
