from qwenvl.demo.fonts import FONT_FILES, word_edges


def test_signs_of_a_word_follow_each_other() -> None:
    edges = word_edges(FONT_FILES[0], "WIM")
    assert list(edges) == sorted(edges)
    assert edges[-1] == 1.0
    assert edges[1] - edges[0] < edges[0]
