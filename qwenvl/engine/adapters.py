"""Which adapters an engine serves, and how many requests run on each. No file and no weight is touched here."""

import asyncio
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from qwenvl.engine.protocol import Adapter, AdapterSource
from qwenvl.errors import ModelNotFoundError, UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*(/[A-Za-z0-9][A-Za-z0-9._:-]*)*")
LONGEST_NAME = 128


class AdapterExistsError(UserError):
    """The name is taken."""

    status = 409

    def __init__(self, message: str) -> None:
        super().__init__(message, param="lora_name", code="adapter_exists")


class AdapterNotFoundError(UserError):
    """No adapter has this name."""

    status = 404

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no adapter {name!r} here.", param="lora_name", code="adapter_not_found")


def check_name(name: str) -> str:
    """The name, if an adapter can have it: letters, digits and ``._:-``, in parts that slashes may separate.

    Raises:
        UserError: it cannot.
    """
    if len(name) > LONGEST_NAME or not NAME.fullmatch(name):
        raise UserError(
            f"The name of an adapter has up to {LONGEST_NAME} letters, digits and ._:- in parts between slashes, each "
            f"of which starts with a letter or digit; {name[:LONGEST_NAME]!r} does not.",
            param="lora_name",
            code="invalid_value",
        )
    return name


def read_source(text: str) -> AdapterSource:
    """``NAME=FOLDER``.

    Raises:
        UserError: it is not of that form, or no adapter can have the name.
    """
    name, separator, folder = text.partition("=")
    if not separator or not folder:
        raise UserError(f"An adapter is given as NAME=FOLDER, not as {text!r}.")
    return AdapterSource(check_name(name), Path(folder))


@dataclass(eq=False, slots=True)
class Served:
    """An adapter as it was loaded once. Loaded again under the same name it is another one.

    Attributes:
        number: of the loading, never given twice: what is cached for one is not found for the next.
        folder: the copy that the engine reads.
        idle: set while no request runs on it.
    """

    adapter: Adapter
    number: int
    folder: Path
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.idle.set()


class AdapterTable:
    """The adapters by name.

    Attributes:
        changing: to be held by whoever loads or unloads, from the first check to the last change.
    """

    def __init__(self) -> None:
        self.changing = asyncio.Lock()
        self._served: dict[str, Served] = {}
        self._last_number = 0

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """What requests can name, in the order of loading."""
        return {name: served.adapter for name, served in self._served.items()}

    def new_number(self) -> int:
        """A number for a loading: 1, 2, ..."""
        self._last_number += 1
        return self._last_number

    def check_free(self, name: str, models: Collection[str], *, capacity: int, replace: bool) -> None:
        """Raise unless an adapter can be loaded under this name.

        Args:
            models: names of the model itself.
            capacity: most adapters.
            replace: the name may be an adapter's.

        Raises:
            UserError: it cannot have the name, the name is taken, or there are as many adapters as may be.
        """
        check_name(name)
        if name in models:
            raise AdapterExistsError(f"{name!r} is the name of the model itself: give the adapter another one.")
        if name in self._served:
            if not replace:
                raise AdapterExistsError(
                    f"There is an adapter {name!r} already: unload it first, or set load_inplace to replace it."
                )
        elif len(self._served) >= capacity:
            raise UserError(
                f"There are {len(self._served)} adapters, and --max-cpu-loras is {capacity}: unload one first.",
                param="lora_name",
                code="too_many_adapters",
            )

    def put(self, served: Served) -> Served | None:
        """Serve an adapter from now on; the one whose place it took, if any."""
        # At the end, as the latest loaded.
        before = self._served.pop(served.adapter.name, None)
        self._served[served.adapter.name] = served
        return before

    def remove(self, name: str) -> Served:
        """Serve an adapter no more; requests that run on it are still counted.

        Raises:
            AdapterNotFoundError: there is none of this name.
        """
        if name not in self._served:
            raise AdapterNotFoundError(name)
        return self._served.pop(name)

    @contextmanager
    def used(self, name: str | None) -> Iterator[Served | None]:
        """The adapter of a request that runs during the block; None where it asks for none.

        Raises:
            ModelNotFoundError: there is none of this name, any more.
        """
        if name is None:
            yield None
            return
        served = self._served.get(name)
        if served is None:
            raise ModelNotFoundError(f"The adapter {name!r} is not served here any more.")
        served.users += 1
        served.idle.clear()
        try:
            yield served
        finally:
            served.users -= 1
            if not served.users:
                served.idle.set()
