import pytest

from benchmarks.client import AnswerError, sse_events


async def lines(text):
    for line in text.splitlines():
        yield line


async def events(text):
    return [event async for event in sse_events(lines(text))]


@pytest.mark.parametrize(
    "text",
    [
        'data: {"n": 1}\n\ndata: {"n": 2}\n\ndata: [DONE]\n\n',
        'data:{"n": 1}\n\ndata:{"n": 2}\n\ndata:[DONE]\n\n',
        ': ping\n\nevent: x\ndata: {"n":\ndata: 1}\n\n: ping\n\ndata: {"n": 2}\n\ndata: [DONE]\n\n',
        'data: {"n": 1}\n\ndata: {"n": 2}\n\ndata: [DONE]\n\ndata: never read\n\n',
    ],
    ids=["plain", "no spaces", "comments and split data", "past the end"],
)
async def test_events_are_read_as_the_standard_says(text):
    assert await events(text) == [{"n": 1}, {"n": 2}]


async def test_a_stream_cut_short_is_an_error():
    with pytest.raises(AnswerError, match=r"without \[DONE\]"):
        await events('data: {"n": 1}\n\n')


async def test_an_error_in_the_stream_is_an_error():
    with pytest.raises(AnswerError, match="engine died"):
        await events('data: {"error": {"message": "engine died"}}\n\ndata: [DONE]\n\n')
