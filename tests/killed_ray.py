"""Encodes a corpus by two workers of a local cluster of Ray, of which a worker and then the driver are killed.

    python killed_ray.py CHECKPOINT AUDIO FOLDER TIMES

Then it is let finish: every clip must be there, once and right.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from semtok import Tokenizer, corpus

DRIVER = """
import sys
from semtok import Tokenizer, corpus
tokenizer = Tokenizer.from_pretrained(sys.argv[1])
corpus.encode_corpus_with_ray(tokenizer, sys.argv[2], sys.argv[3], num_shards=14, workers=2)
"""


def main(checkpoint: Path, audio: Path, folder: Path, times: int) -> None:
    random.seed(0)
    for number in range(times):
        command = [sys.executable, "-c", DRIVER, str(checkpoint), str(audio), str(folder / str(number))]
        driver = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        while not (workers := find_workers(driver.pid)) and driver.poll() is None:
            time.sleep(0.05)
        time.sleep(random.random() * 2)
        for worker in random.sample(workers, min(1, len(workers))):
            kill(worker)
        time.sleep(random.random() * 3)
        kill(driver.pid)
        driver.wait()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        check(checkpoint, audio, folder / str(number))
    print(f"{times} corpora")  # noqa: T201


def find_workers(driver: int) -> list[int]:
    """Processes of the actors below a driver."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()[1:]]
    parents = {int(process): int(parent) for process, parent, _ in rows}
    workers = [int(process) for process, _, command in rows if "MapWorker" in command]
    return [worker for worker in workers if driver in (parents[worker], parents.get(parents[worker]))]


def kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def check(checkpoint: Path, audio: Path, folder: Path) -> None:
    tokenizer = Tokenizer.from_pretrained(checkpoint)
    paths = sorted(audio.glob("*.wav"))
    clips = list(corpus.read(folder))
    assert [clip.id for clip in clips] == [path.name for path in paths]
    for path, clip in zip(paths, clips, strict=True):
        assert clip.tokens.codes.equal(tokenizer.encode(path).codes), path


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
