"""LangChain's own tests of chat models, for ``ChatOpenAI`` on the real engine.

The weights are random, which these tests do not expect. So a bias makes strings, objects and numbers end, writes the
one number that is asked for, and keeps out the white space that a random model never leaves. What is off, and why:

* PDF, audio, Anthropic's content blocks, images in results of tools: the model, or the API, has no such thing.
* Timings against a recording: there is none.
* Pictures from a public web server: tests reach no network. ``test_clients`` sends pictures of its own.
* JSON mode, an agent's loop, words to be repeated: they want fields, an answer or a phrase that was asked for, and
  random weights say nothing that was asked for.
"""

from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from tests.stack import MODEL, Stack

pytestmark = [
    pytest.mark.slow,
    # LangChain's words on its own methods, and on a benchmark that is not run.
    pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema:UserWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"),
]

BIAS = {"}": 36, '"': 34, "3": 30}
MEANING = "random weights say nothing that was asked for"


class TestChatOpenAI(ChatModelIntegrationTests):
    base_url = ""
    logit_bias: dict[str, int] = {}  # noqa: RUF012

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _served(cls, stack: Stack) -> None:
        vocabulary = stack.engine.info.vocabulary
        cls.base_url = stack.base_url
        cls.logit_bias = {str(vocabulary.encode_ordinary(text)[0]): bias for text, bias in BIAS.items()} | {
            str(token_id): -100 for content, token_id in vocabulary.tokens() if content.isspace()
        }

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": MODEL,
            "base_url": self.base_url,
            "api_key": "any",
            "max_tokens": 512,
            "max_retries": 0,
            "temperature": 1,
            "seed": 1,
            "logit_bias": self.logit_bias,
            "stream_usage": True,
            # LangChain keeps one for all models, and each test has an event loop of its own.
            "http_async_client": httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0)),
        }

    @property
    def supports_image_inputs(self) -> bool:
        return False

    @property
    def model_override_value(self) -> str:
        return "alias"

    @pytest.mark.xfail(reason=MEANING)
    def test_agent_loop(self, model: BaseChatModel) -> None:
        super().test_agent_loop(model)

    @pytest.mark.xfail(reason=MEANING)
    def test_unicode_tool_call_integration(self, model: BaseChatModel, **options: Any) -> None:
        super().test_unicode_tool_call_integration(model, **options)
