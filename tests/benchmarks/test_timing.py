from benchmarks.timing import median_seconds


def test_contenders_take_turns_and_the_first_turn_does_not_count():
    calls = []
    seconds = median_seconds({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert calls == ["a", "b"] * 4
    assert seconds.keys() == {"a", "b"}
    assert all(value >= 0 for value in seconds.values())
