"""`semtok study`, `select` and `importance`: the report, what is reused, planted answers, and bad input."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import shutil
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest
import soxr
import torch
from checkpoints import make_vocoder
from encoders import tiny_model
from helpers import CLIPS, copy_clips, refuses, write_csv
from task_models import make_model

from semtok import Tokenizer, Vocoder, load_audio, save_audio
from semtok.analysis import Study, Table, compare, fit_tokenizers, recommend, stability, write_report
from semtok.analysis.clips import read_tiers
from semtok.analysis.stability import CONDITIONS, Scene
from semtok.checkpoints.hub import Repository
from semtok.cli import main
from semtok.codebooks.codebooks import Codebooks
from semtok.codebooks.segmentation import Segmentation
from semtok.downstream.text import edit_distance
from semtok.errors import AudioError, SemtokError
from semtok.evaluation.alignments import frame_times
from semtok.language import spans
from semtok.speech.reading import Speech


@pytest.fixture(scope="module")
def audio(tmp_path_factory, tokenizer):
    """Twelve clips of four speakers. The phones are the codes of layer 4; `mood` is the speaker's, once it is rare."""
    folder = tmp_path_factory.mktemp("audio")
    rows, lines = [], []
    for number in range(12):
        wav = load_audio(CLIPS[number % 3])[number // 3 * 6000 :][:20000]
        name = f"{number}.wav"
        save_audio(folder / name, wav)
        codes = tokenizer.encode(folder / name, layers=[4]).codes[0, 0].tolist()
        times = frame_times(tokenizer.encoder.framing, len(codes))
        lines.append({"path": name, "phones": [[f"P{c}", t - 0.01, 0.02] for c, t in zip(codes, times, strict=True)]})
        mood = "rare" if number == 0 else "calm" if number % 2 else "glad"
        rows.append({"path": name, "speaker": f"s{number % 4}", "mood": mood, "session": f"x{number}"})
    write_csv(folder / "manifest.csv", rows)
    (folder / "phones.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.fixture(scope="module")
def study(audio, tokenizer, istft_folder, tmp_path_factory):
    return Study(
        tokenizer,
        audio,
        tmp_path_factory.mktemp("study") / "report",
        alignments=audio / "phones.jsonl",
        columns=["mood", "session"],
        vocoder=Vocoder.from_pretrained(istft_folder),
    )


@pytest.fixture(scope="module")
def paths(study, audio, tokenizer, istft_folder, tmp_path_factory):
    """Of a report with everything in it, made by the command: the page, its JSON and its CSVs."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(istft_folder, folder / "R&D")
    weighted_model(tokenizer).save_pretrained(folder / "asr")
    arguments = ("--alignments", audio / "phones.jsonl", "--label", "mood", "--label", "session", "-o", study.folder)
    with pytest.raises(SystemExit) as finished:
        main(list(map(str, ("study", folder / "R&D", "--audio", audio, *arguments, "--model", folder / "asr"))))
    assert finished.value.code == 0
    return [study.folder / "study.html", study.folder / "study.json", *study.folder.glob("*.csv")]


def weighted_model(tokenizer):
    model = make_model("lstm", tokenizer, "mine")
    model.config = dataclasses.replace(model.config, layer_importance=(0.2, 0.3, 0.5))
    return model


def test_the_codes_are_those_of_the_tokenizer(study, tokenizer):
    tokens = tokenizer.encode([clip.path for clip in study.speech.clips])
    lengths = tokens.lengths.tolist()
    expected = [codes[:, :length] for codes, length in zip(tokens.codes.numpy(), lengths, strict=True)]
    assert np.array_equal(study.frames.codes, np.concatenate(expected, axis=1))
    assert study.frames.lengths.tolist() == lengths
    features = tokenizer.features([clip.path for clip in study.speech.clips], layers=[4])[:, 0]
    points = np.concatenate([row[:length] for row, length in zip(features.numpy(), lengths, strict=True)])
    errors = points - tokenizer.centroids(4)[study.frames.codes[2]].numpy()
    assert study.frames.unexplained[2] == pytest.approx(
        np.square(errors).sum() / (points.var(axis=0).sum() * len(points))
    )


def test_the_layer_whose_codes_are_the_phones_is_recommended_for_content(study):
    table = study.selection("content")
    assert table.rows[0]["layers"] == [4] and table.rows[0]["knee"]
    assert recommend(table, "content").startswith("For content: layer 4, ")
    assert "layers" in recommend(table, "content", count=2)
    (row,) = study.information().of(label="phones", row="4")
    assert row["normalized"] == pytest.approx(1) and row["purity"] == 1
    shares = {row["layer"]: row["shapley"] for row in study.shares().of(label="phones")}
    assert max(shares, key=shares.get) == 4


def test_gain_changes_no_token_of_an_encoder_that_normalises_its_input(study):
    for row in study.stability().rows:
        assert row["gain"] < 0.05 < row["white 20 dB"] < row["white 5 dB"]


def test_what_is_recommended_says_how_sure_it_is(study):
    table = study.selection("content")
    assert all(row["low"] <= row["quality"] <= row["high"] for row in table.rows)
    row = table.rows[0]
    assert f"bits of phones a frame ({row['low']:.3g} to {row['high']:.3g}) at" in recommend(table, "content")


def test_nothing_is_recommended_on_nothing():
    row = {"count": 1, "layers": [3], "bitrate": 500.0, "unit": "bits of speaker a frame", "knee": True}
    for measured in ({"quality": 0.005, "low": 0.003, "high": 0.007}, {"quality": 0.4, "low": -0.1, "high": 0.9}):
        assert recommend(Table([row | measured]), "speaker") == "For speaker: no layer tells anything of it here."


def test_the_report_is_one_page_with_all_numbers_beside_it(study, paths):
    page, data, *tables = paths
    text = page.read_text(encoding="utf-8")
    assert "R&amp;D</h1>" in text and "http" not in text.replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")
    facts = json.loads(data.read_text(encoding="utf-8"))
    assert (facts["fingerprint"], facts["clips"]) == (study.tokenizer.fingerprint, 12)
    if study.vocoder is not None:
        assert text.count("data:audio/ogg;base64,") >= 6
    assert len(facts["summary"]) > 4 and all(line.split(":")[0] in text for line in facts["summary"])
    names = {path.stem for path in tables}
    assert names >= {
        "selection",
        "codes",
        "units",
        "information",
        "probes",
        "shares",
        "between",
        "stability",
        "abx",
        "importance",
    }
    for path in tables:
        with path.open(newline="") as file:
            assert len(list(csv.DictReader(file))) == len(facts["tables"][path.stem]["rows"])
    for figure in text.split("<figure>")[1:]:
        ElementTree.fromstring(figure[figure.index("<svg") : figure.index("</svg>") + 6])
    assert text.count("<figure>") == len(tables)


def test_what_is_missing_is_said_and_the_rest_goes_on(study, paths):
    text = paths[0].read_text(encoding="utf-8")
    assert "1 of 3 mood occur in one clip alone" in text
    assert "Without session: session have 12 different labels, 0 of them in two clips" in text
    assert "Not for session: session have 12" in text


def test_a_second_study_reuses_the_first(study, paths, audio, tokenizer, monkeypatch):
    """Whether the first was made from Python or by the command."""
    again = Study(
        tokenizer,
        audio,
        study.folder,
        alignments=audio / "phones.jsonl",
        columns=["mood", "session"],
        vocoder=study.vocoder,
    )
    monkeypatch.setattr(tokenizer.encoder, "forward", None)
    assert again.abx() == study.abx() and again.stability() == study.stability()
    assert again.selection("resynthesis") == study.selection("resynthesis")
    assert np.array_equal(again.frames.codes, study.frames.codes)


def test_another_vocoder_of_the_tokenizer_is_judged_anew(tokenizer, tmp_path):
    (tmp_path / "audio").mkdir()
    for number in range(2):  # of one alone there is no interval, and NaN equals nothing
        save_audio(tmp_path / "audio" / f"{number}.wav", load_audio(CLIPS[number])[:16000])
    tables = [
        Study(
            tokenizer, tmp_path / "audio", tmp_path / "report", vocoder=make_vocoder(tokenizer, "istft", seed=seed)
        ).selection("resynthesis")
        for seed in (0, 1, 0)
    ]
    assert tables[0] == tables[2] and tables[0].rows[0]["quality"] != tables[1].rows[0]["quality"]


def test_other_labels_are_studied_anew(study, audio, tokenizer, tmp_path):
    for name in ("manifest.csv", *(f"{number}.wav" for number in range(12))):
        shutil.copy(audio / name, tmp_path)
    folder = shutil.copytree(study.folder, tmp_path / "report")
    other = Study(tokenizer, tmp_path, folder)
    assert other.information().of(label="phones") == []
    assert other.abx().notes == ["No clip has phones: give them by --alignments, or as a column of the manifest."]
    assert {row["label"] for row in other.information().rows} == {"speaker"}
    with refuses(SemtokError, "no vocoder belongs"):
        other.selection("resynthesis")
    with refuses(SemtokError, "no purpose 'mood'", "resynthesis, content, speaker"):
        other.selection("mood")


def test_bad_input(tokenizer, tmp_path, audio):
    folder = copy_clips(tmp_path / "audio")
    with refuses(AudioError, "'emotion'", "no columns"):
        Study(tokenizer, folder, tmp_path / "a", columns=["emotion"])
    with refuses(SemtokError, "holds no study"):
        Study(tokenizer, folder, folder)
    with refuses(AudioError, "there is no folder"):
        Study(tokenizer, tmp_path / "a", tmp_path / "b")
    with refuses(SemtokError, "names no clip"):
        Study(tokenizer, folder, tmp_path / "a", alignments=audio / "phones.jsonl")
    (folder / "manifest.jsonl").write_text(json.dumps({"path": CLIPS[0].name, "phones": "soon"}))
    with refuses(SemtokError, "the column phones of", CLIPS[0].name):
        Study(tokenizer, folder, tmp_path / "a")


def test_clips_that_are_broken_or_too_short_are_left_out(tokenizer, tmp_path):
    folder = copy_clips(tmp_path / "audio")
    save_audio(folder / "short.wav", load_audio(CLIPS[0])[:300])
    (folder / "broken.wav").write_bytes(b"no audio")
    study = Study(tokenizer, folder, tmp_path / "report")
    assert len(study.frames.lengths) == 3
    notes = " ".join(study.codes().notes)
    assert "short.wav: too short: 300 samples" in notes and "broken.wav" in notes
    for clip in CLIPS:
        (folder / clip.name).unlink()
    with refuses(AudioError, "none of the clips can be encoded"):
        _ = Study(tokenizer, folder, tmp_path / "other").frames


def test_alignments_of_too_little_speech_leave_their_sections_out(tokenizer, tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    save_audio(folder / "a.wav", load_audio(CLIPS[0])[:40000])
    (folder / "manifest.jsonl").write_text(
        json.dumps({"path": "a.wav", "phones": [["A", 0, 0.4], ["B", 0.4, 0.7], ["A", 1.1, 0.3], ["B", 1.4, 1.1]]})
    )
    study = Study(tokenizer, folder, tmp_path / "report")
    assert "Without phones: phones of 3 clips, or seconds of few clips" in study.probes().notes[0]
    assert study.information().rows == study.shares().rows == []
    with refuses(SemtokError, "phones of 3 clips"):
        study.selection("content")


@pytest.mark.parametrize(
    "segmentation",
    [Segmentation(penalty=0.1), Segmentation(boundary_layer=3, spherical=True)],
    ids=["penalty", "peaks"],
)
@pytest.mark.filterwarnings("ignore:a clip of")
def test_units_of_segments_are_fewer_and_begin_where_the_codes_change(tokenizer, tmp_path, segmentation):
    folder = copy_clips(tmp_path / "audio")
    lines = []
    for clip in CLIPS:
        (units,) = spans(tokenizer.encode(clip, layers=[4]))
        # What a frame is made of has its middle 2.5 ms after that of its 20 ms.
        intervals = zip(
            units.codes[0].tolist(), units.starts.tolist(), (units.ends - units.starts).tolist(), strict=True
        )
        lines.append({"path": clip.name, "phones": [[f"P{code}", start + 0.0025, of] for code, start, of in intervals]})
    (folder / "phones.jsonl").write_text("\n".join(map(json.dumps, lines)))
    of_frames = Study(tokenizer, folder, tmp_path / "frames", alignments=folder / "phones.jsonl")
    (frames,) = of_frames.units().of(row="4")
    assert frames["phones_f1"] == frames["phones_r_value"] == 1
    segmented = tokenizer.segmented(4, segmentation)
    study = Study(segmented, folder, tmp_path / "segments", alignments=folder / "phones.jsonl")
    (segments,) = study.units().rows
    assert 0 < segments["units_per_second"] < frames["units_per_second"]
    assert 0 < segments["phones_f1"] < 1 and segments["phones_recall"] < 1
    assert np.isnan(study.codes().rows[0]["unexplained"]) == segmentation.spherical
    clip = study.frames.clips[0]
    expected = segmented.encode(study.speech.clips[clip].path).codes[0].numpy()
    assert np.array_equal(study.frames.codes[:, : study.frames.lengths[0]], expected)
    write_report(study, checkpoint="segments", command="semtok study")


def test_units_need_no_alignments(tokenizer, tmp_path):
    study = Study(tokenizer, copy_clips(tmp_path / "audio"), tmp_path / "report")
    assert list(study.units().rows[0]) == ["row", "units_per_second", "bits_per_second"]
    assert "No clip has phones or words" in study.units().notes[0]


def test_long_recordings_have_the_tokens_of_encode(tokenizer, tmp_path):
    folder = copy_clips(tmp_path / "audio")
    save_audio(folder / "a-long.wav", load_audio(CLIPS[0]).repeat(15))
    frames = Study(tokenizer, folder, tmp_path / "report").frames
    tokens = tokenizer.encode(folder / "a-long.wav")
    assert tokens.lengths.item() / tokenizer.frame_rate > 40, "more than one window"
    assert frames.clips.tolist() == [0, 1, 2, 3] and frames.lengths[0] == tokens.lengths.item()
    assert np.array_equal(frames.codes[:, : frames.lengths[0]], tokens.codes[0].numpy())
    assert np.diff(frames.times[: frames.lengths[0]]) == pytest.approx(1 / tokenizer.frame_rate)
    assert len(frames.mels) == frames.features.shape[1] == len(frames.clip_of)


def test_one_speaker_and_one_layer(tokenizer, tmp_path, istft_folder):
    folder = copy_clips(tmp_path / "audio")
    (folder / "manifest.csv").write_text("path,speaker\n" + "".join(f"{clip.name},anna\n" for clip in CLIPS))
    one = Study(Tokenizer.from_pretrained(istft_folder, layers=[3]), folder, tmp_path / "report")
    assert one.information().notes[-1].startswith("Without speaker: speaker have 1 different labels")
    assert one.shares().notes == ["There is one layer only."]
    page, data, *_ = write_report(one, checkpoint="one", command="", purposes=["content"])
    assert page.exists()
    (note,) = json.loads(data.read_text())["tables"]["selection"]["notes"]
    assert note.startswith("Not for content: no clip has phones")


def test_alignments_may_be_a_column(tmp_path):
    shutil.copy(CLIPS[0], tmp_path)
    words = [["HELLO", 0.1, 0.4], ["WORLD", 0.5, 0.4]]
    (tmp_path / "manifest.csv").write_text(f'path,words\n{CLIPS[0].name},"{json.dumps(words)}"\n'.replace('"H', '""H'))
    text = json.dumps(words).replace('"', '""')
    (tmp_path / "manifest.csv").write_text(f'path,words\n{CLIPS[0].name},"{text}"\n')
    tiers = read_tiers(Speech([tmp_path]), tmp_path)
    assert tiers.keys() == {"words"} and tiers["words"][0].phones == ("HELLO", "WORLD")


def test_selection_from_the_command_line(run, istft_folder, audio, tmp_path):
    select = ("select", istft_folder, "--audio", audio, "--alignments", audio / "phones.jsonl", "--for", "content")
    code, out, _ = run(*select, "-o", tmp_path / "report", "--layers", 1)
    assert code == 0 and out.startswith("For content: layer 4, ")
    assert run(*select, "-o", tmp_path / "report", "--layers", 9)[0] == 2
    code, _, err = run(*select, "--codebook-size", 100)
    assert code == 2 and "has codebooks" in " ".join(err.split())
    assert run(*select, "--codebook-size", "100,100")[0] == 2
    code, _, err = run("study", "nobody/nothing", "--audio", audio, "-o", tmp_path / "no", "--local-files-only")
    assert code == 1 and "nobody/nothing" in err and not (tmp_path / "no").exists()


def test_importance_from_the_command_line(run, tokenizer, tmp_path):
    weighted_model(tokenizer).save_pretrained(tmp_path / "model")
    code, out, _ = run("importance", tmp_path / "model")
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and [line[1:] for line in lines] == [
        ["asr", "layer 1", "0.200"],
        ["asr", "layer 3", "0.300"],
        ["asr", "layer 4", "0.500"],
    ]


def test_any_encoder_is_studied_with_a_k_means_on_every_layer(run, tmp_path):
    folder = copy_clips(tmp_path / "audio")
    tiny_model("wavlm-base").save_pretrained(tmp_path / "encoder")
    arguments = ("select", tmp_path / "encoder", "--audio", folder, "-o", tmp_path / "report", "--codebook-size", 16)
    code, _, err = run(*arguments, "--for", "speaker")
    assert code == 1 and "preprocessor_config.json" in err and "--no-normalize" in err
    code, _, err = run(*arguments, "--for", "resynthesis", "--normalize")
    assert code == 1 and "no vocoder belongs" in err
    (fitted,) = (tmp_path / "report" / "study-cache").glob("tokenizer-*")
    tokenizer = Tokenizer.from_pretrained(fitted)
    assert tokenizer.layers == (1, 2, 3) and tokenizer.codebook_sizes == (16,) * 3
    study = Study(tokenizer, folder, tmp_path / "report")
    for row in study.codes().rows:
        assert row["used"] == 1 and 0 < row["unexplained"] < 0.9
    code, _, err = run(*arguments[:-1], 10_000, "--for", "speaker", "--normalize")
    assert code == 1 and "cannot make 10000 clusters" in err


def test_several_codebook_sizes_stand_beside_each_other(run, audio, tmp_path):
    tiny_model("hubert-base").save_pretrained(tmp_path / "encoder")
    subject = (tmp_path / "encoder", "--audio", audio, "--no-normalize", "--codebook-size", "4,16")
    report = tmp_path / "report"
    assert run("study", *subject, "--layers", 1, "--for", "speaker", "-o", report)[0] == 0
    text, facts = (report / "study.html").read_text(), json.loads((report / "study.json").read_text())
    tables = facts["tables"]
    assert facts["codebook_sizes"] == [4, 16]
    for name in ("codes", "stability", "selection", "information", "probes"):
        rows = tables[name]["rows"]
        assert [row["codebook_size"] for row in rows] == [4] * (len(rows) // 2) + [16] * (len(rows) // 2), name
        assert "4" in (report / f"{name}.csv").read_text().split("\n")[1]
    assert "codebook_size" not in tables["similarity"]["rows"][0], "features have none"
    bitrates = [row["bitrate"] for row in tables["selection"]["rows"]]
    assert bitrates == [100, 200], "50 Hz of 2 and of 4 bits"
    assert text.count("<h3>K = 4</h3>") == text.count("<h3>K = 16</h3>") > 4
    assert sum(line.startswith("K = 16: ") for line in facts["summary"]) > 2
    for figure in text.split("<figure>")[1:]:
        assert figure.count("<svg") == figure.count("</svg>") >= 1


def test_the_knee_of_several_codebook_sizes_is_that_of_all_their_choices():
    def table(*qualities, bits):
        rows = [
            {"count": count, "layers": list(range(count)), "quality": quality, "bitrate": count * bits, "unit": "bits"}
            for count, quality in enumerate(qualities, 1)
        ]
        return Table([row | {"knee": False} for row in rows])

    small, large = table(0.9, 1.2, 1.25, bits=100), table(2.0, 2.1, 2.2, bits=300)
    both = compare({4: small, 16: large})
    assert recommend(both, "mood") == (
        "For mood: layer 0 with K = 16, 2 bits at 0.30 kbit/s: 91% of the best (layers 0, 1, 2 with K = 16) "
        "at 33% of its bitrate."
    )
    # three layers at K = 16 cost three times as much as at K = 4, and tell less than twice as much
    assert recommend(both, "mood", count=3).startswith("For mood: layers 0, 1, 2 with K = 4, 1.25 bits")
    assert recommend(compare({4: large, 16: small}), "mood").startswith("For mood: layer 0 with K = 4, 2 bits")


def test_more_features_than_memory_holds_are_clustered_in_parts(tmp_path, monkeypatch):
    folder = copy_clips(tmp_path / "audio")
    tiny_model("hubert-base").save_pretrained(tmp_path / "encoder")
    source = Repository("mine", tmp_path / "encoder")
    monkeypatch.setattr("semtok.analysis.fitting._MEMORY_BYTES", 1)
    (tokenizer,) = fit_tokenizers(
        source,
        folder,
        tmp_path / "cache",
        codebook_sizes=np.array([8]),
        layers=np.array([2]),
        normalize=False,
        seed=np.int64(0),
    )
    (row,) = Study(tokenizer, folder, tmp_path / "report").codes().rows
    assert row["used"] == 1 and row["unexplained"] < 0.9


def test_of_faster_speech_the_runs_are_compared(study, tokenizer):
    """Frame by frame it would differ by the frames that it lacks alone."""
    wavs = [load_audio(clip.path).numpy() for clip in study.speech.clips]
    edits, runs = np.zeros(3), np.zeros(3)
    for wav in wavs:
        fast = soxr.resample(wav, 16000 * 1.1, 16000)
        slow, fast = (
            [[code for code, _ in itertools.groupby(row)] for row in tokenizer.encode(one).codes[0].tolist()]
            for one in (wav, fast)
        )
        edits += [edit_distance(*rows) for rows in zip(slow, fast, strict=True)]
        runs += [len(row) for row in slow]
    assert stability(tokenizer, wavs)["speed"] == pytest.approx((edits / runs).tolist())


class ListeningTokenizer:
    """One row: a unit for each 100 samples, the sign of their sum, as if it were an encoder's."""

    sample_rate, hop_length = 16000, 320
    codebooks = Codebooks({1: [2]})

    def encode(self, waveforms):
        rows = [
            torch.from_numpy((np.add.reduceat(wav, np.arange(0, len(wav), 100)) > 0).astype(int)) for wav in waveforms
        ]
        codes = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)[:, None]
        return SimpleNamespace(codes=codes, lengths=torch.tensor([len(row) for row in rows]))


def test_unit_edit_distance_of_units_known_by_hand():
    """Clean 0 1 0 1 0, in runs of five codes: the first 1 gone are two edits of five units; longer runs are none."""
    clean = np.repeat(np.tile([-1, 1], 3)[:5], 500).astype(np.float32)
    gone = clean.copy()
    gone[500:1000] = -1
    longer = np.repeat(clean, 2)
    conditions = {"same": clean, "longer": longer, "gone": gone}
    given = {name: (lambda speech, scene, wav=wav: wav) for name, wav in conditions.items()}
    assert stability(ListeningTokenizer(), [clean, clean], given) == {"same": [0.0], "longer": [0.0], "gone": [0.4]}


def test_conditions_are_the_same_each_time_and_as_loud_as_their_names():
    speech = load_audio(CLIPS[0]).numpy()
    others = [load_audio(path).numpy() for path in CLIPS[1:]]

    def apply(name, seed=0):
        return CONDITIONS[name](speech, Scene(others, 16000, 320, np.random.default_rng(seed)))

    for name in CONDITIONS:
        assert np.array_equal(apply(name), apply(name))
        if name.endswith("dB"):
            noise = apply(name) - speech
            snr = 10 * np.log10(np.mean(speech**2) / np.mean(noise**2))
            assert snr == pytest.approx(float(name.split()[1]), abs=0.05)
            assert not np.array_equal(apply(name), apply(name, seed=1))
    assert len(CONDITIONS) == 18


def test_one_clip_alone_has_no_babble(tokenizer):
    names = stability(tokenizer, [load_audio(CLIPS[0]).numpy()])
    assert "pink 5 dB" in names and not any(name.startswith("babble") for name in names)
