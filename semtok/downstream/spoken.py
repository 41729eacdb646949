"""What people write -> words as they are read aloud: numbers, money, times, abbreviations, acronyms, signs.

Numbers are read in every language that num2words knows; all else is English. Taylor, "Text-to-Speech Synthesis" (2009),
chapter 5, has the kinds of written words that are no natural language.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from semtok.errors import TextError

ENGLISH = "en"

Rule: TypeAlias = tuple[re.Pattern[str], Callable[[re.Match[str], str], str]]
"""What is searched for, and how a match is read in a language."""

_ABBREVIATIONS = {
    "dr": "doctor",
    "mr": "mister",
    "mrs": "missus",
    "ms": "miss",
    "prof": "professor",
    "jr": "junior",
    "sr": "senior",
    "vs": "versus",
    "etc": "et cetera",
    "e.g": "for example",
    "i.e": "that is",
    "approx": "approximately",
    "dept": "department",
    "ave": "avenue",
    "mt": "mount",
}
_LETTER_NAMES = (
    "ay bee see dee ee eff gee aitch eye jay kay ell em en oh pee cue are ess tee you vee doubleyou ex why zee"
)
_LETTERS = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", _LETTER_NAMES.split(), strict=True))
_SIGNS = {
    "&": "and",
    "%": "percent",
    "+": "plus",
    "@": "at",
    "=": "equals",
    "#": "number",
    "\N{DEGREE SIGN}": "degrees",
    "\N{MULTIPLICATION SIGN}": "times",
    "$": "dollars",
    "\N{EURO SIGN}": "euros",
    "\N{POUND SIGN}": "pounds",
    "/": "slash",
}
_CURRENCIES = {"$": "USD", "\N{EURO SIGN}": "EUR", "\N{POUND SIGN}": "GBP"}
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
# Longer ones, and those that begin with a zero, are read digit by digit, as telephone numbers are.
_MOST_DIGITS = 12


def spoken_form(text: str, language: str) -> str:
    """A text as it is read aloud in a language, such as "en" (ISO 639-1).

    Raises:
        TextError: the text has digits, and numbers of that language cannot be read.
    """
    rules: list[Rule] = _ENGLISH if language == ENGLISH else [(re.compile(_NUMBER), _number)]
    for pattern, read in rules:
        text = pattern.sub(functools.partial(_between_spaces, read, language), text)
    return re.sub(r" +", " ", re.sub(r" (?=[,.!?;:])", "", text)).strip()


def _between_spaces(read: Callable[[re.Match[str], str], str], language: str, match: re.Match[str]) -> str:
    return f" {read(match, language)} "


def _words(value: Any, language: str, **options: Any) -> str:
    from num2words import num2words

    try:
        words = str(num2words(value, lang=language, **options))
    except (NotImplementedError, OverflowError) as error:
        raise TextError(f"numbers cannot be read in the language {language!r}: write {value} as words") from error
    return words.replace(",", "").replace("-", " ")


def _number(match: re.Match[str], language: str) -> str:
    digits = match[0].replace(",", "")
    if "." in digits:
        return _words(float(digits), language)
    if len(digits) > _MOST_DIGITS or (len(digits) > 1 and digits[0] == "0"):
        return " ".join(_words(int(digit), language) for digit in digits)
    return _words(int(digits), language)


def _year(match: re.Match[str], language: str) -> str:
    words = _words(int(match[1]), language, to="year")
    if match[2]:  # of the nineteen nineties
        return f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"
    return words


def _ordinal(match: re.Match[str], language: str) -> str:
    return _words(int(match[1].replace(",", "")), language, to="ordinal")


def _money(match: re.Match[str], language: str) -> str:
    amount = float(match[2].replace(",", ""))
    if match[3]:
        return f"{_words(amount if amount % 1 else int(amount), language)} {match[3]} {_SIGNS[match[1]]}"
    words = _words(amount, language, to="currency", currency=_CURRENCIES[match[1]]).replace(" sterling", "")
    return re.sub(r" zero (cents|pence)$", "", words)


def _time(match: re.Match[str], language: str) -> str:
    hour, minute = _words(int(match[1]), language), int(match[2])
    if minute == 0:
        return f"{hour} o'clock"
    return f"{hour} {'oh ' if minute < 10 else ''}{_words(minute, language)}"


def _abbreviation(match: re.Match[str], language: str) -> str:
    return _ABBREVIATIONS[match[1].lower()]


def _acronym(match: re.Match[str], language: str) -> str:
    """Letter by letter, but for those that are read as a word: of four letters and more, with vowels among them."""
    letters = match[1].replace(".", "")
    if not re.search("[a-z]", match.string):  # a text in capitals has no acronyms to be seen
        return match[0]
    if letters == "OK" or (len(letters) > 3 and "." not in match[1] and re.search("[AEIOU]", letters)):
        return match[0]
    return " ".join(_LETTERS[letter] for letter in letters) + match[2]


def _sign(match: re.Match[str], language: str) -> str:
    return _SIGNS[match[0]]


_ENGLISH: list[Rule] = [
    (re.compile(r"\bhttps?://(?:www\.)?"), lambda match, language: ""),
    (re.compile(rf"\b({'|'.join(map(re.escape, _ABBREVIATIONS))})\.", re.IGNORECASE), _abbreviation),
    (re.compile(r"\bSt\.(?=\s+[A-Z])"), lambda match, language: "Saint"),
    (re.compile(r"\bSt\."), lambda match, language: "Street"),
    (re.compile(r"\bNo\.(?= ?\d)"), lambda match, language: "number"),
    (re.compile(r"(?<![A-Za-z.])((?:[A-Z]\.){2,}|(?<![\w'])[A-Z]{2,6})(s?)(?![A-Za-z])"), _acronym),
    (re.compile(rf"([$\u20ac\u00a3]) ?({_NUMBER})(?: (thousand|million|billion|trillion)\b)?"), _money),
    (re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)\b"), _time),
    (re.compile(r"\b(\d[\d,]*)(?:st|nd|rd|th)\b"), _ordinal),
    (re.compile(r"(?<![\d,.])((?:1[1-9]|20)\d\d)(s?)\b(?![,.]?\d)"), _year),
    (re.compile(_NUMBER), _number),
    (re.compile(r"(?<=\w)\.(?=\w)"), lambda match, language: "dot"),
    (re.compile(f"[{re.escape(''.join(_SIGNS))}]"), _sign),
]
