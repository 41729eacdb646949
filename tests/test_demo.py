"""What the page of `semtok demo` lets one hear and see, without the page; the page itself is in test_demo_page.py."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from checkpoints import make_tokenizer
from helpers import CLIPS, refuses

from semtok import Tokenizer, Vocoder, load_audio, save_audio
from semtok.errors import AudioError, CheckpointError, SemtokError, TextError

pytest.importorskip("gradio", reason="the extra demo is not installed")

import gradio
from gradio.utils import get_upload_folder
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from semtok.demo import app
from semtok.demo.app import _is_loopback
from semtok.demo.events import report_errors
from semtok.demo.guard import Guard
from semtok.demo.listening import RowBits, decoded_rows, excerpt, keep_stages, layer_weights, margins, row_bits
from semtok.demo.listening_tab import _hear
from semtok.demo.models import Checkpoint, Shelf
from semtok.demo.pictures import draw_weights, table_of_bits
from semtok.downstream import SpeechRecognizer


@pytest.fixture(scope="module")
def tiny():
    return Shelf("cpu").checkpoint("tiny")


@pytest.fixture(scope="module")
def tokens(tiny):
    return tiny.tokenizer.encode(CLIPS[0])


def test_fewer_stages_are_those_without_the_embeddings_of_the_others(tiny, tokens):
    vocoder = tiny.vocoder
    assert max(vocoder.codebooks.stages) > 1
    assert keep_stages(vocoder, max(vocoder.codebooks.stages)) is vocoder
    few = keep_stages(vocoder, 1)
    selector = vocoder.network.selector
    for layer, embedded in zip(vocoder.layers, few.network.selector.embed(tokens.codes).unbind(1), strict=True):
        row = vocoder.codebooks.rows[layer].start
        torch.testing.assert_close(embedded, selector.embeddings[row](tokens.codes[:, row]))
    assert not torch.equal(few.decode(tokens), vocoder.decode(tokens))
    assert any(table.weight.any() for table in selector.embeddings[1:])  # those of the shared vocoder are as before


def test_weights_are_those_of_the_selector_whatever_the_order(tiny, tokens):
    layers = [tiny.vocoder.layers[-1], tiny.vocoder.layers[0]]
    weights = layer_weights(tiny.vocoder, tokens, layers)
    assert weights.shape == (2, int(tokens.lengths))
    torch.testing.assert_close(weights.sum(0), torch.ones(weights.shape[1]))
    torch.testing.assert_close(layer_weights(tiny.vocoder, tokens, layers[::-1]), weights.flip(0))


def test_an_excerpt_lies_within_its_recording(tokens):
    frames = int(tokens.lengths)
    whole = excerpt(tokens, 0, 1000)
    assert (whole.start, whole.stop) == (0, frames)
    last = excerpt(tokens, 1000, 1)
    assert (last.start, last.stop) == (frames - 50, frames)
    assert excerpt(tokens, 0.5, 1).seconds == (0.5, 1.5)


def test_margins_of_an_excerpt_are_those_of_the_whole(tokenizer, tmp_path):
    wav = torch.cat([load_audio(path) for path in CLIPS])
    save_audio(tmp_path / "long.wav", wav)
    wav, tokens = load_audio(tmp_path / "long.wav"), tokenizer.encode(tmp_path / "long.wav")
    frames, expected = int(tokens.lengths), tokenizer.margins(tokenizer.features(wav))[0]
    whole = margins(tokenizer, tmp_path / "long.wav", excerpt(tokens, 0, 100), frames)
    torch.testing.assert_close(whole, expected, atol=1e-4, rtol=0)
    part = excerpt(tokens, 5.5, 1)
    of_part = margins(tokenizer, tmp_path / "long.wav", part, frames)
    assert of_part.shape == (len(tokens.names), 50)
    # its normalisation is by fewer seconds
    assert (of_part - expected[:, part.start : part.stop]).abs().median() < 0.02


def test_bits_of_the_rows_that_are_kept(tiny, tokens):
    layer = next(layer for layer, sizes in tokens.codebooks.items() if len(sizes) > 1)
    bits = row_bits(tokens, [layer], 1)
    assert [row.name for row in bits if row.is_decoded] == [f"{layer}.1"]
    assert decoded_rows(tokens, tokens.layers, 99) == set(range(len(tokens.names)))
    assert sum(row.plain for row in bits) == pytest.approx(tokens.bitrate)
    assert all(0 < row.coded < row.plain for row in bits)
    table = table_of_bits(row_bits(tokens, tokens.layers, 99))
    assert table.count('scope="row"') == len(tokens.names) + 1 and f"<td>{tokens.bitrate:.0f}</td>" in table


def test_pictures_say_what_they_show(tokens):
    layers, part = (1, 3), excerpt(tokens, 0, 10)
    weights = torch.tensor([[0.25], [0.75]]).expand(2, part.stop)
    picture = draw_weights(weights, layers, part, "<the model>")
    alt = re.search('alt="(.+?)"', picture)[1]
    assert "layer 1: 0.25, layer 3: 0.75" in alt and "&lt;the model&gt;" in alt
    assert "<the model>" not in picture and picture.count("&lt;the model&gt;") == 2
    row = RowBits("<b>1", 8, 4, 150.0, 100.0, True)
    assert "<b>" not in table_of_bits([row]) and "&lt;b&gt;1" in table_of_bits([row])


def test_a_checkpoint_without_a_vocoder_is_silent(tmp_path):
    make_tokenizer().save_pretrained(tmp_path)
    checkpoint = Shelf("cpu").checkpoint(str(tmp_path))
    assert checkpoint.vocoder is None and "vocoder" in checkpoint.silent and not checkpoint.takes_voice


def test_names_are_loaded_once_and_errors_are_not_kept(istft_folder, tmp_path):
    shelf = Shelf("cpu")
    assert shelf.checkpoint(str(istft_folder)) is shelf.checkpoint(str(istft_folder))
    late = str(tmp_path / "late")
    with refuses(CheckpointError, "late"):
        shelf.checkpoint(late)
    Tokenizer.from_pretrained(istft_folder).save_pretrained(late)
    Vocoder.from_pretrained(istft_folder).save_pretrained(late)
    assert shelf.checkpoint(late).vocoder is not None
    with refuses(SemtokError, "no-such-model"):
        shelf.model(SpeechRecognizer, "no-such-model")


@pytest.mark.parametrize(
    "host, alone",
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False), (None, False)],
)
def test_any_name_is_taken_where_only_this_machine_reaches_the_page(host, alone):
    assert _is_loopback(host) == alone


@pytest.mark.parametrize(
    "options, any_name",
    [({}, True), ({"host": "0.0.0.0"}, False), ({"host": None}, False), ({"share": True}, False)],
    ids=["this machine", "every address", "a Space", "a public link"],
)
def test_visitors_from_elsewhere_may_not_name_checkpoints(monkeypatch, options, any_name):
    built = []
    page = SimpleNamespace(launch=lambda **options: None, close=lambda **options: None)
    monkeypatch.setattr(app, "build_page", lambda *names, **options: built.append(options) or page)
    app.serve(**options)
    assert built[0]["any_name"] is any_name


@pytest.mark.parametrize("any_name", [True, False])
def test_a_list_of_names_takes_others_only_where_visitors_may_name_any(istft_folder, any_name):
    async def build():
        return app.build_page(any_name=any_name)

    page = asyncio.run(build())  # gradio leaves open a loop that it has to make itself
    lists = [block for block in page.blocks.values() if getattr(block, "label", None) in ("Checkpoint", "Model")]
    assert len(lists) == 4
    for block in lists:
        assert block.allow_custom_value is any_name
        if any_name:
            assert block.preprocess(str(istft_folder)) == str(istft_folder)
        else:
            with pytest.raises(gradio.Error, match="not in the list of choices"):
                block.preprocess(str(istft_folder))


def test_errors_are_text_that_names_uploads_as_the_visitor_does():
    upload = f"{get_upload_folder()}/0123456789/<b>speech.wav"

    def handler(path, name):
        raise AudioError(f"cannot read {path}: <img src=x onerror=alert(1)>, {name} & more")

    with pytest.raises(gradio.Error) as caught:
        report_errors(handler)(upload, "tiny")
    assert caught.value.message == (
        "cannot read &lt;b&gt;speech.wav: &lt;img src=x onerror=alert(1)&gt;, tiny &amp; more"
    )


def test_why_a_checkpoint_is_silent_is_text(tokenizer):
    """The reason holds names of the checkpoint's files, which a stranger may have given."""
    shelf = SimpleNamespace(checkpoint=lambda name: Checkpoint(tokenizer, None, "<script>alert(1)</script>"))
    _, _, summary, _ = _hear(shelf, "mine", str(CLIPS[0]), [1, 3], 1, None, None)
    assert "<script>" not in summary and "&lt;script&gt;alert(1)" in summary


def test_the_command_names_the_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    for module in [name for name in sys.modules if name.startswith("semtok.demo")]:
        monkeypatch.delitem(sys.modules, module)
    code, _, error = run("demo")
    assert code == 1 and "'.[demo]'" in error


def test_a_deleted_recording_is_told(tmp_path):
    from semtok.demo.events import check_recording

    with refuses(AudioError, "gone.wav", "upload or record it again"):
        check_recording(str(tmp_path / "gone.wav"))


@pytest.fixture
def guarded(tmp_path):
    """A client of a server that answers "page", behind a guard of 100 bytes of uploads."""

    async def page(scope, receive, send):
        await PlainTextResponse("page")(scope, receive, send)

    return TestClient(Guard(page, {"localhost", "127.0.0.1", "::1"}, tmp_path, 100))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7860", "127.0.0.1:80", "[::1]:7860", "[::1]"])
def test_the_page_answers_to_its_own_names(guarded, host):
    assert guarded.get("/", headers={"host": host}).text == "page"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:7860", "evil.example:80", "", "[", "192.168.0.9"]
)
def test_a_request_to_another_name_is_refused(guarded, host):
    """DNS rebinding: a name of the internet that resolves to this machine."""
    answer = guarded.get("/", headers={"host": host})
    assert answer.status_code == 403 and "localhost" in answer.text and "page is at" in answer.text


def test_uploads_have_a_bound_in_sum(guarded, tmp_path):
    headers = {"host": "localhost"}
    assert guarded.post("/gradio_api/upload", content=bytes(60), headers=headers).text == "page"
    (tmp_path / "visitor").mkdir()
    (tmp_path / "visitor" / "speech.wav").write_bytes(bytes(60))
    answer = guarded.post("/gradio_api/upload", content=bytes(60), headers=headers)
    assert answer.status_code == 507 and "try again later" in answer.text
    assert guarded.post("/gradio_api/upload", content=bytes(30), headers=headers).text == "page"
    assert guarded.post("/gradio_api/queue/join", content=bytes(60), headers=headers).text == "page"


def test_a_server_that_is_terminated_leaves_no_files_and_no_environment(monkeypatch, tmp_path):
    class Page:
        def launch(self, server_name, app_kwargs, **options):
            assert server_name == "[::1]"
            assert "::1" in os.environ["no_proxy"].split(",") and "example.org" in os.environ["no_proxy"].split(",")
            folder = Path(os.environ["GRADIO_TEMP_DIR"])
            (folder / "upload.wav").write_bytes(b"speech")
            folders.append(folder)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

        def close(self, verbose):
            closed.append(not verbose)

    folders, closed = [], []
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.setattr(app, "build_page", lambda *names, **options: Page())
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        app.serve(host="::1", port=1234)
    assert ended.value.code == 128 + signal.SIGTERM and closed == [True]
    assert not folders[0].exists() and os.environ["no_proxy"] == "example.org"
    assert signal.getsignal(signal.SIGTERM) == before


def test_texts_and_recordings_have_bounds(tmp_path):
    from semtok.demo.events import check_recording, check_text

    assert check_text("a" * 1000) == "a" * 1000
    with refuses(TextError, "1001 characters", "1000"):
        check_text("a" * 1001)
    soundfile.write(tmp_path / "long.flac", np.zeros(3601 * 1000, np.int16), 1000)
    with refuses(AudioError, "long.flac", "longer than an hour"):
        check_recording(str(tmp_path / "long.flac"))
    assert check_recording(str(CLIPS[0])) == CLIPS[0]
