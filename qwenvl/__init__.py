"""Qwen-VL on current engines: configuration, chat rendering, an OpenAI-compatible server.

After ``import qwenvl``, transformers' ``AutoConfig``, ``AutoTokenizer`` and ``AutoModelForCausalLM`` load the original
checkpoints, with no remote code.
"""

from qwenvl.model_executor import autoclasses

__version__ = "0.1.0"

autoclasses.install()
