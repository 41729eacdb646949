"""Alignments: read, matched with clips, or refused; the times of frames, and their phones."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers import refuses

from semtok.errors import SemtokError
from semtok.evaluation.alignments import Alignment, frame_times, match_alignments, parse_alignment, read_alignments


def test_the_time_of_a_frame_is_the_centre_of_what_the_encoder_sees_for_it(tokenizer):
    # the first frames see samples 0 to 400, 320 to 720 and 640 to 1040
    assert frame_times(tokenizer.encoder.framing, 3).tolist() == pytest.approx([0.0125, 0.0325, 0.0525])


def test_labels():
    alignment = Alignment(("B", "A"), np.array([1.0, 2.0]), np.array([1.5, 3.0]))
    assert alignment.labels(np.array([0.5, 1.0, 1.5, 2.0, 2.9, 3.0]), ["A", "B"]).tolist() == [-1, 1, -1, 0, 0, -1]
    assert Alignment((), np.zeros(0), np.zeros(0)).labels(np.array([0.5]), ["A"]).tolist() == [-1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"phones": []}', "KeyError('path')"),
        ('{"path": "a.flac"}', "KeyError('phones')"),
        ('{"path": "a.flac", "phones": [["A", 0.1]]}', "ValueError"),
        ('{"path": "a.flac", "phones": [["A", "soon", 0.1]]}', "ValueError"),
        ('{"path": "a.flac", "phones": [["A", 0.1, -1]]}', "negative duration"),
        ('{"path": "a.flac", "phones": [["A", 0.2, 0.1], ["B", 0.1, 0.1]]}', "out of order"),
    ],
)
def test_wrong_alignments_are_errors_that_name_the_line(tmp_path, line, reason):
    file = tmp_path / "phones.jsonl"
    file.write_text(f'{{"path": "b.flac", "phones": []}}\n\n{line}\n')
    with pytest.raises(SemtokError, match=rf"phones\.jsonl, line 3, is no alignment \(.*{re.escape(reason)}") as error:
        read_alignments(file)
    assert '[["AH", 0.51, 0.07], ...]' in str(error.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [("{", "is not JSON"), ("[1]", "expected an object"), ('{"path": "a.flac", "phones": [["A", NaN, 0.1]]}', "NaN")],
)
def test_lines_that_are_no_entries_are_named(tmp_path, line, reason):
    file = tmp_path / "phones.jsonl"
    file.write_text(f'{{"path": "b.flac", "phones": []}}\n\n{line}\n')
    with refuses(SemtokError, f"line 3 of {file}", reason):
        read_alignments(file)


def test_alignments_of_other_clips_are_an_error(tmp_path):
    clip, file = tmp_path / "a.flac", tmp_path / "phones.jsonl"
    alignments = {"other/a.flac": parse_alignment([["A", 0, 1]])}
    with pytest.raises(SemtokError, match=r"names no clip of .*: .* the first of 1 is 'other/a\.flac', a clip is"):
        match_alignments(alignments, [clip], tmp_path, file)
    with pytest.raises(SemtokError, match=r"cannot read .*phones\.jsonl"):
        read_alignments(file)
    assert match_alignments({"a.flac": alignments["other/a.flac"]}, [clip], tmp_path, file).keys() == {clip}
