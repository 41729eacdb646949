"""k-means: as good as the references, the same in any number of processes, parts and batches, and resumable."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import tiny_model
from helpers import CLIPS, run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans as ReferenceKMeans
from sklearn.cluster import MiniBatchKMeans
from stores import corpus_of

from semtok import Tokenizer, load_audio, save_audio
from semtok.encoder.encoder import Encoder
from semtok.errors import ConfigError
from semtok.training.config import load_config
from semtok.training.kmeans.config import KMeansConfig
from semtok.training.kmeans.features import Piece, draw_pieces, encode_batch, share, split_parts
from semtok.training.kmeans.kmeans import KMeans
from semtok.training.kmeans.trainer import Codebooks, train_kmeans

SAMPLE_RATE = 16000


def clustered(points: int, clusters: int = 30, dim: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(clusters, dim, generator=generator) * 3
    chosen = torch.randint(clusters, (points,), generator=generator)
    return centres[chosen] + torch.randn(points, dim, generator=generator)


def inertia(kmeans: KMeans, points: torch.Tensor) -> float:
    return float((points - kmeans.centroids_[kmeans.predict(points)]).square().sum(1).mean())


# --- the class


@pytest.mark.parametrize("dim", [8, 100])  # above 64 the start is drawn in a projection
def test_fit_is_as_good_as_scikit_learn_and_reports_its_inertia(dim):
    points = clustered(3000, dim=dim)
    ours = KMeans(40, iterations=50).fit(points)
    reference = ReferenceKMeans(40, n_init=1, random_state=0).fit(points.numpy())
    assert ours.inertia_ < 1.02 * reference.inertia_ / len(points)
    assert ours.inertia_ == pytest.approx(inertia(ours, points), rel=1e-4)
    assert ours.variance_ == pytest.approx(float(points.var(0, correction=0).sum()), rel=1e-4)
    assert torch.equal(ours.counts_.long(), torch.bincount(ours.predict(points), minlength=40))


def test_a_pass_in_mini_batches_is_as_good_as_scikit_learns_and_two_come_near_to_fit():
    points = clustered(20000)
    one, two = KMeans(40), KMeans(40)
    one.partial_fit(points)
    two.partial_fit(points).partial_fit(points)
    reference = MiniBatchKMeans(40, batch_size=400, n_init=1, max_iter=1, random_state=0).fit(points.numpy())
    assert inertia(one, points) < 1.02 * reference.inertia_ / len(points)
    assert inertia(two, points) < 1.02 * KMeans(40).fit(points).inertia_
    assert two.inertia_ == pytest.approx(inertia(two, points), rel=0.05)


def test_common_offsets_and_half_precision_change_little():
    points = clustered(3000)
    plain = KMeans(40).fit(points).inertia_
    assert KMeans(40).fit(points + 1000).inertia_ == pytest.approx(plain, rel=2e-2)
    assert KMeans(40).fit(points.half()).inertia_ == pytest.approx(plain, rel=2e-2)


def test_every_cluster_is_filled():
    points = torch.cat([torch.zeros(50, 2), torch.eye(2).repeat(3, 1) * torch.arange(1, 7)[:, None]])
    kmeans = KMeans(6).fit(points)
    assert len(kmeans.predict(points).unique()) == 6
    assert kmeans.counts_.min() > 0


@pytest.mark.parametrize("seed", range(4))
def test_clusters_that_died_are_moved_to_where_points_are(seed):
    kmeans = KMeans(20, seed=seed).partial_fit(clustered(200, clusters=20))
    elsewhere = clustered(400, clusters=20, seed=1) + 100
    for _ in range(40):
        kmeans.partial_fit(elsewhere)
    assert len(kmeans.predict(elsewhere).unique()) == 20
    # up to 1.9 times, as moved clusters find another optimum; 9.5 times where none is moved
    assert inertia(kmeans, elsewhere) < 2.2 * KMeans(20).fit(elsewhere).inertia_


def test_clusters_keep_their_numbers_from_a_start():
    """That of another order of the same clusters is fitted as well, and as it is numbered."""
    points = clustered(3000)
    first = KMeans(30).fit(points)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    start = first.centroids_[order] + 0.1
    again = KMeans(30, start=start).fit(points)
    assert again.inertia_ < 1.01 * first.inertia_
    torch.testing.assert_close(again.centroids_, first.centroids_[order], rtol=0, atol=0.2)


def test_the_same_seed_gives_the_same_and_another_does_not():
    points = clustered(1000)
    first, again, other = (KMeans(20, seed=seed).fit(points).centroids_ for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_saved_state_goes_on_as_if_unbroken(tmp_path):
    parts = clustered(3000).chunk(3)
    unbroken = KMeans(20)
    unbroken.partial_fit(parts[0])
    torch.save(unbroken.state_dict(), tmp_path / "state.pt")
    resumed = KMeans(20)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.inertia_ == unbroken.inertia_
    for part in parts[1:]:
        unbroken.partial_fit(part)
        resumed.partial_fit(part)
    assert torch.equal(resumed.centroids_, unbroken.centroids_)


def test_unsound_points_are_refused():
    kmeans = KMeans(4)
    with pytest.raises(ValueError, match="3 points cannot make 4 clusters: give more audio"):
        kmeans.fit(torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"must be floats of shape \[points, dim\], got torch.int64 of \[4, 2\]"):
        kmeans.fit(torch.zeros(4, 2, dtype=torch.int64))
    points = clustered(100)
    with pytest.raises(ValueError, match="NaN or infinite"):
        kmeans.fit(points.index_fill(0, torch.tensor([3]), torch.nan))
    kmeans.partial_fit(points)
    with pytest.raises(ValueError, match=r"must be \[points, 8\], got shape \[100, 7\]"):
        kmeans.partial_fit(points[:, :7])


# --- features of a corpus


@pytest.fixture(scope="module")
def encoder():
    return Encoder(tiny_model("hubert-base"), normalize=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Real speech in short clips of unequal lengths."""
    folder = tmp_path_factory.mktemp("clips")
    for path in CLIPS:
        waveform = load_audio(path)
        for number, start in enumerate(range(0, len(waveform) - 13000, 6000)):
            save_audio(folder / f"{path.stem}-{number}.wav", waveform[start : start + 8500 + 400 * number])
    return folder


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(8000, 20000), min_size=1, max_size=5))
def test_padded_frames_are_never_counted(encoder, lengths, tmp_path_factory):
    generator = np.random.default_rng(0)
    clips = [generator.normal(0, 3000, length).astype(np.int16) for length in lengths]
    corpus = corpus_of(tmp_path_factory.mktemp("corpus"), clips)
    batch = [Piece(clip, 0, length) for clip, length in enumerate(lengths)]
    together = encode_batch(encoder, corpus, batch, [1, 3])
    alone = [encode_batch(encoder, corpus, [piece], [1, 3]) for piece in batch]
    assert len(together[0]) == sum(map(encoder.frame_count, lengths))
    for position, points in enumerate(together):
        expected = torch.cat([features[position] for features in alone])
        torch.testing.assert_close(points, expected, rtol=1e-3, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    seconds=st.lists(st.integers(1, 100), min_size=1, max_size=20),
    part_frames=st.integers(50, 5000),
    processes=st.integers(1, 3),
)
def test_every_sample_is_in_one_part_one_batch_and_one_share(encoder, seconds, part_frames, processes):
    lengths = [second * SAMPLE_RATE + second for second in seconds]
    pieces = draw_pieces(np.array(lengths), SAMPLE_RATE, None, 0)
    parts = split_parts(pieces, encoder, part_frames, 60)
    shares = [share(part, process, processes) for part in parts for process in range(processes)]
    found = sorted(piece for batches in shares for batch in batches for piece in batch)
    for clip, length in enumerate(lengths):
        own = [piece for piece in found if piece.clip == clip]
        assert [piece.start for piece in own] == np.cumsum([0, *[piece.samples for piece in own]])[:-1].tolist()
        assert sum(piece.samples for piece in own) == length
    longest = max(encoder.frame_count(piece.samples) for piece in found)
    for part in parts:
        assert sum(encoder.frame_count(piece.samples) for batch in part for piece in batch) <= part_frames + longest
        assert all(len(batch) * max(p.samples for p in batch) <= 60 * SAMPLE_RATE for batch in part)


def test_hours_end_the_draw():
    drawn = draw_pieces(np.full(20, SAMPLE_RATE), SAMPLE_RATE, 4.5 / 3600, seed=0)
    assert len({piece.clip for piece in drawn}) == len(drawn) == 5
    assert {piece.clip for piece in draw_pieces(np.full(20, SAMPLE_RATE), SAMPLE_RATE, 4.5 / 3600, seed=1)} != {
        p.clip for p in drawn
    }
    assert len(draw_pieces(np.full(20, SAMPLE_RATE), SAMPLE_RATE, None, seed=0)) == 20


# --- the training step


@pytest.fixture(scope="module")
def config(encoder, clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kmeans")
    tiny_model("hubert-base").save_pretrained(folder / "encoder")
    return KMeansConfig(
        folder=str(folder / "whole"),
        data=[str(clips)],
        encoder=str(folder / "encoder"),
        layers=[1, 3],
        codebook_sizes=[[20, 8], 10],
        normalize=True,
        batch_seconds=2,
        half_precision=True,
    )


def in_parts(config: KMeansConfig, folder: Path | str, frames: int = 300) -> KMeansConfig:
    return dataclasses.replace(config, folder=str(folder), memory_gib=frames * 2 * 32 * 2 / 2**30)


def run(config: KMeansConfig) -> list[torch.Tensor]:
    train_kmeans(config)
    return centroids_in(config.folder)


def centroids_in(folder: Path | str) -> list[torch.Tensor]:
    tokenizer = Tokenizer.from_pretrained(Path(folder) / "tokenizer")
    assert tokenizer.layers == (1, 3) and tokenizer.stages == (2, 1) and tokenizer.codebook_sizes == (20, 8, 10)
    return [tokenizer.centroids(1), tokenizer.centroids(1, 2), tokenizer.centroids(3)]


@pytest.fixture(scope="module")
def whole(config):
    return run(config)


@pytest.fixture(scope="module")
def parts(config):
    return run(in_parts(config, Path(config.folder).parent / "parts"))


def logged(folder: Path | str) -> dict[tuple[int, int], dict[str, float]]:
    lines = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return {(line["step"], line["stage"]): line for line in lines}


@pytest.mark.parametrize("kind", ["whole", "parts"])
def test_a_run_fits_each_stage_to_what_the_stages_before_left_over(config, kind, request):
    first, second, _ = request.getfixturevalue(kind)
    tokenizer = Tokenizer.from_pretrained(Path(config.folder).parent / kind / "tokenizer")
    points = torch.cat([tokenizer.features(path)[0, 0] for path in sorted(Path(config.data[0]).glob("*.wav"))])
    left = points - first[torch.cdist(points, first).argmin(1)]
    reference = KMeans(8).fit(left).inertia_
    found = float(torch.cdist(left, second).min(1).values.square().mean())
    assert found < (1.02 if kind == "whole" else 1.1) * reference
    log = logged(Path(config.folder).parent / kind)
    assert log.keys() == {(1, 1), (1, 2), (3, 1)}
    assert log[1, 2]["inertia"] < 0.9 * log[1, 1]["inertia"]
    assert 0 < log[1, 1]["explained_variance"] < log[1, 2]["explained_variance"] < 1
    assert 2 < log[1, 1]["entropy_bits"] <= np.log2(20)
    assert not any(line["dead_clusters"] for line in log.values())


@pytest.mark.parametrize(("kind", "saves"), [("whole", 2), ("parts", 1), ("parts", 5)])
def test_a_killed_run_resumed_equals_an_unbroken_one(config, kind, saves, request, tmp_path, monkeypatch):
    broken = dataclasses.replace(config, folder=str(tmp_path)) if kind == "whole" else in_parts(config, tmp_path)
    save, left = Codebooks._save, saves

    def save_and_die(codebooks):
        nonlocal left
        save(codebooks)
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Codebooks, "_save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train_kmeans(broken)
    with pytest.raises(ConfigError, match="state of a run with other settings"):
        train_kmeans(dataclasses.replace(broken, seed=1))
    resumed = run(broken)
    assert all(map(torch.equal, resumed, request.getfixturevalue(kind)))
    assert not (tmp_path / "state.pt").exists()


def test_a_run_that_starts_from_a_tokenizer_keeps_what_codes_mean(config, whole, tmp_path):
    start = str(Path(config.folder) / "tokenizer")
    again = run(dataclasses.replace(config, folder=str(tmp_path / "again"), start_from=start, seed=1))
    for new, old in zip(again, whole, strict=True):
        assert (torch.cdist(new, old).argmin(1) == torch.arange(len(old))).float().mean() > 0.9
    other = dataclasses.replace(
        config, folder=str(tmp_path / "other"), start_from=start, codebook_sizes=[[20, 8, 4], 10]
    )
    with pytest.raises(ConfigError, match=r"has codebooks \[\(20, 32\), \(8, 32\)\] of layer 1, and \[20, 8, 4\]"):
        train_kmeans(other)


def test_two_processes_give_the_kmeans_of_one(config, whole, parts, tmp_path):
    script = tmp_path / "both.py"
    script.write_text(
        "import sys\n"
        "from semtok.training.kmeans.trainer import train_kmeans\n"
        "from semtok.training.config import load_config\n"
        "from semtok.training.kmeans.config import KMeansConfig\n"
        "for path in sys.argv[1:]:\n"
        "    train_kmeans(load_config(path, KMeansConfig))\n"
    )
    both = [dataclasses.replace(config, folder=str(tmp_path / "whole")), in_parts(config, tmp_path / "parts")]
    for written in both:
        (tmp_path / f"{Path(written.folder).name}.yaml").write_text(json.dumps(dataclasses.asdict(written)))
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", script]
    run_python(*launch, tmp_path / "whole.yaml", tmp_path / "parts.yaml")
    for folder, expected in (("whole", whole), ("parts", parts)):
        for found, wanted in zip(centroids_in(tmp_path / folder), expected, strict=True):
            # Sums are added in another order: float32 rounding, then that of half-precision centroids.
            torch.testing.assert_close(found, wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("codebook_sizes: [5]", r"layers \[1, 3\] need as many codebook_sizes"),
        ("codebook_sizes: [[], 5]", "2 at least"),
        ("codebook_sizes: [1, 5]", "2 at least"),
        ("codebook_sizes: [5, many]", r"codebook_sizes\[1\]: expected int, got 'many'"),
        ("layers: [1, 1]", r"layers must differ, got \[1, 1\]"),
        ("hours: 0", "must be above zero"),
    ],
)
def test_settings_that_make_no_sense_are_refused(config, change, message, tmp_path):
    written = {**dataclasses.asdict(config), "folder": str(tmp_path)}
    (tmp_path / "config.yaml").write_text(json.dumps(written))
    with pytest.raises(ConfigError, match=message):
        train_kmeans(load_config(tmp_path / "config.yaml", KMeansConfig, [change.replace(": ", "=", 1)]))
