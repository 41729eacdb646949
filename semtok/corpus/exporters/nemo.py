"""Lhotse Shar as NeMo's MagpieTTS takes it: codes of a clip, of its context, and of what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from semtok.corpus.exporters.exporter import (
    check_columns,
    check_values,
    is_word,
    join_names,
    named_after,
    one_line,
)
from semtok.corpus.exporters.lhotse import to_cut, with_codes, write_shar
from semtok.corpus.reading import TokenClip, TokenCorpus
from semtok.errors import CorpusError

if TYPE_CHECKING:
    from lhotse import MonoCut

_LINKS = {"context_codes": "context_id", "source_codes": "source_id"}


def export_nemo(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes cuts with int32 [rows, frames]: `target_codes`; `context_codes`, of the speaker's clip before it (the
    first has the second), or of the clip that a column `context_id` names; and `source_codes`, of the clip that a
    column `source_id` names.

    A supervision has `text`, `normalized_text` (the text, where there is no such column), `language`, and the speaker
    as NeMo writes it, `| Language:en Dataset:NAME Speaker:anna |`; the data set is named after the folder.

    Returns:
        What was written.

    Raises:
        CorpusError: a corpus without columns `text`, `speaker` and `language`, or clips without one of these; values
            that do not fit the speaker's form; ids of contexts or sources that are no clips; and as `export_lhotse`.
    """
    dataset = named_after(folder, "NeMo")
    check_columns(corpus, "NeMo", "text", "speaker", "language")
    check_values(corpus, "speaker", "NeMo's speakers are single words without |", _is_name)
    check_values(corpus, "language", "NeMo's languages are single words of letters and digits", _is_language)
    links = _read_links(corpus)
    fields = ["target_codes", *(name for name in _LINKS if links[name])]
    before: dict[str, tuple[int, TokenClip]] = {}
    with write_shar(corpus, folder, *fields) as write:
        for number, clip in enumerate(corpus):
            recent = dict([before[speaker]] if (speaker := str(clip.columns["speaker"])) in before else [])
            codes = {
                name: recent.get(linked[number]) or corpus[linked[number]]
                for name, linked in links.items()
                if number in linked
            }
            write(with_codes(_to_cut(clip, corpus, dataset), corpus, target_codes=clip, **codes))
            before[speaker] = (number, clip)
    return sorted(folder.iterdir())


def _to_cut(clip: TokenClip, corpus: TokenCorpus, dataset: str) -> MonoCut:
    known = clip.columns
    speaker = f"| Language:{known['language']} Dataset:{dataset} Speaker:{known['speaker']} |"
    supervision = {"text": one_line(known["text"]), "language": known["language"], "speaker": speaker}
    normalized = one_line(known.get("normalized_text") or known["text"])
    return to_cut(clip, corpus, supervision, {"lang": known["language"]}, normalized_text=normalized)


def _read_links(corpus: TokenCorpus) -> dict[str, dict[int, int]]:
    """By field, which clip has the codes of which other, by their numbers.

    Raises:
        CorpusError: ids that are no clips, all of which it names.
    """
    links: dict[str, dict[int, int]] = {name: {} for name in _LINKS}
    before: dict[str, int] = {}
    for number, facts in enumerate(corpus.facts("speaker")):
        speaker = str(facts["speaker"])
        if speaker in before:
            links["context_codes"][number] = before[speaker]
            links["context_codes"].setdefault(before[speaker], number)
        before[speaker] = number
    named = {field: column for field, column in _LINKS.items() if column in corpus.run.columns}
    if named:
        numbers = {name: number for number, name in enumerate(corpus.ids())}
        for field, column in named.items():
            others = [(number, facts[column]) for number, facts in enumerate(corpus.facts(column)) if facts[column]]
            if missing := sorted({other for _, other in others if other not in numbers}):
                raise CorpusError(f"the column {column} names clips that are not in this corpus: {join_names(missing)}")
            links[field] |= {number: numbers[other] for number, other in others}
    return links


def _is_name(text: str) -> bool:
    return is_word(text) and "|" not in text


def _is_language(text: str) -> bool:
    # what NeMo's regular expression takes, \w+
    return text.replace("_", "a").isalnum()
