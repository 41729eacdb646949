"""Backoff n-gram models over words or characters, in the ARPA format of SRILM, KenLM and others."""

from __future__ import annotations

import functools
import gzip
import io
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from semtok.errors import TextError
from semtok.support.atomic import atomic_write

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
SPACE = "<space>"
"""How a model over characters spells the space; a model that has it is one over characters."""

Gram = tuple[str, ...]

_COUNT = re.compile(r"ngram +(\d{1,2}) *= *(\d{1,9})")
_SECTION = re.compile(r"\\(\d{1,2})-grams:")
# Bounds of what a file of a stranger may cost: characters of a line, orders, and n-grams in memory.
_MOST_CHARACTERS, _MOST_ORDERS, _MOST_GRAMS = 2000, 20, 20_000_000
# Of what a model without <unk> does not know: KenLM's log10 probability.
_UNKNOWN_LOG10 = -100.0
_LN10 = math.log(10)


class BackoffModel:
    """What follows what: log-probabilities and backoff weights, both to base 10, of n-grams of up to `order` units.

    Args:
        grams: by the units of each n-gram: its log-probability, and the weight of what follows it unseen.

    Raises:
        TextError: there are no units, a number is not finite, or a probability is above 1.
    """

    def __init__(self, grams: Mapping[Gram, tuple[float, float]]) -> None:
        for gram, numbers in grams.items():
            if not all(map(math.isfinite, numbers)) or numbers[0] > 0:
                raise TextError(f"{' '.join(gram)!r} has log10 probability and backoff weight {numbers}: expected "
                                "finite numbers, the first at most 0")  # fmt: skip
        self.grams = dict(grams)
        self.units = frozenset(gram[0] for gram in grams if len(gram) == 1)
        if not self.units:
            raise TextError("an n-gram model needs n-grams of one unit, got none")
        self.order = max(map(len, grams))

    @property
    def of_characters(self) -> bool:
        """Whether its units are characters and not words."""
        return SPACE in self.units

    def score(self, context: Gram, unit: str) -> float:
        """The natural log-probability of a unit after others, the last of which count.

        Units that the model does not know are its <unk>; without one they have the log10 probability -100.
        """
        unit = self._known(unit)
        context = tuple(map(self._known, context[-(self.order - 1) :])) if self.order > 1 else ()
        weight = 0.0
        for start in range(len(context) + 1):
            rest = context[start:]
            if (entry := self.grams.get((*rest, unit))) is not None:
                return (weight + entry[0]) * _LN10
            weight += self.grams.get(rest, (0.0, 0.0))[1]
        return (weight + _UNKNOWN_LOG10) * _LN10

    def _known(self, unit: str) -> str:
        return unit if unit in self.units else UNKNOWN

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BackoffModel:
        """Reads an ARPA file; one whose name ends in `.gz` is unpacked as it is read.

        Raises:
            TextError: the file is missing, damaged or no ARPA file, or larger than what fits memory.
        """
        try:
            with gzip.open(path, "rb") if str(path).endswith(".gz") else Path(path).open("rb") as file:
                return cls(dict(_read(_lines(file), str(path))))
        except (OSError, EOFError, zlib.error) as error:
            raise TextError(f"{path} cannot be read as a language model: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an ARPA file, packed if its name ends in `.gz`; five digits a number."""
        target = Path(path)
        with atomic_write(target) as aside, aside.open("wb") as raw:
            if target.suffix != ".gz":
                raw.write(self._text().encode())
                return
            with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:  # the same bytes whenever it is written
                packed.write(self._text().encode())

    def _text(self) -> str:
        by_order: list[list[str]] = [[] for _ in range(self.order)]
        for gram, (probability, weight) in sorted(self.grams.items()):
            line = f"{probability:.5g}\t{' '.join(gram)}"
            by_order[len(gram) - 1].append(f"{line}\t{weight:.5g}" if weight else line)
        counts = [f"ngram {n}={len(lines)}" for n, lines in enumerate(by_order, 1)]
        sections = [["", f"\\{n}-grams:", *lines] for n, lines in enumerate(by_order, 1)]
        return "\n".join(["\\data\\", *counts, *(line for lines in sections for line in lines), "", "\\end\\", ""])


def _lines(file: io.BufferedIOBase) -> Iterator[str]:
    """Lines without white space around them; empty ones and those before the data are left out."""
    begun = False
    for line in iter(functools.partial(file.readline, _MOST_CHARACTERS), b""):
        if len(line) == _MOST_CHARACTERS:
            raise TextError(f"a line of a language model is longer than {_MOST_CHARACTERS} bytes: it is no ARPA file")
        try:
            text = line.decode().strip(" \t\r\n")
        except UnicodeDecodeError as error:
            raise TextError(f"a language model is no text in UTF-8: {error}") from error
        begun = begun or text == "\\data\\"
        if begun and text:
            yield text


def _read(lines: Iterator[str], where: str) -> Iterator[tuple[Gram, tuple[float, float]]]:
    """The n-grams of an ARPA file, each once, as many of each order as it says."""
    if next(lines, None) != "\\data\\":
        raise TextError(f"{where} is no ARPA file: it has no line \\data\\")
    counts: list[int] = []
    line = next(lines, "")
    while match := _COUNT.fullmatch(line):
        if int(match[1]) != len(counts) + 1 or len(counts) == _MOST_ORDERS:
            raise TextError(f"{where}: {line!r} is out of order, or more than {_MOST_ORDERS} orders")
        counts.append(int(match[2]))
        line = next(lines, "")
    if not counts or sum(counts) > _MOST_GRAMS:
        raise TextError(f"{where} counts {sum(counts)} n-grams: expected 1 to {_MOST_GRAMS}")
    seen: set[Gram] = set()
    for order, count in enumerate(counts, 1):
        if (section := _SECTION.fullmatch(line)) is None or int(section[1]) != order:
            raise TextError(f"{where} has {line[:80]!r} where \\{order}-grams: should begin")
        before = len(seen)
        for line in lines:
            if line.startswith("\\") and (line == "\\end\\" or _SECTION.fullmatch(line)):
                break
            gram, numbers = _parse(line, order, where)
            if gram in seen or any((unit,) not in seen for unit in gram if order > 1):
                raise TextError(f"{where}: {line!r} comes twice, or has units that are no 1-grams")
            seen.add(gram)
            if len(seen) - before > count:
                break
            yield gram, numbers
        else:
            line = ""
        if len(seen) - before != count:
            raise TextError(f"{where} says {count} {order}-grams, it has {len(seen) - before}: it is cut or damaged")
    if line != "\\end\\":
        raise TextError(f"{where} does not end with \\end\\: it is cut or damaged")


def _parse(line: str, order: int, where: str) -> tuple[Gram, tuple[float, float]]:
    # Tabs stand between the columns, or spaces: then the number of units says where the last column is.
    fields = line.split()
    try:
        if not order + 1 <= len(fields) <= order + 2:
            raise ValueError
        weight = float(fields[-1]) if len(fields) == order + 2 else 0.0
        return tuple(fields[1 : order + 1]), (float(fields[0]), weight)
    except ValueError:
        raise TextError(
            f"{where}: {line[:80]!r} is no line of {order}-grams: expected a number, {order} units and maybe a number"
        ) from None
