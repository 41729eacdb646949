"""JSON that somebody else may have written: read within bounds, and refused by name where it is anything unusual.

Every file of JSON that semtok reads and did not make itself a moment ago is read here, so that no reader has to expect
a RecursionError, a number that fits no int64, or a text that UTF-8 cannot hold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semtok.errors import SemtokError

# Parsed JSON takes up to 25 times the memory of its text: of empty objects, for instance.
MAX_BYTES = 1 << 23
MAX_DEPTH = 64
_INT64 = range(-(1 << 63), 1 << 63)


def read_json(path: Path, error: type[SemtokError]) -> dict[str, Any]:
    """The keys and values of a JSON file, in UTF-8 with or without a byte order mark.

    Args:
        path: of at most `MAX_BYTES`.
        error: the exception raised, with the file's name, for a file that cannot be read or that `parse_json` refuses.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as problem:
        raise error(f"cannot read {path}: {problem.strerror or problem}") from problem
    return _entries(content.removeprefix(b"\xef\xbb\xbf"), str(path), error)


def read_json_lines(path: Path, error: type[SemtokError]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of each line of a file of JSON lines, from 1, and its keys and values; blank lines are passed over.

    A line ends at a line feed and nowhere else: texts may hold the other characters at which `str.splitlines` splits.

    Args:
        path: in UTF-8 with or without a byte order mark, each line of at most `MAX_BYTES`.
        error: the exception raised, with the file's name and the number of the line, for a file that cannot be read or
            a line that `parse_json` refuses.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_BYTES + 1), b""), start=1):
                content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if content.strip():
                    yield number, _entries(content, f"line {number} of {path}", error)
    except OSError as problem:
        raise error(f"cannot read {path}: {problem.strerror or problem}") from problem


def parse_json(content: str | bytes, where: str, error: type[SemtokError]) -> Any:
    """The value that a text, or its UTF-8, stands for in JSON.

    Args:
        content: of at most `MAX_BYTES`.
        where: what the text is, for the message: "line 3 of clips.jsonl".
        error: the exception raised for a text that is larger, is no JSON, nests more than `MAX_DEPTH` deep, names a key
            twice in one object, or has a number that is NaN, infinite or, as an integer, beyond 64 bits, or a text with
            half a surrogate pair, which UTF-8 cannot hold.
    """
    if len(content) > MAX_BYTES:
        raise error(f"{where} is larger than {MAX_BYTES} bytes, too large for what it should hold")
    try:
        value = _DECODER.decode(content.decode() if isinstance(content, bytes) else content)
        _check(value, 0)
    except RecursionError as problem:
        raise error(f"{where} is nested more than {MAX_DEPTH} deep: it may be hostile") from problem
    except ValueError as problem:
        raise error(f"{where} is not JSON that semtok reads: {problem}") from problem
    return value


def plain(value: object) -> Any:
    """A number of numpy as one of Python: the `default` of `json.dumps` for numbers that a caller gave."""
    import numpy as np

    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} has no form in JSON")


def finite(value: Any) -> Any:
    """The same for JSON, which has no NaN and no infinity: null; tuples become lists."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _entries(content: bytes, where: str, error: type[SemtokError]) -> dict[str, Any]:
    value = parse_json(content, where, error)
    if not isinstance(value, dict):
        raise error(f"{where} holds {str(value)[:50]!r}: expected an object, keys and values in braces")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"it has the key {twice!r} twice in one object")
    return entries


def _constant(name: str) -> Any:
    raise ValueError(f"it has the value {name}, which JSON does not know")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep and may be hostile")
    if isinstance(value, dict):
        for key, inner in value.items():
            key.encode()
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it has a number beyond the range of floating point")
    elif type(value) is int and value not in _INT64:
        raise ValueError("it has an integer beyond 64 bits")
