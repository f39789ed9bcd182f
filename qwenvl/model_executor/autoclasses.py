"""Teaches transformers' Auto classes the original checkpoints as soon as they are there, and not before.

``import qwenvl`` must stay light: who draws boxes or parses answers needs neither transformers nor torch. So what each
Auto class needs is registered when the module that defines the class is imported, now or ever.
"""

import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def _register_config() -> None:
    from transformers import AutoConfig

    from qwenvl.model_executor.config import QWenConfig

    AutoConfig.register(QWenConfig.model_type, QWenConfig, exist_ok=True)


def _register_tokenizer() -> None:
    from transformers import AutoTokenizer, PreTrainedConfig

    from qwenvl.model_executor.tokenizer import QWenTokenizer

    class Nobodys(PreTrainedConfig):
        """No checkpoint's: the tokenizer is found by its name.

        Found by ``QWenConfig``, it would give way to the code that a checkpoint names, where ``trust_remote_code`` is
        set.
        """

    AutoTokenizer.register(Nobodys, slow_tokenizer_class=QWenTokenizer, exist_ok=True)


def _register_model() -> None:
    # It registers itself at its end: it may be what imports the module of the Auto class just now.
    import qwenvl.model_executor.modeling  # noqa: F401


_REGISTER: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": _register_config,
    "transformers.models.auto.tokenization_auto": _register_tokenizer,
    "transformers.models.auto.modeling_auto": _register_model,
}


class _AfterImport:
    """Finds the modules above as usual, and has them run their registration once they are loaded."""

    def __init__(self) -> None:
        # Of each thread: another may import one of them at the same time.
        self._this_thread = threading.local()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        register = _REGISTER.get(name)
        if register is None or getattr(self._this_thread, "finding", False):
            return None
        self._this_thread.finding = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._this_thread.finding = False
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_register(module: ModuleType) -> None:
            load(module)
            register()

        spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Register with what is imported already, and with the rest when it is. Idempotent."""
    if not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())
    for name, register in _REGISTER.items():
        if name in sys.modules:
            register()
