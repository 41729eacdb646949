"""The measures of `semtok.analysis` on codes and labels with known answers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from semtok.analysis import (
    Choice,
    abx_error,
    code_statistics,
    conditional_information,
    information,
    information_matrix,
    knee,
    layer_shares,
    probe,
    pwcca,
    select_layers,
)
from semtok.analysis.abx import Example, Triplets, angle, draw_triplets, dtw_distances
from semtok.analysis.stability import edit_distances
from semtok.downstream.text import edit_distance

FRAMES = 8000
GROUPS = np.arange(FRAMES) // 100


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def test_statistics_of_codes():
    codes = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0])
    statistics = code_statistics(codes, [8, 4], 4, 50.0)
    assert (statistics.used, statistics.mean_run, statistics.bitrate) == (0.5, 3.0, 100.0)
    assert statistics.perplexity == pytest.approx(math.exp(-(7 * math.log(7 / 12) + 5 * math.log(5 / 12)) / 12))
    # runs of 4, 4 | 1, 3: the border of the clips cuts one in two
    assert statistics.run_length_bitrate == pytest.approx(50 * 4 / 12 * (2 + 2))
    assert statistics.run_entropy_bitrate == pytest.approx(50 * 4 / 12 * (1 + 1.5))
    every = code_statistics(np.arange(64) % 8, [64], 8, 50.0)
    assert every.perplexity == pytest.approx(8) and every.entropy_bitrate == pytest.approx(every.bitrate) == 150
    with pytest.raises(ValueError, match="lengths"):
        code_statistics(codes, [3], 4, 50.0)


def test_codes_that_are_the_labels_tell_all(generator):
    labels = generator.integers(40, size=FRAMES)
    told = information(labels, 39 - labels, GROUPS)
    assert told.normalized == pytest.approx(1) and told.purity == told.cluster_purity == 1
    assert told.held_out == pytest.approx(told.entropy, rel=0.01)


def test_information_is_normalized_by_the_entropy_of_the_labels(generator):
    """PNMI is 1 where the codes know the label, however much else they know."""
    labels = generator.integers(4, size=FRAMES)
    codes = 8 * labels + generator.integers(8, size=FRAMES)
    assert information(labels, codes, GROUPS).normalized == pytest.approx(1)
    assert information(codes, labels, GROUPS).normalized == pytest.approx(2 / 5, rel=0.01)


def test_independent_codes_tell_nothing_but_the_bias(generator):
    labels, codes = generator.integers(40, size=FRAMES), generator.integers(50, size=FRAMES)
    told = information(labels, codes, GROUPS)
    assert told.bits > 0.1 and told.bits == pytest.approx(told.bias, rel=0.2)
    assert told.bits * math.log(2) == pytest.approx(mutual_info_score(labels, codes))
    assert abs(told.held_out) < 0.005


def test_frames_that_repeat_within_a_clip_are_not_mistaken_for_knowledge(generator):
    # each clip holds one label and one code of many, drawn without regard to each other
    labels, codes = np.repeat(generator.integers(10, size=400), 20), np.repeat(generator.integers(100, size=400), 20)
    told = information(labels, codes, np.arange(FRAMES) // 20)
    assert told.bits > 1.5 and abs(told.held_out) < 0.1


def test_with_few_clips_nothing_can_be_held_out(generator):
    labels = generator.integers(4, size=100)
    assert math.isnan(information(labels, labels, np.arange(100) // 50).held_out)


def test_information_given_another_label(generator):
    phones, speakers = generator.integers(4, size=(2, FRAMES))
    bits, bias = conditional_information(speakers, 4 * speakers + phones, phones)
    assert bits == pytest.approx(2, abs=0.01)
    bits, bias = conditional_information(speakers, phones, phones)
    assert bits == bias == 0


def test_information_given_another_label_is_averaged_over_frames():
    """Of three frames in four, whose phone is 0, the code tells the speaker; of the others it tells nothing."""
    phones = np.repeat([0, 1], [96, 32])
    speakers = np.arange(128) % 2
    bits, bias = conditional_information(speakers, np.where(phones == 0, speakers, 0), phones)
    assert bits == pytest.approx(3 / 4)
    # Miller: 2 cells less 2 labels less 2 codes and 1, by twice 96 frames, in nats; none of the others
    assert bias == pytest.approx(3 / 4 * (2 - 2 - 2 + 1) / (2 * 96 * math.log(2)))


def test_two_codes_of_which_only_both_together_tell_the_label(generator):
    one, other = generator.integers(2, size=(2, FRAMES))
    codes, sizes = {1: one, 2: other}, {1: 2, 2: 2}
    shares = layer_shares([1, 2], value_of(codes, sizes, one ^ other))
    for share in shares.values():
        assert share.alone == pytest.approx(0, abs=0.02)
        assert share.conditional_gain == pytest.approx(1, abs=0.02)
        assert share.shapley == pytest.approx(0.5, abs=0.02)
    linear = probe(np.stack([one, other]), one ^ other, GROUPS, [2, 2], linear=True)
    assert linear.bits == pytest.approx(0, abs=0.02)


def test_layers_that_are_copies_share_alike(generator):
    labels = generator.integers(10, size=FRAMES)
    codes = np.where(generator.random(FRAMES) < 0.7, labels, generator.integers(10, size=FRAMES))
    value = value_of({1: codes, 2: codes, 3: generator.integers(10, size=FRAMES)}, dict.fromkeys((1, 2, 3), 10), labels)
    shares = layer_shares([1, 2, 3], value)
    assert shares[1].alone > 1.2
    assert abs(shares[1].conditional_gain) < 0.03 and abs(shares[3].conditional_gain) < 0.03
    assert shares[1].shapley == pytest.approx(shares[2].shapley, abs=0.03)
    assert sum(share.shapley for share in shares.values()) == pytest.approx(value((1, 2, 3)))


def test_shares_of_many_layers_add_up():
    worth = {layer: layer / 10 for layer in range(1, 9)}
    shares = layer_shares(list(worth), lambda subset: sum(worth[layer] for layer in subset))
    for layer, share in shares.items():
        assert share.alone == pytest.approx(worth[layer]) == pytest.approx(share.shapley)
        assert share.conditional_gain == pytest.approx(worth[layer])


def test_a_probe_that_finds_nothing_says_so_and_needs_three_groups(generator):
    labels, codes = generator.integers(5, size=FRAMES), generator.integers(50, size=(1, FRAMES))
    nothing = probe(codes, labels, GROUPS, [50])
    assert abs(nothing.bits) < 0.02 and nothing.accuracy == pytest.approx(0.2, abs=0.05)
    clips = probe(GROUPS[None] % 5, GROUPS % 5, GROUPS, [5])
    assert clips.accuracy == clips.group_accuracy == 1
    with pytest.raises(ValueError, match="3 groups"):
        probe(codes, labels, GROUPS // 40, [50])


def test_information_between_rows(generator):
    one, other = generator.integers(8, size=(2, FRAMES))
    matrix = information_matrix([one, 7 - one, other], GROUPS)
    assert matrix[0, 1] == pytest.approx(3, abs=0.02) and matrix[0, 2] == pytest.approx(0, abs=0.01)
    assert np.array_equal(matrix, matrix.T) and matrix[2, 2] == pytest.approx(3, abs=0.01)


def test_the_layers_in_which_a_purpose_was_planted_are_selected(generator):
    labels = generator.integers(16, size=FRAMES)
    codes = {
        1: generator.integers(20, size=FRAMES),
        2: labels % 4,
        5: labels // 4,
        7: np.where(generator.random(FRAMES) < 0.2, labels, generator.integers(16, size=FRAMES)),
    }
    value = value_of(codes, {1: 20, 2: 4, 5: 4, 7: 16}, labels)
    choices = select_layers(list(codes), value, lambda subset: 100.0 * len(subset), most=3)
    assert choices[1].layers == (2, 5) and choices[1].quality == pytest.approx(4, abs=0.05)
    assert knee(choices) == choices[1]


def test_knee():
    def choices(*qualities):
        return [Choice((number,), quality, 100.0 * number) for number, quality in enumerate(qualities, 1)]

    assert knee(choices(0.9, 0.91, 0.92)).layers == (1,)
    assert knee(choices(0.5, 0.9, 0.95, 0.96)).layers == (2,)
    assert knee(choices(1.0, 2.0, 3.0)).layers == (3,), "as long as each layer pays, take it"
    assert knee(choices(1.0, 0.9)).layers == (1,)
    assert knee(choices(0.0, -0.1)).layers == (1,)


def test_the_knee_is_that_of_the_bitrate_not_of_the_number_of_layers():
    choices = [Choice((1,), 0.6, 100.0), Choice((1, 2), 0.9, 110.0), Choice((1, 2, 3), 1.0, 1000.0)]
    assert knee(choices) == choices[1]
    choices = [Choice((1,), 0.6, 100.0), Choice((1, 2), 0.9, 900.0), Choice((1, 2, 3), 1.0, 1000.0)]
    assert knee(choices) == choices[0]


def test_edit_distances(generator):
    lengths = list(itertools.product((0, 1, 7, 20), repeat=2))
    one = [generator.integers(3, size=length) for length, _ in lengths]
    other = [generator.integers(3, size=length) for _, length in lengths]
    expected = [edit_distance(a.tolist(), b.tolist()) for a, b in zip(one, other, strict=True)]
    assert edit_distances(one, other).tolist() == expected


def test_abx_of_separable_and_of_random_tokens(generator):
    examples = [
        Example(0, 0, phone, (before, "x"), speaker)
        for phone, speaker, before, _ in itertools.product("abcd", "rst", "yz", range(4))
    ]
    phones = [np.full(generator.integers(1, 6), "abcd".index(example.phone)) for example in examples]
    separable = [np.eye(4)[codes] for codes in phones]
    noisy = [vectors + 0.1 * generator.standard_normal(vectors.shape) for vectors in separable]
    random = [generator.standard_normal((1, 20)) for _ in examples]
    same = [np.ones((3, 2)) for _ in examples]
    for across in (False, True):
        triplets = draw_triplets(examples, across=across)
        assert len(triplets.examples) > 200
        for a, b, x in triplets.examples:
            assert examples[a].phone == examples[x].phone != examples[b].phone
            assert examples[a].context == examples[b].context == examples[x].context
            assert (examples[a].speaker == examples[x].speaker) != across and a != x
        assert abx_error(triplets, separable, angle) == abx_error(triplets, noisy, angle) == 0
        assert abx_error(triplets, random, angle) == pytest.approx(0.5, abs=0.06)
        assert abx_error(triplets, same, angle) == 0.5, "ties count half"
    assert math.isnan(abx_error(draw_triplets(examples[:1], across=False), random, angle))


def gap(first, second):
    """Distance of numbers, [pairs, frames, 1] twice."""
    return np.abs(first - second.transpose(0, 2, 1))


def test_abx_errors_are_averaged_over_contexts_then_speakers_then_phones():
    points = [np.array([[float(value)]]) for value in (0, 1, 5)]
    right, wrong = (0, 2, 1), (2, 0, 1)  # A, B and X: 1 is nearer to 0 than to 5
    of_cells = {
        (("a", "b"), "r", ("x", "x")): [right, right, right],
        (("a", "b"), "r", ("y", "y")): [wrong],
        (("a", "b"), "s", ("x", "x")): [wrong],
        (("b", "a"), "r", ("x", "x")): [right, right],
    }
    triplets = [triplet for some in of_cells.values() for triplet in some]
    cells = [cell for cell, some in of_cells.items() for _ in some]
    error = abx_error(Triplets(np.array(triplets), cells), points, gap)
    # ((0 + 1) / 2 + 1) / 2 of the first pair of phones, 0 of the other
    assert error == pytest.approx((0.75 + 0) / 2)


@pytest.mark.parametrize("across", [False, True])
def test_abx_errors_are_those_of_fastabx(generator, across):
    """On all triplets of one context; fastabx needs Python 3.12."""
    fastabx, polars, torch = (pytest.importorskip(name) for name in ("fastabx", "polars", "torch"))
    accessor = pytest.importorskip("fastabx.accessor")
    labels = list(itertools.product("abc", "rst", "yz", range(3)))
    centres = dict(zip("abc", 0.5 * generator.standard_normal((3, 12)), strict=True))
    points = [centres[phone] + generator.standard_normal((generator.integers(2, 7), 12)) for phone, *_ in labels]
    triplets, cells = [], []
    for a, b, x in itertools.permutations(range(len(labels)), 3):
        (phone, speaker, context, _), (other, *of_b, _), (same, voice, around, _) = (labels[i] for i in (a, b, x))
        right = same == phone != other and of_b == [speaker, context] and around == context
        if right and (voice != speaker) == across:
            triplets.append((a, b, x))
            cells.append(((phone, other), speaker, (context, "")))
    ours = abx_error(Triplets(np.array(triplets), cells), points, angle)

    columns = dict(zip(("phone", "speaker", "context"), list(zip(*labels, strict=True))[:3], strict=True))
    ends = np.cumsum([len(example) for example in points]).tolist()
    frontiers = dict(enumerate(zip([0, *ends[:-1]], ends, strict=True)))
    data = torch.from_numpy(np.concatenate(points)).float()
    in_memory = accessor.InMemoryAccessor(frontiers, data, torch.device("cpu"))
    by, over = (["context"], ["speaker"]) if across else (["context", "speaker"], None)
    task = fastabx.Task(fastabx.Dataset(polars.DataFrame(columns), in_memory), on="phone", by=by, across=over)
    theirs = fastabx.Score(task, "angular", progress=False).collapse(levels=["context", "speaker"])
    assert 0.1 < theirs < 0.4
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_time_is_warped():
    points = [np.eye(3)[codes] for codes in ([0, 1, 2], [0, 0, 1, 2, 2], [2, 1, 1])]
    pairs = np.array([[0, 1], [0, 2], [0, 0]])
    # 2 is like 2: at best 0-2, 1-1, 2-1, two right angles (half of pi) in three steps
    assert dtw_distances(points, pairs, angle).tolist() == [0, pytest.approx(1 / 3), 0]


def test_a_warped_distance_is_the_mean_along_its_path():
    """0-0, 0-0, 4-4, 4-5: four steps, though either side has three frames."""
    points = [np.array(values, float)[:, None] for values in ([0, 0, 4], [0, 4, 5])]
    assert dtw_distances(points, np.array([[0, 1], [1, 0]]), gap).tolist() == [1 / 4, 1 / 4]


def test_pwcca(generator):
    view = generator.standard_normal((3000, 20))
    turned = view @ np.linalg.qr(generator.standard_normal((20, 20)))[0] * 3 + 1
    assert pwcca(view, turned) == pytest.approx(1)
    assert pwcca(view, generator.standard_normal((3000, 40))) < 0.05
    half = np.concatenate([view[:, :10], generator.standard_normal((3000, 10))], axis=1)
    assert pwcca(view, half) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ValueError, match="too few"):
        pwcca(view[:50], turned[:50])


def value_of(codes, sizes, labels):
    """Bits that some layers tell of the labels."""

    def value(subset):
        return probe(np.stack([codes[layer] for layer in subset]), labels, GROUPS, [sizes[i] for i in subset]).bits

    return value
