"""The engine of Ray: workers of a local cluster, one of them killed, then the driver. SEMTOK_RAY=1 runs it."""

from __future__ import annotations

import os

import pytest
import torch
from helpers import CLIPS, ROOT, TESTS, run_python

from semtok import load_audio, save_audio


@pytest.mark.skipif("SEMTOK_RAY" not in os.environ, reason="a cluster takes half a minute to start: SEMTOK_RAY=1")
def test_killed_workers_and_drivers_leave_every_clip_once(istft_folder, tmp_path):
    pytest.importorskip("ray")
    speech = torch.cat([load_audio(path) for path in CLIPS])
    (tmp_path / "audio").mkdir()
    for number in range(14):
        save_audio(tmp_path / f"audio/{number:02}.wav", speech[9000 * number :][: 4000 + 900 * number])
    arguments = istft_folder, tmp_path / "audio", tmp_path / "out", 1
    printed = run_python(TESTS / "killed_ray.py", *arguments, PYTHONPATH=str(ROOT), RAY_worker_niceness="0")
    assert printed.endswith("1 corpora\n")


def test_the_command_hands_shards_out_itself(run, tmp_path):
    arguments = ["encode-corpus", tmp_path, tmp_path / "out", "--engine"]
    assert run(*arguments, "dask")[0] == 2
    code, _, told = run(*arguments, "ray", "--shard-index", "1")
    assert code == 2 and "Ray hands out the shards" in told
