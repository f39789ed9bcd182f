"""Responses kept in memory, for ``previous_response_id`` and for reading them again."""

import sys
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

from qwenvl.api.responses.objects import Item
from qwenvl.api.validation import shorten
from qwenvl.errors import UserError

MAX_STORED_BYTES = 256 * 2**20
"""Most memory that stored responses may hold, pictures in data URLs among it."""

_OBJECT_BYTES = 1024
"""What an item or a part of one takes besides its values, rounded up."""


class ResponseNotFoundError(UserError):
    """The caller has no such response, or has it no more."""

    status = 404

    def __init__(self, response_id: str) -> None:
        super().__init__(f"Response with id {shorten(response_id)} not found.")


class PreviousResponseNotFoundError(UserError):
    """The same, where a request wants to go on from there."""

    def __init__(self, response_id: str) -> None:
        super().__init__(
            f"Previous response with id {shorten(response_id)} not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )


@dataclass(frozen=True, slots=True, eq=False)
class StoredItem:
    """An item that the responses of a chain share. Two are never equal: clients may send one id with two contents."""

    item: Item
    n_bytes: int

    @classmethod
    def of(cls, item: Item) -> "StoredItem":
        return cls(item, _size(item.model_dump()))


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it was sent.

    Attributes:
        body: the response object as JSON.
        input: everything that came before its output, oldest first.
        output: what it added.
    """

    body: bytes
    input: tuple[StoredItem, ...]
    output: tuple[StoredItem, ...]

    @property
    def conversation(self) -> tuple[StoredItem, ...]:
        return self.input + self.output


class ResponseStore:
    """Keeps responses by caller and id, within two limits; those longest unused go first.

    Args:
        max_responses: most responses, over all callers.
        max_bytes: most memory; items that several responses share count once.
    """

    def __init__(self, max_responses: int, max_bytes: int = MAX_STORED_BYTES) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._responses: OrderedDict[tuple[str, str], StoredResponse] = OrderedDict()
        self._uses: Counter[StoredItem] = Counter()
        self._items: dict[tuple[str, str], StoredItem] = {}
        self._n_bytes = 0

    def __len__(self) -> int:
        return len(self._responses)

    @property
    def n_bytes(self) -> int:
        """Memory held, as it is counted here."""
        return self._n_bytes

    def add(self, owner: str, response_id: str, response: StoredResponse) -> None:
        """Keep a response; others go where there is no room, or this one where it alone is past the limit."""
        size = len(response.body) + sum(item.n_bytes for item in response.conversation)
        if size > self._max_bytes or self._max_responses == 0:
            return
        self._responses[owner, response_id] = response
        self._n_bytes += len(response.body)
        for item in response.conversation:
            self._uses[item] += 1
            if self._uses[item] == 1:
                self._n_bytes += item.n_bytes
            self._items[owner, item.item.id] = item
        while len(self._responses) > self._max_responses or self._n_bytes > self._max_bytes:
            self._remove(next(iter(self._responses)))

    def find(self, owner: str, response_id: str) -> StoredResponse | None:
        """A caller's response, which counts as used."""
        key = (owner, response_id)
        if key in self._responses:
            self._responses.move_to_end(key)
        return self._responses.get(key)

    def find_item(self, owner: str, item_id: str) -> Item | None:
        """An item of any of a caller's responses; the latest where several have the id."""
        found = self._items.get((owner, item_id))
        return found.item if found is not None else None

    def delete(self, owner: str, response_id: str) -> None:
        """Forget a response. Those that went on from it keep what it said.

        Raises:
            ResponseNotFoundError: there is none.
        """
        if (owner, response_id) not in self._responses:
            raise ResponseNotFoundError(response_id)
        self._remove((owner, response_id))

    def _remove(self, key: tuple[str, str]) -> None:
        response = self._responses.pop(key)
        self._n_bytes -= len(response.body)
        for item in response.conversation:
            self._uses[item] -= 1
            if self._uses[item] == 0:
                del self._uses[item]
                self._n_bytes -= item.n_bytes
                if self._items.get((key[0], item.item.id)) is item:
                    del self._items[key[0], item.item.id]


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return _OBJECT_BYTES + sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list) else sys.getsizeof(value)
