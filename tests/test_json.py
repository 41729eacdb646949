"""JSON of strangers is read, or refused with the file's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from semtok.errors import CheckpointError, CorpusError
from semtok.support.json import MAX_BYTES, MAX_DEPTH, parse_json, read_json, read_json_lines

REFUSED = {
    "nested by far too deep": ("[" * 100_000, "nested more than"),
    "nested a little too deep": ("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "nested more than"),
    "an integer of 65 bits": ('{"a": 18446744073709551616}', "beyond 64 bits"),
    "an integer of 5,000 digits": ("9" * 5000, "not JSON"),
    "not a number": ('{"a": NaN}', "NaN"),
    "infinite": ("[-Infinity]", "-Infinity"),
    "a float that overflows": ("[1e999]", "beyond the range"),
    "half a surrogate pair": (r'["\ud800"]', "surrogates"),
    "half a surrogate pair as a key": (r'{"\udfff": 1}', "surrogates"),
    "a key twice": ('{"a": {"b": 1, "c": 2, "b": 3}}', "key 'b' twice"),
    "no UTF-8": (b'"\xff"', "utf-8"),
    "too large": (" " * (MAX_BYTES + 1), "larger than"),
    "cut": ('{"a": ', "not JSON"),
    "nothing": ("", "not JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_unusual_is_refused_by_name(name: str):
    content, message = REFUSED[name]
    with pytest.raises(CorpusError, match=f"line 3.*{message}"):
        parse_json(content, "line 3 of x.jsonl", CorpusError)


def test_what_is_usual_is_read():
    text = r'{"a": [1, -9223372036854775808, 1.5, null, true], "\ud83d\ude00": {"b": "\u2028"}}'
    value = {"a": [1, -(1 << 63), 1.5, None, True], "\U0001f600": {"b": "\u2028"}}
    assert parse_json(text, "x", CorpusError) == parse_json(text.encode(), "x", CorpusError) == value


def test_a_file_holds_keys_and_values(tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path, CheckpointError) == {"a": 1}
    for content in ("null", "[1]", "3"):
        path.write_text(content)
        with pytest.raises(CheckpointError, match=r"config\.json holds .* expected an object"):
            read_json(path, CheckpointError)
    with pytest.raises(CheckpointError, match=r"cannot read .*nothing\.json"):
        read_json(tmp_path / "nothing.json", CheckpointError)
    with pytest.raises(CheckpointError, match="cannot read"):
        read_json(tmp_path, CheckpointError)


def test_lines_end_at_line_feeds_alone(tmp_path: Path):
    path = tmp_path / "clips.jsonl"
    path.write_bytes('\ufeff{"a": "x\u2028y\x85z"}\r\n\n  \n{"a": 2}'.encode())
    assert list(read_json_lines(path, CorpusError)) == [(1, {"a": "x\u2028y\x85z"}), (4, {"a": 2})]
    path.write_text('{"a": 1}\nnull\n')
    lines = read_json_lines(path, CorpusError)
    assert next(lines) == (1, {"a": 1})
    with pytest.raises(CorpusError, match=r"line 2 of .*clips\.jsonl holds 'None'"):
        next(lines)
    with pytest.raises(CorpusError, match="cannot read"):
        next(read_json_lines(tmp_path / "nothing", CorpusError))
