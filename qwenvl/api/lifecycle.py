"""Whether the server takes requests, and why not."""

from qwenvl.api.errors import DrainingError
from qwenvl.engine import Engine
from qwenvl.errors import EngineDeadError, QwenVLError


class Lifecycle:
    """What the process knows and the routes must tell. One for each server.

    Attributes:
        draining: the server was told to stop. Requests are still answered, and no connection is kept for the next.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.draining = False

    def check_alive(self) -> None:
        """Nothing where the engine runs.

        Raises:
            EngineDeadError: it does not.
        """
        if not self._engine.is_alive:
            raise EngineDeadError("the engine does not run")

    def check_ready(self) -> None:
        """Nothing where new requests are welcome.

        Raises:
            EngineDeadError: the engine does not run.
            DrainingError: the server is about to stop.
        """
        self.check_alive()
        if self.draining:
            raise DrainingError

    @property
    def is_stopping(self) -> bool:
        """Whether the process is on its way out, by an order or because the engine died."""
        return self.draining or not self._engine.is_alive

    @property
    def reason_to_stop(self) -> QwenVLError:
        """What to tell a request that is ended because the server stops."""
        return DrainingError() if self._engine.is_alive else EngineDeadError("the engine does not run")
