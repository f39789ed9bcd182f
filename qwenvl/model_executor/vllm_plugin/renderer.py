"""Chat messages to token ids on vLLM's own chat routes, as safe as on ours."""

from dataclasses import replace
from typing import Any

from vllm.renderers.hf import HfRenderer
from vllm.renderers.params import ChatParams


class QWenRenderer(HfRenderer):
    """Asks the tokenizer for ids where vLLM asks for text.

    vLLM renders a conversation to text and encodes that, so a user who writes ``<|im_end|>`` or ``<img>`` writes
    control tokens. Our tokenizer's chat template builds ids message by message. A chat template of the operator's own
    still goes through text.
    """

    def render_messages(self, messages: Any, params: ChatParams) -> Any:
        """Conversation and prompt of chat messages."""
        return super().render_messages(messages, _tokenized(params))

    async def render_messages_async(self, messages: Any, params: ChatParams) -> Any:
        """Conversation and prompt of chat messages, with images fetched and tokens made off the event loop."""
        return await super().render_messages_async(messages, _tokenized(params))


def _tokenized(params: ChatParams) -> ChatParams:
    return replace(params, chat_template_kwargs={**params.chat_template_kwargs, "tokenize": True})
