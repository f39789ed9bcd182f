import pytest

from qwenvl.demo.vocabulary import corpus, train_vocabulary


def test_merges_are_the_most_frequent_pairs_first():
    ranks = dict(train_vocabulary("aab aab ab", 259).tokens())
    assert (ranks[b"ab"], ranks[b"aab"], ranks[b" aab"]) == (256, 257, 258)


def test_ties_go_to_the_pair_that_sorts_first():
    ranks = dict(train_vocabulary("zw xy", 258).tokens())
    assert ranks[b" x"] == 256


def test_equal_text_gives_equal_ranks():
    assert list(train_vocabulary(corpus(), 400).tokens()) == list(train_vocabulary(corpus(), 400).tokens())


def test_too_short_a_text_is_refused():
    with pytest.raises(ValueError, match="257 tokens at most"):
        train_vocabulary("ab", 300)


def test_single_bytes_keep_their_values():
    ranks = dict(train_vocabulary("", 256).tokens())
    assert all(ranks[bytes([byte])] == byte for byte in range(256))
