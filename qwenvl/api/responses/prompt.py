"""A response's conversation to a prompt, without its oldest turns where it may leave them out."""

from collections.abc import Awaitable, Callable, Sequence

from qwenvl.api.chat.prompt import Prompt
from qwenvl.api.responses.items import PlacedItem
from qwenvl.api.responses.objects import InputMessage
from qwenvl.errors import UserError

Read = Callable[[Sequence[PlacedItem]], Awaitable[Prompt]]

_DOES_NOT_FIT = ("context_length_exceeded", "too_many_images")


async def read_truncated(items: Sequence[PlacedItem], read: Read, room: int) -> tuple[Sequence[PlacedItem], Prompt]:
    """The prompt of the whole conversation, or of as many of its last turns as there is room for.

    A turn begins with a message of the user. Messages of the system and the developer stay.

    Args:
        items: the conversation, oldest first.
        read: makes a prompt of items.
        room: most tokens of a prompt that turns were left out of.

    Returns:
        The items that stayed, and their prompt.

    Raises:
        UserError: the last turn alone does not fit, or something else is wrong with it.
    """
    try:
        return items, await read(items)
    except UserError as error:
        if error.code not in _DOES_NOT_FIT:
            raise
    starts = [i for i, placed in enumerate(items) if _is_question(placed)]
    # The fewest turns to leave out, between one and all but the last, by halves: each try renders what is left.
    fewest, most = 1, len(starts) - 1
    found = None
    while fewest < most:
        middle = (fewest + most) // 2
        kept = _since(starts[middle], items)
        prompt = await _fitting(kept, read, room)
        if prompt is None:
            fewest = middle + 1
        else:
            most, found = middle, (kept, prompt)
    if found is not None:
        return found
    kept = _since(starts[-1], items) if starts else list(items)
    return kept, await read(kept)


async def _fitting(items: Sequence[PlacedItem], read: Read, room: int) -> Prompt | None:
    try:
        prompt = await read(items)
    except UserError as error:
        if error.code not in _DOES_NOT_FIT:
            raise
        return None
    return prompt if prompt.length <= room else None


def _is_question(placed: PlacedItem) -> bool:
    return isinstance(placed.item, InputMessage) and placed.item.role == "user"


def _since(start: int, items: Sequence[PlacedItem]) -> list[PlacedItem]:
    """The items from there on, and what the system said before."""
    return [
        placed
        for i, placed in enumerate(items)
        if i >= start or (isinstance(placed.item, InputMessage) and placed.item.role != "user")
    ]
