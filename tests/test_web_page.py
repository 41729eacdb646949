"""`semtok export web`: static files, and in a headless Chromium the same codes and speech as in Python."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import draw_tokens, make_tokenizer, make_vocoder
from helpers import CLIPS

from semtok import Tokenizer, Vocoder, load_audio
from semtok.codebooks.codebooks import Codebooks
from semtok.errors import SemtokError
from semtok.export.web import export_web
from semtok.web import versions_of
from semtok.web.examples import EXAMPLES

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
CHROMIUM = shutil.which("chromium")
PATIENCE = 240_000  # ms; machines that run tests may be busy
READY = """(() => { const one = window.semtok?.page?.versions;
    return one && one.transport.versions.size === one.spec.versions.length; })()"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The page of `tiny`, with onnxruntime as npm gives it."""
    folder = tmp_path_factory.mktemp("page") / "page"
    try:
        export_web(folder, Tokenizer.from_pretrained("tiny"), Vocoder.from_pretrained("tiny"))
    except SemtokError as error:
        if "npm" not in str(error):
            raise
        pytest.skip(str(error))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium in the PATH (apt install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="module")
def page(browser, address) -> Iterator[Any]:
    """Open, with the first example in all versions; whatever else it asked for is in `page.asked`."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(PATIENCE)
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address)
    page.wait_for_function(READY)
    yield page
    page.close()


@pytest.fixture(scope="module")
def engine(browser, address) -> Iterator[Any]:
    """Another page, whose engine encodes what it is told."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.wait_for_function(READY)
    yield page
    page.close()


def samples_of(page, key: str) -> np.ndarray:
    return np.array(page.evaluate(f"Array.from(semtok.page.versions.transport.samples('{key}'))"), np.float32)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.key)
def test_codes_and_speech_are_those_of_python(engine, example):
    tokenizer, vocoder = Tokenizer.from_pretrained("tiny"), Vocoder.from_pretrained("tiny")
    waveform = load_audio(example.path, sample_rate=16000)
    codes = np.array(engine.evaluate("samples => semtok.engine.encode({samples: Float32Array.from(samples)})",
                                   waveform.tolist())["rows"])  # fmt: skip
    tokens = tokenizer.encode(waveform)
    differs = torch.from_numpy(codes) != tokens.codes[0]
    margins = tokenizer.margins(tokenizer.features(waveform))[0]
    ties = np.minimum.accumulate(margins.numpy(), axis=0)[differs.numpy()]
    assert codes.shape == tuple(tokens.codes.shape[1:])
    assert differs.float().mean() < 1e-3 and (ties < 1e-4).all()
    for layers in ([7], [1, 3, 5, 7], [1, 5]):
        decoded = engine.evaluate("async layers => Array.from(await semtok.engine.decode(layers, 6))", layers)
        if not differs.any():
            assert np.abs(np.array(decoded) - vocoder.decode(tokens, layers=layers)[0].numpy()).max() < 1e-3


def test_nothing_is_asked_of_another_machine_and_once_cached_nothing_is_large(page, address, folder):
    assert page.asked and all(url.startswith((address, "data:", "blob:")) for url in page.asked)
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= 46e6


def test_versions_are_as_loud_as_the_original(page):
    keys = page.evaluate("semtok.page.versions.spec.versions.map(one => one.key)")
    loudness = {key: 20 * np.log10(np.sqrt(np.square(samples_of(page, key)).mean())) for key in keys}
    assert all(abs(value - loudness["original"]) < 0.5 for value in loudness.values())


def test_keys_change_the_version_at_the_same_place(page):
    page.keyboard.press("7")
    page.wait_for_function("semtok.page.versions.transport.position > 0.3")
    page.keyboard.press("o")
    playing, key, place = page.evaluate("""(() => { const one = semtok.page.versions.transport;
        return [one.playing, one.key, one.position]; })()""")
    assert playing and key == "original" and place > 0.3
    assert "play=original" in page.url
    page.keyboard.press(" ")
    assert page.evaluate("semtok.page.versions.transport.playing") is False


def test_ticks_and_typed_stages_change_what_is_yours(page):
    page.get_by_label("layer 1", exact=True).uncheck()
    page.get_by_label("layer 3", exact=True).uncheck()
    page.get_by_label("layer 5", exact=True).uncheck()
    page.wait_for_function("semtok.page.versions.transport.has('yours')")
    np.testing.assert_allclose(samples_of(page, "yours"), samples_of(page, "7"), atol=1e-5)
    page.get_by_label("layer 1", exact=True).check()
    stages = page.get_by_label("residual stages of a layer, at most")
    stages.fill("2")
    page.wait_for_function("semtok.page.versions.stages === 2 && semtok.page.versions.transport.has('yours')")
    assert "1.5 kbit/s" in page.locator("[data-key=yours]").inner_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"no audio at all" * 40, "cannot be read"),
        ("silence", "is silent"),
    ],
)
def test_files_that_cannot_be_heard_are_told(page, tmp_path, content, message):
    path = tmp_path / "mine.wav"
    if content == "silence":
        import soundfile

        soundfile.write(path, np.zeros(16000), 16000)
    else:
        path.write_bytes(content)
    page.locator("input[type=file]").set_input_files(path)
    page.wait_for_function("document.querySelector('[role=alert]').textContent")
    assert message in page.locator("[role=alert]").first.inner_text()


def test_a_phone_shows_all_without_scrolling_sideways(browser, address):
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}#clip=second_voice&play=1")
    page.wait_for_function("window.semtok?.page?.versions?.transport?.has('1')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("semtok.page.versions.chosen") == "1"
    assert page.get_by_role("button", name="A woman reads, 5 s").get_attribute("aria-pressed") == "true"
    page.close()


def test_a_browser_that_cannot_run_it_is_told(browser, address):
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.add_init_script("WebAssembly.validate = () => false")
    page.goto(address)
    page.wait_for_selector("#loading[role=alert]")
    assert "no WebAssembly with SIMD" in page.locator("#loading").inner_text()
    page.close()


def test_a_model_that_does_not_load_is_told(browser, address):
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.route("**/vocoder.onnx", lambda route: route.fulfill(status=404))
    page.goto(address)
    page.wait_for_selector("#loading[role=alert]")
    assert "vocoder.onnx is not there: the server answers 404" in page.locator("#loading").inner_text()
    page.close()


# --- without a browser


def test_any_rows_are_decoded_as_by_the_vocoder(tmp_path):
    from semtok.export.onnx import export_onnx

    tokenizer = make_tokenizer()
    vocoder = make_vocoder(tokenizer, "istft")
    export_onnx(tmp_path / "onnx", tokenizer, vocoder, choose_rows=True)
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "vocoder.onnx")
    tokens = draw_tokens(vocoder, [30])
    for chosen in ([1, 3, 4], [1], [3, 4]):
        keep = np.array([float(layer in chosen) for layer in tokenizer.layers], np.float32)
        (decoded,) = session.run(None, {"codes": tokens.codes.numpy(), "keep": keep})
        np.testing.assert_allclose(decoded, vocoder.decode(tokens, layers=chosen).numpy(), atol=1e-5)


def test_weights_that_half_precision_holds_take_half_the_room_and_change_nothing(tmp_path):
    from semtok.export.halving import halve_weights
    from semtok.export.onnx import export_onnx

    tokenizer = Tokenizer.from_pretrained("tiny")
    export_onnx(tmp_path / "onnx", tokenizer)
    path = tmp_path / "onnx" / "tokenizer.onnx"
    waveform = load_audio(CLIPS[0])[None].numpy()
    before, size = onnxruntime.InferenceSession(path).run(None, {"waveform": waveform}), path.stat().st_size
    halve_weights(path)
    after = onnxruntime.InferenceSession(path).run(None, {"waveform": waveform})
    assert path.stat().st_size < 0.55 * size
    np.testing.assert_array_equal(before[0], after[0])


def test_versions_say_what_each_keeps():
    about = versions_of(
        Codebooks({1: (1000, 1000), 3: (500,), 7: (1000,)}), frame_rate=50.0, input_rate=16000, sample_rate=24000
    )
    keys = [version["key"] for version in about["versions"]]
    assert keys == ["original", "all", "1", "3", "7", "yours"] and about["first"] == "7"
    assert [version["hotkey"] for version in about["versions"]] == ["O", "A", "1", "3", "7", "Y"]
    assert len({one["colour"] for one in about["layers"]}) == 3
    assert about["versions"][2]["bits"] == pytest.approx(2 * 50 * np.log2(1000))
    json.dumps(about)


def test_a_folder_that_is_not_empty_and_a_runtime_that_is_another_are_refused(tmp_path):
    tokenizer = make_tokenizer()
    vocoder = make_vocoder(tokenizer, "istft")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(SemtokError, match="is not empty: give a new folder"):
        export_web(tmp_path / "full", tokenizer, vocoder)
    (tmp_path / "runtime").mkdir()
    with pytest.raises(SemtokError, match=r"has no ort.wasm.min.js: give what `npm pack onnxruntime-web@"):
        export_web(tmp_path / "new", tokenizer, vocoder, runtime=tmp_path / "runtime")
    (tmp_path / "runtime" / "ort.wasm.min.js").write_text("other")
    with pytest.raises(SemtokError, match=r"is not that of onnxruntime-web@.* sha256"):
        export_web(tmp_path / "new", tokenizer, vocoder, runtime=tmp_path / "runtime")
    (tmp_path / "broken.tgz").write_bytes(b"no archive")
    with pytest.raises(SemtokError, match="cannot be read as what `npm pack"):
        export_web(tmp_path / "new", tokenizer, vocoder, runtime=tmp_path / "broken.tgz")
    assert not (tmp_path / "new").exists()


def test_without_npm_it_says_what_to_do(tmp_path, monkeypatch):
    tokenizer = make_tokenizer()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SemtokError, match=r"no npm in the PATH.*name the file it writes with --runtime"):
        export_web(tmp_path / "new", tokenizer, make_vocoder(tokenizer, "istft"))
    assert not (tmp_path / "new").exists()
