"""What the plugin makes of vLLM's configuration."""

from types import SimpleNamespace

import pytest

from qwenvl.model_executor.vllm_plugin.compat import QWenModelConfig


@pytest.mark.parametrize("backend", ["auto", "xgrammar"])
def test_structured_output_runs_on_xgrammar(backend: str) -> None:
    config = SimpleNamespace(structured_outputs_config=SimpleNamespace(backend=backend))
    QWenModelConfig.verify_and_update_config(config)
    assert config.structured_outputs_config.backend == "xgrammar"


def test_another_backend_of_structured_output_is_refused() -> None:
    config = SimpleNamespace(structured_outputs_config=SimpleNamespace(backend="guidance"))
    with pytest.raises(ValueError, match="xgrammar, not guidance"):
        QWenModelConfig.verify_and_update_config(config)
