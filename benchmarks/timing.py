"""Comparing ways to do one thing: the contenders take turns, so that a machine that slows down slows all of them."""

import time
from collections.abc import Callable, Mapping
from statistics import median


def median_seconds(contenders: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median time of each contender's call over ``repeats`` turns, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}
