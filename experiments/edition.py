"""All models on the tokens of an edition of `tiny`, one after the other, and what comes with semtok of them.

    python experiments/edition.py train                       # in the root of a clone; goes on where it stopped
    python experiments/edition.py voice --recognizer openai/whisper-base
    python experiments/edition.py bundle tiny-speaker tiny-keywords

`train` runs the step of each name in `BUNDLED_BY_NAME` with its config of configs/tiny, in their order, and prints what
`test.json` says; `--only` takes some of them. `voice` makes that speaker the default of text to speech whose validation
texts are understood best. `bundle` puts models and their cards into the package, if they are small enough and of the
bundled tokenizer.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from downstream_quality import score_speech

from semtok import Tokenizer
from semtok.checkpoints.config import CONFIG
from semtok.checkpoints.hub import BUNDLED
from semtok.downstream import TextToSpeech
from semtok.downstream.bundled_models import BUNDLED_BY_NAME, BundledModel
from semtok.downstream.model import DownstreamModel
from semtok.downstream.token_model import TokenModel
from semtok.evaluation.recognizers import load_recognizer
from semtok.language.model import SpeechLanguageModel
from semtok.support.atomic import atomic_folder, atomic_write

CONFIGS = Path("configs/tiny")
CARDS = Path(__file__).with_name("edition_cards.yaml")
MOST_BYTES = 5_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/tiny"), help="folder of the runs")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train")
    train.add_argument("--tokenizer", default="tiny", help="bundled name or folder, of the edition")
    train.add_argument("--only", nargs="+", choices=BUNDLED_BY_NAME, default=list(BUNDLED_BY_NAME))
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change an entry of all configs")
    voice = commands.add_parser("voice")
    voice.add_argument("--texts", type=Path, default=Path("data/core/libri/manifest.csv"), help="their split valid")
    voice.add_argument("--recognizer", default="openai/whisper-base")
    voice.add_argument("--speakers", nargs="+", help="the six with the most clips by default")
    voice.add_argument("--limit", type=int, default=20, help="texts")
    bundle = commands.add_parser("bundle")
    bundle.add_argument("names", nargs="+", choices=BUNDLED_BY_NAME)
    options = parser.parse_args()
    if options.command == "train":
        for name in options.only:
            train_model(BUNDLED_BY_NAME[name], options.runs, options.tokenizer, options.set)
    elif options.command == "voice":
        choose_voice(options)
    else:
        for name in options.names:
            bundle_model(BUNDLED_BY_NAME[name], options.runs)


def train_model(model: BundledModel, runs: Path, tokenizer: str, changes: list[str]) -> None:
    """Trains a model unless it is finished, and prints what it is worth on its test clips."""
    folder, finished = runs / model.config, runs / model.config / "edition.json"
    fingerprint = Tokenizer.from_pretrained(tokenizer).fingerprint
    if not finished.exists() or json.loads(finished.read_text())["fingerprint"] != fingerprint:
        since = time.monotonic()
        entries = {"folder": folder, ("checkpoint" if model.step == "language" else "tokenizer"): tokenizer}
        if model.step == "tts":
            entries["aligner"] = runs / "asr" / "best"
        if model.step == "language":
            entries["data"] = "[" + ", ".join(encode_corpora(model, runs / "tokens-of-corpora", tokenizer)) + "]"
        settings = [f"--set={name}={value}" for name, value in entries.items()] + [f"--set={one}" for one in changes]
        run("train", model.step, CONFIGS / f"{model.config}.yaml", *settings)
        facts = {"fingerprint": fingerprint, "minutes": round((time.monotonic() - since) / 60, 1)}
        with atomic_write(finished) as aside:
            aside.write_text(json.dumps(facts))
    size = sum(path.stat().st_size for path in (folder / "best").iterdir()) / 1e6
    print(f"{model.name}: {size:.2f} MB, {json.loads(finished.read_text())['minutes']} minutes since it last went on")
    for name, value in measured(folder).items():
        print(f"  {name}: {value}")


def encode_corpora(model: BundledModel, folder: Path, tokenizer: str) -> list[str]:
    """Tokens of the corpora that a config of a language model names below runs/tiny/tokens."""
    encoded = []
    for path in yaml.safe_load((CONFIGS / f"{model.config}.yaml").read_text())["data"]:
        part = Path(path).relative_to("runs/tiny/tokens")
        run("encode-corpus", Path("data") / part, folder / part, "--checkpoint", tokenizer)
        encoded.append(str(folder / part))
    return encoded


def run(*arguments: object) -> None:
    """Runs a command of semtok in a process of its own, whose memory is free afterwards."""
    words = [str(argument) for argument in arguments]
    print(shlex.join(["semtok", *words]), flush=True)
    subprocess.run([sys.executable, "-m", "semtok", *words], check=True)


def measured(folder: Path) -> dict[str, Any]:
    """What the best model is worth on the test clips; without any, on those that chose it."""
    test, log = folder / "test.json", folder / "log.jsonl"
    if test.exists():
        numbers = json.loads(test.read_text())
        for name, interval in numbers.pop("intervals", {}).items():
            if interval:
                numbers[name] = f"{numbers[name]:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
        return {name: value for name, value in numbers.items() if name not in ("layers", "weights", "validation")}
    lines = [line for line in map(json.loads, log.read_text().splitlines()) if any(key[:6] == "valid_" for key in line)]
    first = next(key for key in lines[0] if key[:6] == "valid_")
    best = min(lines, key=lambda line: line[first])
    return {name: value for name, value in best.items() if name[:6] == "valid_"}


def choose_voice(options: argparse.Namespace) -> None:
    """Writes the best understood speaker into the config of the best model of text to speech."""
    best = options.runs / BUNDLED_BY_NAME["tiny-tts"].config / "best"
    model = TextToSpeech.from_pretrained(best)
    with options.texts.open(newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file) if row["text"] and row["split"] == "valid"]
    speakers = options.speakers or list(model.speakers[:6])
    scores, _ = score_speech(model, texts[: options.limit], speakers, load_recognizer(options.recognizer))
    rates = {speaker: sum(scores[speaker]["errors"]) / sum(scores[speaker]["words"]) for speaker in speakers}
    for speaker, rate in sorted(rates.items(), key=lambda item: item[1]):
        print(f"{speaker}: {100 * rate:.1f} % of the words wrong")
    entries = json.loads((best / CONFIG).read_text())
    entries["head"]["default_speaker"] = min(rates, key=rates.__getitem__)
    with atomic_write(best / CONFIG) as aside:
        aside.write_text(json.dumps(entries, indent=2) + "\n")


def bundle_model(bundled: BundledModel, runs: Path) -> None:
    """Copies the best model of a run into the package, with a card."""
    best = runs / bundled.config / "best"
    kind: type[TokenModel] = SpeechLanguageModel if bundled.step == "language" else DownstreamModel
    model = kind.from_pretrained(best)
    if model.fingerprint != Tokenizer.from_pretrained("tiny").fingerprint:
        sys.exit(f"{best} is of tokenizer {model.fingerprint}, the bundled tiny is another one: train it anew")
    if bundled.folder.exists():
        shutil.rmtree(bundled.folder)
    with atomic_folder(bundled.folder) as aside:
        for path in best.iterdir():
            shutil.copyfile(path, aside / path.name)
        # A folder of an edition in the making is, once bundled, the bundled tokenizer.
        name = aside / ("language.json" if bundled.step == "language" else CONFIG)
        key = "checkpoint" if bundled.step == "language" else "tokenizer"
        name.write_text(json.dumps(json.loads(name.read_text()) | {key: "tiny"}, indent=2) + "\n")
        (aside / "README.md").write_text(write_card(bundled, model, measured(runs / bundled.config)), encoding="utf-8")
        if (size := sum(path.stat().st_size for path in aside.iterdir())) > MOST_BYTES:
            sys.exit(f"{bundled.name} would have {size / 1e6:.2f} MB, more than {MOST_BYTES / 1e6:g}: make it smaller")
    package = sum(path.stat().st_size for path in BUNDLED.parent.rglob("*") if "__pycache__" not in path.parts)
    print(f"{bundled.folder}: {size / 1e6:.2f} MB; the package has {package / 1e6:.1f} MB")


def write_card(bundled: BundledModel, model: TokenModel, numbers: dict[str, Any]) -> str:
    """A card by the facts of edition_cards.yaml, the model's config and its numbers on test clips."""
    facts = yaml.safe_load(CARDS.read_text(encoding="utf-8"))[bundled.name]
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    front = {
        "license": facts["license"],
        "library_name": "semtok",
        "pipeline_tag": facts["pipeline"],
        "tags": ["speech", "speech-tokens"],
        "language": facts["language"],
        "datasets": facts["datasets"],
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in flat(numbers).items())
    limits = "\n".join(f"- {limit}" for limit in facts["limits"])
    return f"""---
{yaml.safe_dump(front, sort_keys=False, default_flow_style=None)}---
# {bundled.name}

{facts["summary"]} It comes with semtok and needs no download.

```python
{facts["example"].strip()}
```

| | |
|---|---|
| tokenizer | `tiny`, fingerprint `{model.fingerprint}` |
| layers | {", ".join(map(str, model.layers))} |
| model | {parameters / 1e6:.1f} M parameters, half precision |

## Training

`semtok train {bundled.step} configs/tiny/{bundled.config}.yaml`. {facts["training"]}

## How good it is

On clips that training and the choice of the state did not see, where the manifests have some (`test.json` of the run):

| | |
|---|---:|
{rows}

{facts["measured"]}

## Limits

{limits}

## Data and licences

{facts["data"]}
"""


def flat(numbers: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Numbers by their names, those of a mapping behind its name."""
    lines: dict[str, str] = {}
    for name, value in numbers.items():
        if isinstance(value, dict):
            lines |= flat(value, f"{prefix}{name}, ")
        else:
            lines[f"{prefix}{name}"] = f"{value:.3f}" if isinstance(value, float) else str(value)
    return lines


if __name__ == "__main__":
    main()
