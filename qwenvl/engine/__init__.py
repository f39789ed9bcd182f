"""The engine behind the API: its protocol here, its implementation on vLLM in ``engine.vllm_engine``."""

from qwenvl.engine.protocol import (
    Adapter,
    AdapterSource,
    Delta,
    Engine,
    FinishReason,
    GenerationRequest,
    ModelInfo,
    PositionLogprobs,
    SamplingDefaults,
    SamplingOptions,
    Step,
    Structure,
    StructureKind,
    TokenLogprob,
    Usage,
)

__all__ = [
    "Adapter",
    "AdapterSource",
    "Delta",
    "Engine",
    "FinishReason",
    "GenerationRequest",
    "ModelInfo",
    "PositionLogprobs",
    "SamplingDefaults",
    "SamplingOptions",
    "Step",
    "Structure",
    "StructureKind",
    "TokenLogprob",
    "Usage",
]
