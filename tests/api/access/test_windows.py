import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.api.access.windows import MINUTE, Windows, WindowState, duration
from qwenvl.api.errors import RateLimitError


class Clock:
    def __init__(self) -> None:
        # The beginning of a window.
        self.now = 1_700_000_040.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


async def test_no_more_than_the_limit(clock: Clock) -> None:
    windows = Windows("requests")
    for _ in range(3):
        await windows.take(1, 3, "alice")
    with pytest.raises(RateLimitError) as refused:
        await windows.take(1, 3, "alice")
    assert refused.value.message == (
        "Rate limit reached for alice on requests per min (RPM): Limit 3, Used 3, Requested 1. "
        "Please try again in 1m0s."
    )
    await windows.take(1, 3, "bob")


async def test_come_again_when_told(clock: Clock) -> None:
    windows = Windows("tokens")
    await windows.take(90, 100, "alice")
    clock.now += 20
    with pytest.raises(RateLimitError) as refused:
        await windows.take(50, 100, "alice")
    assert refused.value.retry_after
    clock.now += refused.value.retry_after - 0.5
    with pytest.raises(RateLimitError):
        await windows.take(50, 100, "alice")
    clock.now += 0.6
    await windows.take(50, 100, "alice")


async def test_settling(clock: Clock) -> None:
    windows = Windows("tokens")
    cheap, dear = await windows.take(60, 100, "alice"), await windows.take(20, 100, "alice")
    await windows.settle(cheap, 10)
    await windows.settle(dear, 200)
    assert (await windows.headers(100, "alice"))["x-ratelimit-remaining-tokens"] == "0"
    clock.now += 2 * MINUTE
    assert (await windows.headers(100, "alice"))["x-ratelimit-remaining-tokens"] == "100"


async def test_settling_late_leaves_nothing_behind(clock: Clock) -> None:
    windows = Windows("tokens")
    taken = await windows.take(60, 100, "alice")
    clock.now += 5 * MINUTE
    await windows.settle(taken, 10)
    await windows.take(1, 100, "bob")
    await windows.headers(100, "alice")
    assert [key for key in windows._storage.storage if "alice" in key] == []


async def test_headers(clock: Clock) -> None:
    windows = Windows("requests")
    assert await windows.headers(3, "alice") == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "0ms",
    }
    await windows.take(1, 3, "alice")
    assert await windows.headers(3, "alice") == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "2m0s",
    }


COUNTS = st.integers(0, 500)


@given(COUNTS, COUNTS, st.floats(0.01, MINUTE), st.integers(1, 300), st.integers(0, 299))
def test_the_wait_is_enough_and_not_too_long(previous: int, current: int, left: float, limit: int, less: int) -> None:
    state, cost = WindowState(previous, current, left), max(1, limit - less)
    wait = state.seconds_until(cost, limit)
    assert after(state, wait + 0.001).used + cost <= limit
    if wait > 0.002:
        assert after(state, wait - 0.001).used + cost > limit


def after(state: WindowState, seconds: float) -> WindowState:
    if seconds < state.left:
        return WindowState(state.previous, state.current, state.left - seconds)
    if seconds < state.left + MINUTE:
        return WindowState(state.current, 0, state.left + MINUTE - seconds)
    return WindowState(0, 0, MINUTE)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.0001, "1ms"), (0.25, "250ms"), (1, "1s"), (1.2, "2s"), (60, "1m0s"), (359.5, "6m0s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
