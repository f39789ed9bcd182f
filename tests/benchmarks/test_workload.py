import base64
import io

import pytest
from PIL import Image

from benchmarks.workload import Workload, random_jpeg, words_for_tokens


def picture_of(payload):
    url = payload["messages"][0]["content"][0]["image_url"]["url"]
    return base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))


def test_equal_numbers_give_equal_requests_and_others_differ():
    workload = Workload("m", words=20, max_tokens=8, images="distinct", image_size=64)
    assert workload.payloads(3, start=5) == workload.payloads(3, start=5)
    first, second = workload.payloads(2)
    assert first["messages"] != second["messages"]
    assert picture_of(first) != picture_of(second)


def test_same_means_one_picture_with_other_words():
    first, second = Workload("m", words=20, max_tokens=8, images="same", image_size=64).payloads(2)
    assert picture_of(first) == picture_of(second)
    assert first["messages"] != second["messages"]


def test_pictures_are_jpegs_of_the_size_asked_for():
    image = Image.open(io.BytesIO(random_jpeg(640, "0")))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (640, 640))
    assert len(image.getcolors(640 * 640)) > 1000


def test_answers_have_one_length():
    payload = Workload("m", words=3, max_tokens=8, stream=False).payload(0)
    assert (payload["max_tokens"], payload["ignore_eos"], "stream" in payload) == (8, True, False)
    assert len(payload["messages"][0]["content"][0]["text"].split()) == 3


def test_words_follow_from_two_measurements():
    assert words_for_tokens(512, [(8, 40), (72, 168)]) == 244
    with pytest.raises(ValueError, match="takes 26 tokens already"):
        words_for_tokens(10, [(8, 40), (72, 168)])
