"""The tokenizer as vLLM loads it."""

from typing import Any

from vllm.tokenizers.hf import CachedHfTokenizer


class ServedTokenizer(CachedHfTokenizer):
    """vLLM's usual one, which takes a path that is written in a prompt for text: images come beside a prompt.

    An option of loading, and no attribute set afterwards: vLLM makes copies, which would not have it.
    """

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load it."""
        return super().from_pretrained(*args, **kwargs, tokens_per_image=0)
