import logging

import pytest

from qwenvl.model_executor import plugin
from qwenvl.model_executor.vllm_plugin import compat


def test_an_unknown_vllm_is_left_alone(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    applied: list[bool] = []
    monkeypatch.setattr(compat, "apply", lambda: applied.append(True))
    with caplog.at_level(logging.WARNING):
        plugin.register()
        assert applied == [True]
        monkeypatch.setattr("vllm.__version__", "0.34.0")
        plugin.register()
    assert applied == [True]
    assert "does not know vLLM 0.34.0" in caplog.text
