"""`semtok demo` in a headless Chromium, where there is one: what a visitor does, and what must not happen."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import make_tokenizer
from helpers import CLIPS, ROOT
from task_models import make_model

from semtok import Tokenizer

pytest.importorskip("gradio", reason="the extra demo is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium in the PATH (apt install chromium)")

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
]
PATIENCE = 120_000  # ms; machines that run tests may be busy
HEAR = "Encode and decode"
LAYERS = Tokenizer.from_pretrained("tiny").layers


@pytest.fixture(scope="module")
def silent_folder(tmp_path_factory) -> Path:
    """A checkpoint without a vocoder."""
    folder = tmp_path_factory.mktemp("silent")
    make_tokenizer(seed=3).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def outside() -> Iterator[socket.socket]:
    """Where the server would ask for anything that is not on this machine: a proxy that nobody should call."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        yield listening


@pytest.fixture(scope="module")
def temporary(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def address(tmp_path_factory, outside, temporary) -> Iterator[str]:
    """Of a server of `tiny` with a recogniser of random weights, which takes uploads of 1 MB at most."""
    recognizer = tmp_path_factory.mktemp("models") / "recognizer"
    make_model("lstm", Tokenizer.from_pretrained("tiny"), "tiny").save_pretrained(recognizer)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    proxy = f"http://127.0.0.1:{outside.getsockname()[1]}"
    environment = {
        **os.environ,
        **{f"{kind}_proxy": proxy for kind in ("http", "https", "all")},
        "no_proxy": "127.0.0.1,localhost",
        "TMPDIR": str(temporary),
        "OMP_NUM_THREADS": "1",
    }
    command = ["demo", "--port", port, "--max-upload-mb", 1, "--model", recognizer]
    log = (temporary / "log").open("w+")
    server = subprocess.Popen(
        [sys.executable, "-m", "semtok", *map(str, command)],
        env=environment,
        cwd=ROOT,
        stdout=log,
        stderr=log,
        # where the tests run in the background of a script, its shell has their children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    url = f"http://127.0.0.1:{port}/"
    try:
        _wait_for(url, server, temporary / "log")
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # Ctrl-C
        try:
            server.wait(timeout=60)
        finally:
            server.kill()  # one that did not stop would outlive the tests
            log.close()
    left = [path for path in temporary.rglob("*") if path.is_file()]
    assert left == [temporary / "log"], "what visitors uploaded and heard is gone"
    assert "Traceback" not in (temporary / "log").read_text()


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 3 * PATIENCE / 1000
    while True:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=30).close()
        except OSError:
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(0.2)
        else:
            return


@pytest.fixture(scope="module")
def browser(address) -> Iterator:
    """Closed before the server, which waits for open connections when it stops."""
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address) -> Iterator:
    """Opens the page as another visitor; at the end no console told an error and no request left the machine.

    Gradio's player tells the console of a file that it cannot play, before anybody presses a button.
    """
    contexts, wrong = [], []

    def console(message):
        if message.type == "error" and message.text != "Waveform load error: MediaError":
            wrong.append(message.text)

    def visit(**options):
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(PATIENCE)
        page = contexts[-1].new_page()
        page.on("console", console)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: request.url.startswith((address, "data:", "blob:")) or wrong.append(request))
        page.goto(address, timeout=PATIENCE)
        page.get_by_role("button", name=HEAR).wait_for()
        return page

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


def upload(page, path, recorder="Original"):
    group = page.get_by_role("group", name=recorder, exact=True)
    with uploaded(page):
        choose(group, path)


def choose(group, path):
    group.locator("input[type=file]").first.set_input_files(path)


def uploaded(page):
    """Waits until the server has what is uploaded within it: the player shows a recording before that."""
    return page.expect_response(lambda response: "/upload" in response.url, timeout=PATIENCE)


def hear(page) -> str:
    """Presses the button; what the page then says."""
    page.get_by_role("button", name=HEAR).click()
    return summary(page)


def summary(page, text="entropy coded") -> str:
    status = page.locator("#summary [role=status]", has_text=text)
    status.wait_for()
    return status.inner_text()


def decoded_source(page) -> str:
    return page.locator("#decoded a[href*=decoded]").get_attribute("href")


def test_upload_tick_play_and_change_a_layer(visit, outside):
    page = visit()
    assert page.title() == "semtok"
    upload(page, CLIPS[0])
    page.get_by_role("group", name="Original", exact=True).get_by_role("button", name="Play", exact=True).wait_for()
    assert ", ".join(map(str, LAYERS)) in hear(page)
    page.locator("#pictures figure").nth(3).wait_for()
    assert page.locator("#pictures img:not([alt])").count() == 0
    first, everything = decoded_source(page), page.locator("#pictures").inner_html()

    page.get_by_role("group", name="Decoded from").get_by_role("button", name="Play", exact=True).click()
    page.get_by_role("group", name="Decoded from").get_by_role("button", name="Pause").wait_for()

    for layer in LAYERS[:-1]:
        page.get_by_role("checkbox", name=re.compile(rf"^{layer}\b")).uncheck()
    assert summary(page, f"layer {LAYERS[-1]}:")
    page.wait_for_function("before => document.querySelector('#pictures').innerHTML !== before", arg=everything)
    second = decoded_source(page)
    assert second != first
    page.get_by_role("checkbox", name=re.compile(rf"^{LAYERS[-1]}\b")).uncheck()
    page.get_by_text("no layer is ticked").wait_for()
    with pytest.raises(BlockingIOError):
        outside.accept()


def test_files_that_are_no_speech(visit, tmp_path, temporary):
    page = visit()
    page.get_by_role("button", name=HEAR).click()
    page.get_by_text("there is no recording yet").wait_for()
    page.get_by_role("button", name="Close", exact=True).last.click()

    (tmp_path / "poem.wav").write_text("O Rose thou art sick.")
    upload(page, tmp_path / "poem.wav")
    page.get_by_role("button", name=HEAR).click()
    message = page.get_by_text("cannot read poem.wav")
    message.wait_for()
    assert str(temporary) not in message.inner_text()


def test_uploads_are_limited(browser, address, tmp_path):
    (tmp_path / "big.wav").write_bytes(bytes(1_500_000))
    page = browser.new_page()
    page.goto(address)
    page.get_by_role("button", name=HEAR).wait_for(timeout=PATIENCE)
    choose(page.get_by_role("group", name="Original", exact=True), tmp_path / "big.wav")
    page.get_by_text(re.compile("maximum", re.I)).first.wait_for(timeout=PATIENCE)
    page.close()


def test_a_microphone_that_is_denied(visit):
    page = visit(permissions=[])
    group = page.get_by_role("group", name="Original", exact=True)
    group.get_by_role("button", name="Record audio").click()
    group.get_by_role("button", name=re.compile("^Record$")).click()
    group.get_by_role("alert").get_by_text("gives no microphone").wait_for()
    group.get_by_role("button", name="Upload file").click()
    upload(page, CLIPS[0])
    assert hear(page)


def test_a_recording(visit):
    page = visit(permissions=["microphone"])
    group = page.get_by_role("group", name="Original", exact=True)
    group.get_by_role("button", name="Record audio").click()
    group.get_by_role("button", name=re.compile("^Record$")).click()
    group.get_by_text(re.compile(r"^\d:(?!00)\d\d$")).first.wait_for()
    with uploaded(page):
        group.get_by_role("button", name="Stop").click()
    group.get_by_role("button", name="Play", exact=True).wait_for()
    assert hear(page)


def test_what_is_heard_stays_when_the_server_is_told_late_of_its_recording(visit):
    page, late = visit(), []
    page.route("**/queue/join*", lambda route: route.continue_() if late else late.append(route))
    upload(page, CLIPS[0])
    heard = hear(page)
    with page.expect_response(lambda response: "/queue/join" in response.url):
        late[0].continue_()
    page.wait_for_timeout(2000)
    assert summary(page) == heard


def test_two_visitors_do_not_disturb_each_other(visit):
    pages = [visit(), visit()]
    for page, clip, layer in zip(pages, CLIPS, (LAYERS[0], LAYERS[-1]), strict=False):
        upload(page, clip)
        for other in LAYERS:
            if other != layer:
                page.get_by_role("checkbox", name=re.compile(rf"^{other}\b")).uncheck()
    for page in pages:
        page.get_by_role("button", name=HEAR).click()
    tokenizer = Tokenizer.from_pretrained("tiny")
    for page, clip, layer in zip(pages, CLIPS, (LAYERS[0], LAYERS[-1]), strict=False):
        assert summary(page).startswith(f"{float(tokenizer.encode(clip).durations):.1f} s, layer {layer}:")


def test_any_checkpoint_by_name(visit, istft_folder, silent_folder):
    page = visit()
    upload(page, CLIPS[0])
    for name, expected in ((istft_folder, "layers 1, 3, 4"), (silent_folder, "vocoder"), ("nobody/nothing?", None)):
        page.get_by_label("Checkpoint").fill(str(name))
        page.keyboard.press("Enter")
        if expected is None:
            page.get_by_text("is no checkpoint").wait_for()
        else:
            page.get_by_role("checkbox", name="4", exact=True).wait_for()
            page.get_by_role("button", name=HEAR).click()
            assert summary(page, expected)


def test_tabs_of_tasks(visit):
    page = visit()
    page.get_by_role("tab", name="Transcribe").click()
    upload(page, CLIPS[0], "Speech")
    page.get_by_role("group", name="Speech").get_by_role("button", name="Play", exact=True).wait_for()
    page.get_by_role("button", name="Transcribe").click()
    weights = page.get_by_role("img", name=re.compile("Weights of the layers in the model"))
    weights.wait_for()
    assert all(f"layer {layer}:" in weights.get_attribute("alt") for layer in LAYERS)
    page.get_by_role("tab", name="Enhance").click()
    page.get_by_role("button", name="Enhance").wait_for()
    assert page.get_by_text("semtok train enhance configs/tiny/enhance.yaml").is_visible()
    assert (ROOT / "configs/tiny/enhance.yaml").is_file()

    page.get_by_role("tab", name="Speak").click()
    page.get_by_label("Text").last.fill("The children are playing in the garden.")
    page.get_by_role("button", name="Speak").click()
    page.get_by_role("img", name=re.compile("Weights of the layers in the vocoder")).wait_for()
    page.get_by_role("group", name="Spoken").get_by_role("button", name="Play", exact=True).wait_for()


def test_a_narrow_screen_the_keyboard_and_names(visit):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    page.get_by_role("button", name=re.compile("first_voice")).focus()
    page.keyboard.press("Enter")
    page.get_by_role("group", name="Original", exact=True).get_by_role("button", name="Play", exact=True).wait_for()
    box = page.get_by_role("checkbox", name=re.compile(rf"^{LAYERS[0]}\b"))
    box.focus()
    page.keyboard.press("Space")
    assert not box.is_checked()
    page.get_by_role("button", name=HEAR).focus()
    page.keyboard.press("Enter")
    summary(page)
    page.locator("#pictures figure").nth(3).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input:not([type=file]), textarea, img')]
            .filter(e => e.offsetParent && !(e.innerText?.trim() || e.ariaLabel || e.alt || e.title || e.labels?.length
                || e.getAttribute('aria-labelledby'))).map(e => e.outerHTML.slice(0, 200))"""
    )
    assert nameless == []
