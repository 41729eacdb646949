"""`Codebooks`: one value for layers, stages, sizes and rows, in the order that was asked for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semtok.codebooks.codebooks import Codebooks
from semtok.errors import ConfigError, LayerError

codebooks = st.dictionaries(
    st.integers(0, 30), st.lists(st.integers(1, 1000), min_size=1, max_size=4), min_size=1, max_size=6
).map(Codebooks)


@given(codebooks)
def test_rows_are_one_a_stage_in_order(books):
    assert sum(books.stages) == len(books.sizes) == len(books.names)
    rows = [row for rows in books.rows.values() for row in range(*rows.indices(100))]
    assert rows == list(range(len(books.sizes)))
    assert all(books.sizes[rows] == books[layer] for layer, rows in books.rows.items())
    assert Codebooks.from_rows(books.layers, books.sizes, books.stages) == books
    assert math.isclose(books.bits, sum(math.log2(size) for size in books.sizes), abs_tol=1e-9)


@given(codebooks, st.data())
def test_selected_are_in_the_order_asked(books, data):
    layers = data.draw(st.permutations(books.layers))[: data.draw(st.integers(1, len(books)))]
    selected = books.select(layers, owner="it")
    assert selected.layers == tuple(layers)
    assert all(selected[layer] == books[layer] for layer in layers)


def test_names_and_order():
    books = Codebooks({7: [10], 1: [5, 4]})
    assert books.names == ("7", "1.1", "1.2")
    assert books.rows == {7: slice(0, 1), 1: slice(1, 3)}
    assert books != Codebooks({1: [5, 4], 7: [10]})
    assert hash(books) == hash(Codebooks({7: (10,), 1: (5, 4)}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), ()), r"layers \[\] need as many stages"),
        (((1, 1), (5, 5)), "each layer can have its codebooks once"),
        (((-1,), (5,)), "layers must be a list of integers of at least 0"),
        (((1, 2), (5, 5), (1,)), r"layers \[1, 2\] need as many stages"),
        (((1, 2), (5, 5), (1, 2)), "need 3 codebook_sizes, got"),
        (((1,), (0,)), "codebook_sizes must be a list of integers of at least 1"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Codebooks.from_rows(*arguments)


def test_sizes_by_layer_are_checked_too():
    with pytest.raises(ConfigError, match="codebooks need layers, numbered from 0"):
        Codebooks({-1: [5]})
    with pytest.raises(ConfigError, match="codebook sizes of at least 1"):
        Codebooks({1: [0]})


def test_layers_that_are_not_there():
    with pytest.raises(LayerError, match=r"the vocoder has no layers \[2\], only \[7, 1\]"):
        Codebooks({7: [10], 1: [5]}).select([2], owner="the vocoder")
