"""The built site in a headless Chromium, where `make docs` made it: what people search for is found."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import pytest
from helpers import ROOT

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
SITE = ROOT / "build" / "docs"
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium in the PATH (apt install chromium)"),
    pytest.mark.skipif(not (SITE / "searchindex.js").exists(), reason="the site is not built (make docs)"),
]

SEARCHES = {
    "install": "docs/install",
    "pip install": "docs/install",
    "extras": "docs/install",
    "which layer": "docs/study",
    "choose layers": "docs/study",
    "train vocoder": "docs/train-vocoder",
    "train k-means": "docs/training",
    "demo": "docs/demo-page",
    "troubleshooting": "docs/troubleshooting",
    "fingerprint": "docs/glossary",
    "PNMI": "docs/glossary",
    "onnx": "docs/export",
    "transformers": "docs/export",
    "voice conversion": "docs/voice-conversion",
    "language model": "docs/language-models",
    "streaming": "docs/long-audio",
    "corpus": "docs/corpora",
    "experiments": "docs/experiments",
    "quality": "docs/quality",
    "Tokenizer.encode": "docs/reference/classes",
}


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()


@pytest.mark.parametrize("words", SEARCHES)
def test_a_search_gives_the_right_page_first_or_second(page, words):
    page.goto(f"{(SITE / 'search.html').as_uri()}?q={quote_plus(words)}")
    page.wait_for_selector("#search-results .search-summary:not(:empty)", timeout=60_000)
    page.wait_for_timeout(300)
    links = page.eval_on_selector_all("#search-results li > a", "links => links.slice(0, 6).map(link => link.href)")
    pages = list(dict.fromkeys(link.split("build/docs/")[1].split(".html")[0] for link in links))
    assert SEARCHES[words] in pages[:2], pages
