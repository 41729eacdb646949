"""Texts as people write them: what is read aloud, and what is left out with a warning."""

from __future__ import annotations

import re
import warnings

import pytest
from helpers import refuses
from hypothesis import given
from hypothesis import strategies as st

from semtok.downstream import TextToSpeech
from semtok.downstream.spoken import spoken_form
from semtok.errors import TextError


@pytest.mark.parametrize(
    "written, spoken",
    [
        (
            "Dr. Smith lives at St. James St., e.g. near the BBC.",
            "doctor Smith lives at Saint James Street, for example near the bee bee see.",
        ),
        ("It costs $5.50, or $3 million.", "It costs five dollars fifty cents, or three million dollars."),
        ("\u00a31 each, \u20ac2.50", "one pound each, two euro fifty cents"),
        ("on May 1st, 1905 at 10:05", "on May first, nineteen oh five at ten oh five"),
        ("at 10:30 or 7:00", "at ten thirty or seven o'clock"),
        ("the 1990s and 2026", "the nineteen nineties and twenty twenty six"),
        ("1,234 CDs", "one thousand two hundred and thirty four see dees"),
        ("25% of 3.14", "twenty five percent of three point one four"),
        (
            "007 and 1234567890123",
            "zero zero seven and one two three four five six seven eight nine zero one two three",
        ),
        ("https://semtok.org/docs", "semtok dot org slash docs"),
        ("me@x.org", "me at x dot org"),
        ("The U.S. and NASA, the FBI: OK", "The you ess and NASA, the eff bee eye: OK"),
        ("HELLO THE CAT", "HELLO THE CAT"),
        ("rock & roll + 5 \u00b0C", "rock and roll plus five degrees C"),
        ("no. No. 5", "no. number five"),
        ("It's plain words, isn't it?", "It's plain words, isn't it?"),
    ],
)
def test_english_as_it_is_read(written, spoken):
    assert spoken_form(written, "en") == spoken


def test_numbers_of_other_languages():
    assert spoken_form("Es sind 21 & 3.5", "de") == "Es sind einundzwanzig & drei Komma f\u00fcnf"
    with refuses(TextError, "'xx'", "21"):
        spoken_form("21", "xx")
    assert spoken_form("none here", "xx") == "none here"


@given(st.text(alphabet="aB .,:/$%@&19", max_size=30))
def test_no_digits_or_signs_are_left(text):
    assert not re.search("[0-9$%@&/]", spoken_form(text, "en"))


@given(st.lists(st.sampled_from(["the", "children", "garden", "isn't", "I"]), min_size=1, max_size=9))
def test_plain_words_stay(words):
    assert spoken_form(" ".join(words), "en") == " ".join(words)


@pytest.fixture(scope="module")
def model():
    return TextToSpeech.from_pretrained("tiny-tts")


def test_the_bundled_model_reads_what_people_write(model):
    for written, spoken in [
        ("21 caf\u00e9s", "twenty one cafes"),
        ("Gr\u00fc\u00dfe, \u0141\u00f3d\u017a", "Gruesse Lodz".replace("ue", "u")),
    ]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert model.speak_tokens(written).codes.equal(model.speak_tokens(spoken).codes)


def test_what_cannot_be_spoken_is_named(model):
    with pytest.warns(UserWarning, match="'\u2764', '\U0001f600'"):
        tokens = model.speak_tokens("hello \U0001f600 world \u2764")
    assert tokens.codes.equal(model.speak_tokens("hello world").codes)
    with pytest.warns(UserWarning, match="cannot be spoken"), refuses(TextError, "no text"):
        model.speak_tokens("\U0001f600")
