"""Which adapters an engine serves, and how many requests run on each. No file and no weight is touched here."""

import asyncio
import itertools
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from qwenvl.engine.protocol import Adapter, AdapterSource
from qwenvl.errors import CheckpointError, EngineError, ModelNotFoundError, UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*(/[A-Za-z0-9][A-Za-z0-9._:-]*)*")
LONGEST_NAME = 128
_LONGEST_MESSAGE = 1000


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


class AdapterInUseError(UserError):
    """There is no room until requests that run on an adapter which was unloaded or replaced have finished."""

    status = 409

    def __init__(self, message: str) -> None:
        super().__init__(message, param="lora_name", code="adapter_in_use")


class AdapterLoadError(EngineError):
    """The server failed on an adapter that nothing is known to be wrong with.

    Attributes:
        name: the adapter's.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the adapter {name!r} could not be loaded: {reason}")
        self.name = name


def unfit(name: str, error: CheckpointError) -> CheckpointError:
    """The error with the adapter's name before it. What it quotes may be of any length, and no text at all."""
    message = str(error).encode(errors="backslashreplace").decode()
    if len(message) > _LONGEST_MESSAGE:
        half = _LONGEST_MESSAGE // 2
        message = f"{message[:half]} ... {message[-half:]}"
    return CheckpointError(f"adapter {name!r}: {message}")


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
        folder: the copy that the engine loads.
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
    """The adapters by name, and those that come and go. Its methods take no time, so none sees a change half done.

    Args:
        capacity: most adapters. The engine must have room for one more: one that is replaced is there beside the new
            one until its requests have finished.

    Attributes:
        adapters: what requests can name, in the order of loading.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._served: dict[str, Served] = {}
        self._loading: set[str] = set()
        self._leaving: set[Served] = set()
        self._numbers = itertools.count(1)
        self._adapters: dict[str, Adapter] = {}
        self.adapters: Mapping[str, Adapter] = MappingProxyType(self._adapters)

    def new_number(self) -> int:
        """A number for a loading: 1, 2, ... Threads may ask for one."""
        return next(self._numbers)

    @contextmanager
    def loading(self, name: str, models: Collection[str], *, replace: bool = False) -> Iterator[None]:
        """Keep a name and a place for an adapter that is loaded during the block.

        Args:
            models: names of the model itself.
            replace: the name may be an adapter's.

        Raises:
            UserError: it cannot have the name, the name is taken, or there are as many adapters as may be.
        """
        self._check_name(name, models, replace=replace)
        self._check_room(replacing=name in self._served)
        self._loading.add(name)
        try:
            yield
        finally:
            self._loading.discard(name)

    def _check_name(self, name: str, models: Collection[str], *, replace: bool) -> None:
        check_name(name)
        if name in models:
            raise AdapterExistsError(f"{name!r} is the name of the model itself: give the adapter another one.")
        if name in self._loading:
            raise AdapterExistsError(f"An adapter {name!r} is being loaded just now.")
        if name in self._served and not replace:
            raise AdapterExistsError(
                f"There is an adapter {name!r} already: unload it first, or set load_inplace to replace it."
            )

    def _check_room(self, *, replacing: bool) -> None:
        room = self._capacity + replacing
        served, loading, leaving = len(self._served), len(self._loading), len(self._leaving)
        if served >= room:
            raise UserError(
                f"There are {served} adapters, and --max-cpu-loras is {self._capacity}: unload one first.",
                param="lora_name",
                code="too_many_adapters",
            )
        if served + loading + leaving >= room:
            raise AdapterInUseError(
                f"--max-cpu-loras is {self._capacity}, and beside {served} adapters {loading} are being loaded and "
                f"{leaving} earlier ones are still in use: try again when their requests have finished."
            )

    def put(self, served: Served) -> Served | None:
        """Serve an adapter from now on; the one whose place it took, if any, is leaving."""
        name = served.adapter.name
        before = self.remove(name) if name in self._served else None
        self._served[name] = served
        self._adapters[name] = served.adapter
        return before

    def remove(self, name: str) -> Served:
        """Serve an adapter no more; it is leaving, and requests that run on it are still counted.

        Raises:
            AdapterNotFoundError: there is none of this name.
        """
        if name not in self._served:
            raise AdapterNotFoundError(name)
        served = self._served.pop(name)
        del self._adapters[name]
        self.leave(served)
        return served

    def leave(self, served: Served) -> None:
        """The engine may hold an adapter that nobody can name."""
        self._leaving.add(served)

    def left(self, served: Served) -> None:
        """The engine holds it no more."""
        self._leaving.discard(served)

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
