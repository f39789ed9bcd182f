"""The configuration of a Qwen or Qwen-VL checkpoint, read from the original ``config.json``."""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig

from qwenvl.errors import CheckpointError

RESAMPLER_HEAD_SIZE = 128
"""Channels per head of the resampler's cross-attention, fixed by the original."""

TEXT_ARCHITECTURE = "QWenLMHeadModel"
"""What every released checkpoint calls itself, text-only and visual alike."""

VISION_ARCHITECTURE = "QwenVLForConditionalGeneration"
"""What vLLM called the visual model while it had one; selected here where the config has ``visual``."""

PRECISIONS = ("bf16", "fp16", "fp32")
"""Keys of which at most one is true: what the transformers model runs in."""


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """The ``visual`` section of ``config.json``: sizes in pixels, patches and channels.

    Attributes:
        mlp_ratio: the tower's MLP is ``int(width * mlp_ratio)`` wide.
        output_dim: channels of the resampler and of what it hands to the language model.
        n_queries: vectors per image, and so positions an image takes in the prompt.
    """

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp_ratio: float
    output_dim: int
    image_start_id: int
    n_queries: int = 256

    @property
    def grid(self) -> int:
        """Patches along one side of the image."""
        return self.image_size // self.patch_size

    @property
    def head_size(self) -> int:
        """Channels per head of the tower."""
        return self.width // self.heads

    @property
    def mlp_width(self) -> int:
        """Hidden channels of the tower's MLP."""
        return int(self.width * self.mlp_ratio)

    @property
    def resampler_heads(self) -> int:
        """Heads of the resampler's cross-attention."""
        return self.output_dim // RESAMPLER_HEAD_SIZE

    @classmethod
    def from_dict(cls, visual: dict[str, Any], hidden_size: int) -> "VisionConfig":
        """Read and check ``visual``.

        Raises:
            CheckpointError: a key is missing or does not fit the others; the message names it.
        """
        fields = cls.__dataclass_fields__
        required = [name for name in fields if name != "n_queries"]
        if missing := [name for name in required if name not in visual]:
            raise CheckpointError(f"config.json: visual.{missing[0]} is missing")
        vision = cls(**{name: visual[name] for name in fields if name in visual})
        vision._check(hidden_size)
        return vision

    def _check(self, hidden_size: int) -> None:
        for name in ("image_size", "patch_size", "width", "layers", "heads", "output_dim", "n_queries"):
            _require_positive_int(f"visual.{name}", getattr(self, name))
        _require_positive_number("visual.mlp_ratio", self.mlp_ratio)
        _require(self.image_size % self.patch_size == 0, "visual.image_size", "a multiple of visual.patch_size")
        _require(self.width % self.heads == 0, "visual.width", "a multiple of visual.heads")
        _require(
            self.output_dim % RESAMPLER_HEAD_SIZE == 0, "visual.output_dim", f"a multiple of {RESAMPLER_HEAD_SIZE}"
        )
        _require(self.output_dim == hidden_size, "visual.output_dim", f"hidden_size ({hidden_size})")
        _require(int(self.n_queries**0.5) ** 2 == self.n_queries, "visual.n_queries", "a square number")


class QWenConfig(PreTrainedConfig):
    """Configuration of first-generation Qwen models; with ``visual`` it describes a Qwen-VL.

    Keys keep their original names, with one exception: ``seq_length``, the training length that dynamic NTK and log-n
    start from, is held as ``train_length``. vLLM takes an attribute named ``seq_length`` for the context limit, which
    is ``max_position_embeddings``. Saved files carry ``seq_length`` again.
    """

    model_type = "qwen"
    # Read by AutoTokenizer where tokenizer_config.json names none.
    tokenizer_class = "QWenTokenizer"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012
    attribute_map = {"head_dim": "kv_channels"}  # noqa: RUF012 (the base class reads a plain dict)

    # Any value makes vLLM ask the model for each request's positions, which is how dynamic NTK reaches the kernel:
    # see model_executor.rotary. The sections themselves are never read.
    mrope_section = (1, 1, 1)

    vocab_size: int = 151936
    hidden_size: int = 4096
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    kv_channels: int = 128
    intermediate_size: int = 22016
    max_position_embeddings: int = 8192
    train_length: int = 2048
    layer_norm_epsilon: float = 1e-6
    rotary_emb_base: float = 10000.0
    rotary_pct: float = 1.0
    use_dynamic_ntk: bool = True
    use_logn_attn: bool = True
    no_bias: bool = True
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    use_cache: bool = True
    bf16: bool = False
    fp16: bool = False
    fp32: bool = False
    use_flash_attn: bool | str = "auto"
    visual: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.train_length = kwargs.pop("seq_length", self.train_length)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        self._check()
        self._vision = VisionConfig.from_dict(self.visual, self.hidden_size) if self.visual else None
        if self.architectures in (None, [TEXT_ARCHITECTURE], [VISION_ARCHITECTURE]):
            self.architectures = [VISION_ARCHITECTURE if self.visual else TEXT_ARCHITECTURE]

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As transformers has it; a precision among the options takes the place of the file's.

        Raises:
            ValueError: there are several among the options.
        """
        chosen = [name for name in PRECISIONS if kwargs.get(name)]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(f'{name}=True' for name in chosen)} exclude each other: choose one")
        if chosen:
            config_dict = config_dict | dict.fromkeys(PRECISIONS, False)
        return super().from_dict(config_dict, **kwargs)

    @property
    def vision(self) -> VisionConfig | None:
        """The visual section, checked; None for a text model."""
        return self._vision

    @property
    def mlp_size(self) -> int:
        """Rows of ``w1`` and of ``w2``; ``intermediate_size`` counts both."""
        return self.intermediate_size // 2

    @property
    def attention_size(self) -> int:
        """Channels of all heads together."""
        return self.num_attention_heads * self.kv_channels

    def to_dict(self) -> dict[str, Any]:
        """The original's keys, so that what is saved loads anywhere a release does."""
        output: dict[str, Any] = super().to_dict()
        output.pop("_vision", None)
        if "train_length" in output:
            output["seq_length"] = output.pop("train_length")
        if "dtype" in output:
            # transformers 4, which runs the original code, reads the older name.
            output["torch_dtype"] = output["dtype"]
        if output.get("architectures") == [VISION_ARCHITECTURE]:
            output["architectures"] = [TEXT_ARCHITECTURE]
        return output

    def _check(self) -> None:
        for name in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "kv_channels",
            "intermediate_size",
            "max_position_embeddings",
        ):
            _require_positive_int(name, getattr(self, name))
        _require_positive_int("seq_length", self.train_length)
        for name in ("layer_norm_epsilon", "rotary_emb_base", "rotary_pct"):
            _require_positive_number(name, getattr(self, name))
        for name in ("use_dynamic_ntk", "use_logn_attn", "no_bias", "tie_word_embeddings"):
            _require(isinstance(getattr(self, name), bool), name, "true or false")
        _require(self.visual is None or isinstance(self.visual, dict), "visual", "an object")
        _require(self.kv_channels % 2 == 0, "kv_channels", "even")
        _require(self.intermediate_size % 2 == 0, "intermediate_size", "even")
        _require(self.rotary_pct == 1.0, "rotary_pct", "1.0, as in every release")
        _require(self.train_length > 1, "seq_length", "at least 2")


def _require(condition: bool, key: str, expected: str) -> None:
    if not condition:
        raise CheckpointError(f"config.json: {key} must be {expected}")


def _require_positive_int(key: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"config.json: {key} must be a positive integer, not {value!r}")


def _require_positive_number(key: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise CheckpointError(f"config.json: {key} must be a positive number, not {value!r}")
