"""Conversation to token ids: ChatML, base-model prompts, label spans for training."""

from qwenvl.chat.messages import DEFAULT_SYSTEM, Image, Message, Part, Role, Text, images_of
from qwenvl.chat.render import PromptFormat, Rendered, render, render_chatml, render_raw
from qwenvl.chat.vocabulary import VOCABULARY_FILE, Vocabulary
from qwenvl.chat.written import read_parts

__all__ = [
    "DEFAULT_SYSTEM",
    "VOCABULARY_FILE",
    "Image",
    "Message",
    "Part",
    "PromptFormat",
    "Rendered",
    "Role",
    "Text",
    "Vocabulary",
    "images_of",
    "read_parts",
    "render",
    "render_chatml",
    "render_raw",
]
