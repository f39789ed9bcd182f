import pytest

from qwenvl.api.responses.objects import InputImage, InputMessage, InputText, Item
from qwenvl.api.responses.store import ResponseNotFoundError, ResponseStore, StoredItem, StoredResponse


def item(text: str, item_id: str = "msg") -> StoredItem:
    part = InputText(type="input_text", text=text)
    return StoredItem.of(InputMessage(id=item_id, type="message", role="user", status="completed", content=[part]))


def response(*before: StoredItem, output: StoredItem | None = None, body: bytes = b"{}") -> StoredResponse:
    return StoredResponse(body, before, (output or item("out", "msg_out"),))


def text_of(found: Item | None) -> str:
    assert isinstance(found, InputMessage)
    assert isinstance(found.content[0], InputText)
    return found.content[0].text


def test_pictures_count_with_their_data() -> None:
    part = InputImage(type="input_image", image_url="data:" + "A" * 1_000_000, detail="auto")
    message = InputMessage(id="msg", type="message", role="user", status="completed", content=[part])
    assert 1_000_000 < StoredItem.of(message).n_bytes < 1_010_000


def test_each_caller_sees_its_own() -> None:
    store = ResponseStore(10)
    store.add("ann", "resp_1", response(item("Hello", "msg_1")))
    assert store.find("ann", "resp_1") is not None
    assert store.find("bob", "resp_1") is None
    assert store.find_item("bob", "msg_1") is None
    with pytest.raises(ResponseNotFoundError):
        store.delete("bob", "resp_1")
    assert store.find("ann", "resp_1") is not None


def test_those_longest_unused_go_first() -> None:
    store = ResponseStore(2)
    store.add("ann", "resp_1", response())
    store.add("ann", "resp_2", response())
    store.find("ann", "resp_1")
    store.add("ann", "resp_3", response())
    assert store.find("ann", "resp_2") is None
    assert store.find("ann", "resp_1") is not None
    assert len(store) == 2


def test_bytes_are_bounded() -> None:
    store = ResponseStore(1000, max_bytes=100_000)
    for i in range(100):
        store.add("ann", f"resp_{i}", response(item("x" * 20_000)))
        assert store.n_bytes <= 100_000
    assert 1 <= len(store) <= 4
    assert store.find("ann", "resp_99") is not None


def test_one_that_is_too_large_pushes_no_other_out() -> None:
    store = ResponseStore(1000, max_bytes=100_000)
    store.add("ann", "resp_1", response())
    store.add("ann", "resp_2", response(item("x" * 200_000)))
    assert store.find("ann", "resp_1") is not None
    assert store.find("ann", "resp_2") is None


def test_items_that_responses_share_count_once() -> None:
    store = ResponseStore(1000, max_bytes=100_000)
    picture = item("x" * 50_000, "msg_picture")
    first = response(picture)
    second = response(*first.conversation, item("And now?"))
    store.add("ann", "resp_1", first)
    store.add("ann", "resp_2", second)
    assert store.n_bytes < 60_000
    store.delete("ann", "resp_1")
    assert store.find_item("ann", "msg_picture") is not None
    assert store.n_bytes > 50_000
    store.delete("ann", "resp_2")
    assert store.find_item("ann", "msg_picture") is None
    assert (store.n_bytes, len(store)) == (0, 0)


def test_the_latest_of_two_items_with_one_id_is_found() -> None:
    store = ResponseStore(10)
    store.add("ann", "resp_1", response(item("old", "msg_1")))
    store.add("ann", "resp_2", response(item("new", "msg_1")))
    assert text_of(store.find_item("ann", "msg_1")) == "new"
    store.delete("ann", "resp_1")
    assert text_of(store.find_item("ann", "msg_1")) == "new"


def test_a_store_of_none_keeps_nothing() -> None:
    store = ResponseStore(0)
    store.add("ann", "resp_1", response())
    assert store.find("ann", "resp_1") is None
