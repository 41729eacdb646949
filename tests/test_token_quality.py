"""What rows of tokens say of phones: alignments that are read or refused, frames that are counted."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from checkpoints import CLIPS

from semtok import load_audio
from semtok.errors import AudioError, SemtokError
from semtok.evaluation import evaluate_tokens, write_token_report
from semtok.evaluation.alignments import Alignment, read_alignments


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio" / "deep"
    folder.mkdir(parents=True)
    for clip in CLIPS[:2]:
        shutil.copy(clip, folder)
    return tmp_path / "audio"


def write_alignments(path, phones_by_clip):
    path.write_text(
        "".join(json.dumps({"path": clip, "phones": phones}) + "\n" for clip, phones in phones_by_clip.items())
    )
    return path


def phones_of(codes, hop=320, field=400, sample_rate=16000):
    """A phone a frame, named by its code; its middle is that of what the encoder sees for the frame."""
    first = (field - hop) / 2 / sample_rate
    return [[f"P{code:02}", first + frame * hop / sample_rate, hop / sample_rate] for frame, code in enumerate(codes)]


def test_codes_of_one_row_as_phones_are_fully_told_by_it(tokenizer, audio, tmp_path):
    rows = {f"deep/{clip.name}": tokenizer.encode(load_audio(clip)).codes[0] for clip in CLIPS[:2]}
    file = write_alignments(
        tmp_path / "phones.jsonl", {clip: phones_of(codes[1].tolist()) for clip, codes in rows.items()}
    )
    result = evaluate_tokens(tokenizer, audio, file)
    assert [(row.name, row.codebook_size) for row in result.rows] == [("1", 40), ("3", 30), ("4", 12)]
    assert result.frames == sum(codes.shape[1] for codes in rows.values())
    assert (result.clips, result.notes) == (2, ())
    used = len(set(np.concatenate([codes[1] for codes in rows.values()]).tolist()))
    assert result.rows[1].used == used == len(result.phones)
    told, other = result.rows[1].scores, result.rows[0].scores
    assert told["pnmi"] == pytest.approx(1) and told["phone_purity"] == told["cluster_purity"] == 1
    assert 0 < other["pnmi"] < 1 and other["pnmi_bias"] > 0


def test_the_centre_of_a_frame_decides_and_frames_in_no_phone_are_left_out(tokenizer, audio, tmp_path):
    # the first frames see samples 0 to 400, 320 to 720 and 640 to 1040: their centres are at 12.5, 32.5 and 52.5 ms
    file = write_alignments(audio / "phones.jsonl", {f"deep/{CLIPS[0].name}": [["A", 0.0, 0.032], ["B", 0.05, 0.002]]})
    result = evaluate_tokens(tokenizer, audio, file)
    assert (result.frames, result.phones) == (1, ("A", "B"))
    assert result.notes == ("1 of 2 clips have no alignment and are left out.",)


def test_labels():
    alignment = Alignment(("B", "A"), np.array([1.0, 2.0]), np.array([1.5, 3.0]))
    assert alignment.labels(np.array([0.5, 1.0, 1.5, 2.0, 2.9, 3.0]), ["A", "B"]).tolist() == [-1, 1, -1, 0, 0, -1]
    assert Alignment((), np.zeros(0), np.zeros(0)).labels(np.array([0.5]), ["A"]).tolist() == [-1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "JSONDecodeError"),
        ("[1]", "TypeError"),
        ('{"phones": []}', "KeyError('path')"),
        ('{"path": "a.flac"}', "KeyError('phones')"),
        ('{"path": "a.flac", "phones": [["A", 0.1]]}', "ValueError"),
        ('{"path": "a.flac", "phones": [["A", "soon", 0.1]]}', "ValueError"),
        ('{"path": "a.flac", "phones": [["A", 0.1, -1]]}', "negative duration"),
        ('{"path": "a.flac", "phones": [["A", 0.2, 0.1], ["B", 0.1, 0.1]]}', "out of order"),
        ('{"path": "a.flac", "phones": [["A", NaN, 0.1]]}', "out of order"),
    ],
)
def test_wrong_alignments_are_errors_that_name_the_line(tmp_path, line, reason):
    file = tmp_path / "phones.jsonl"
    file.write_text(f'{{"path": "b.flac", "phones": []}}\n\n{line}\n')
    with pytest.raises(SemtokError, match=rf"phones\.jsonl, line 3, is no alignment \(.*{re.escape(reason)}") as error:
        read_alignments(file)
    assert '[["AH", 0.51, 0.07], ...]' in str(error.value)


def test_alignments_of_other_clips_are_an_error(tokenizer, audio, tmp_path):
    file = write_alignments(tmp_path / "phones.jsonl", {"other/a.flac": [["A", 0, 1]]})
    with pytest.raises(SemtokError, match=r"names no clip of .*audio: .* the first of 1 is 'other/a\.flac', a clip is"):
        evaluate_tokens(tokenizer, audio, file)
    with pytest.raises(SemtokError, match="cannot read the alignments"):
        evaluate_tokens(tokenizer, audio, tmp_path / "none.jsonl")
    (audio / "deep" / CLIPS[0].name).write_bytes(b"no audio")
    write_alignments(file, {f"deep/{CLIPS[0].name}": [["A", 0, 1]]})
    with pytest.raises(AudioError, match=CLIPS[0].name):
        evaluate_tokens(tokenizer, audio, file)


def test_the_report_has_a_row_a_row_of_codes(tokenizer, audio, tmp_path):
    file = write_alignments(tmp_path / "phones.jsonl", {f"deep/{CLIPS[0].name}": [["A", 0, 0.5], ["B", 0.5, 1.5]]})
    result = evaluate_tokens(tokenizer, audio, file)
    markdown, data = write_token_report(result, tmp_path / "report", checkpoint="mine", command="semtok evaluate")
    text = markdown.read_text(encoding="utf-8")
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert table[0] == ["row", "K", "used", "PNMI ↑", "its bias ↓", "phone purity ↑", "cluster purity ↑"]
    assert [row[:2] for row in table[2:]] == [["1", "40"], ["3", "30"], ["4", "12"]]
    assert table[2][3] == f"{result.rows[0].scores['pnmi']:.3f}"
    assert "1 of 2 clips have no alignment" in text and f"{result.frames} frames of 1 aligned clips, 2 phones" in text
    facts = json.loads(data.read_text(encoding="utf-8"))
    assert facts["rows"][0]["scores"] == result.rows[0].scores
    assert (facts["fingerprint"], facts["frames"]) == (tokenizer.fingerprint, result.frames)


def test_from_the_command_line(run, istft_folder, audio, tmp_path):
    file = write_alignments(tmp_path / "phones.jsonl", {f"deep/{CLIPS[0].name}": [["A", 0, 0.5], ["B", 0.5, 1.5]]})
    arguments = ("evaluate", "tokens", "-c", istft_folder, "--audio", audio, "--alignments", file, "--layers", "3,1")
    code, out, err = run(*arguments, "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    assert re.search(r"\| 3 \| 30 \|.*\n\| 1 \| 40 \|", out) and "tokens.json" in out
    assert run(*arguments[:6], "--alignments", CLIPS[0], "-o", tmp_path / "no")[0] == 1
    assert not (tmp_path / "no").exists()
