"""Conversations with speech in the assistant's turn, as tokens of text, for LLaMA-Factory, ms-swift and TRL."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from semtok.corpus.exporters.exporter import check_columns, find_recordings, join_names, named_after, new_folder
from semtok.corpus.exporters.vocabulary import FILE, vocabulary_of
from semtok.corpus.plan import id_hash
from semtok.corpus.reading import TokenClip, TokenCorpus
from semtok.errors import CorpusError
from semtok.language.vocabulary import UnitVocabulary

_SPEECH, _AUDIO = "speech", "audio"
_AUDIO_TAG = "<audio>"
_ROLES = {"user": "human", "assistant": "gpt"}
INSTRUCTIONS = ("Say this: {text}", "Read this aloud: {text}", "Speak the following text: {text}")


def export_chat(
    corpus: TokenCorpus,
    folder: Path,
    *,
    vocabulary: Path | None = None,
    instructions: Sequence[str] = INSTRUCTIONS,
    answer: str = "{speech}",
) -> list[Path]:
    """Writes a conversation of two turns for each clip, in two forms: `messages.jsonl` with `role` and `content`, and
    `sharegpt.jsonl` with `from` and `value`; both with `audios`. `dataset_info.json` describes them to LLaMA-Factory,
    named after the folder, and `vocabulary.json` is the `UnitVocabulary` that the text model is extended by.

    Args:
        corpus: of the tokens.
        folder: a new one.
        vocabulary: a file that `UnitVocabulary.save` wrote; by default of all rows.
        instructions: templates of the user's turn, of which a clip has one, the same each time. `{speech}` are the
            tokens of the clip, `{audio}` is a recording as input, of the path in a column `audio` or else the clip's
            own, and any other field is a column.
        answer: template of the assistant's turn, without `{audio}`.

    Returns:
        What was written.

    Raises:
        CorpusError: templates with fields that are no columns; clips without a value there, or with a value that has
            the name of a token in it; recordings that are not there, or of which clips are parts; as `vocabulary_of`.
    """
    name = named_after(folder, "LLaMA-Factory")
    units = vocabulary_of(corpus, vocabulary)
    fields = {field for template in (*instructions, answer) for field in _fields(template)}
    if not instructions or _AUDIO in _fields(answer):
        raise CorpusError("chat needs at least one instruction, and takes recordings in the user's turn only")
    columns = sorted(fields - {_SPEECH, _AUDIO})
    if _AUDIO in fields and _AUDIO in corpus.run.columns:
        columns.append(_AUDIO)
    check_columns(corpus, "chat", *columns)
    _check_texts(corpus, [column for column in columns if column != _AUDIO], units)
    root = find_recordings(corpus, "chat") if _AUDIO in fields and _AUDIO not in columns else Path()
    files = ["messages.jsonl", "sharegpt.jsonl"]
    with new_folder(folder) as aside:
        with (
            (aside / files[0]).open("w", encoding="utf-8") as messages,
            (aside / files[1]).open("w", encoding="utf-8") as sharegpt,
        ):
            for clip in corpus:
                recording = str(clip.columns[_AUDIO] if _AUDIO in columns else root / clip.path)
                values = {**clip.columns, _SPEECH: speech_text(clip, units), _AUDIO: _AUDIO_TAG}
                instruction = instructions[id_hash(clip.id) % len(instructions)]
                turns = {"user": instruction.format_map(values), "assistant": answer.format_map(values)}
                audios = {"audios": [recording] * _fields(instruction).count(_AUDIO)} if _AUDIO in fields else {}
                roles = [{"role": role, "content": content} for role, content in turns.items()]
                _write(messages, {"messages": roles, **audios})
                speakers = [{"from": _ROLES[role], "value": content} for role, content in turns.items()]
                _write(sharegpt, {"conversations": speakers, **audios})
        units.save(aside / FILE)
        info = _describe(name, files, has_audio=_AUDIO in fields)
        (aside / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    return [folder / file for file in (*files, "dataset_info.json", FILE)]


def speech_text(clip: TokenClip, vocabulary: UnitVocabulary) -> str:
    """The tokens of a clip by their names: `<|begin_of_speech|><|s_12|>...<|end_of_speech|>`."""
    (ids,) = vocabulary.to_ids(clip.tokens)
    return "".join(vocabulary.names[number - vocabulary.first_id] for number in ids.tolist())


def _fields(template: str) -> list[str]:
    """The fields of a template; `CorpusError` for one that is malformed."""
    try:
        return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise CorpusError(f"template {template!r} is malformed: {error}") from error


def _check_texts(corpus: TokenCorpus, columns: Iterable[str], vocabulary: UnitVocabulary) -> None:
    """Raises `CorpusError`, which names the clips, for texts in which a reader would see a token of speech or audio."""
    tokens = re.compile("|".join(map(re.escape, sorted((*vocabulary.names, _AUDIO_TAG), key=len, reverse=True))))
    wrong = [
        facts["id"]
        for facts in corpus.facts("id", *columns)
        if any(tokens.search(str(facts[column])) for column in columns)
    ]
    if wrong:
        raise CorpusError(f"the texts of these clips have names of tokens in them: {join_names(wrong)}; take them out")


def _write(file: TextIO, record: dict[str, Any]) -> None:
    file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _describe(name: str, files: Sequence[str], *, has_audio: bool) -> dict[str, Any]:
    """The entries of LLaMA-Factory's `dataset_info.json`: one for each file."""
    messages, sharegpt = files
    audios = {"audios": "audios"} if has_audio else {}
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    return {
        name: {
            "file_name": messages,
            "formatting": "sharegpt",
            "columns": {"messages": "messages", **audios},
            "tags": tags,
        },
        f"{name}_sharegpt": {
            "file_name": sharegpt,
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", **audios},
        },
    }
