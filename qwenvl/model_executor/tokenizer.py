"""The transformers face of the vocabulary, for libraries that expect a tokenizer object.

It keeps the original's class name, since ``AutoTokenizer`` finds a registered tokenizer by it. Encoding and decoding
stay with tiktoken; nothing goes through the base class's token-by-token Python.

Text given to ``encode`` or ``__call__`` is a prompt the caller wrote out in full, so every special token in it is
parsed, as in the original. Text of users belongs in :meth:`QWenTokenizer.apply_chat_template`, which builds token ids
message by message and lets no control token through, or in ``encode(text, split_special_tokens=True)``.

A picture in such a prompt is ``<img>path or URL</img>``, in the ids as in the original: see
:mod:`qwenvl.model_executor.written_images`. Nothing is opened here.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizer

from qwenvl.chat import VOCABULARY_FILE, Image, Message, Part, Role, Text, Vocabulary, render_chatml
from qwenvl.chat.vocabulary import CONTROL_TOKENS, END_OF_TEXT, IMAGE_END, IMAGE_START
from qwenvl.errors import CheckpointError, UserError
from qwenvl.model_executor.list_helpers import ListHelpers
from qwenvl.model_executor.original_names import OriginalNames
from qwenvl.model_executor.written_images import location_in, pictures_in, positions_beside, spans_in, write_picture

CHAT_TEMPLATE = """\
{%- if messages[0]['role'] != 'system' -%}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' -}}
    {%- if message['content'] is string -%}
        {{- message['content'] -}}
    {%- else -%}
        {%- set pictures = namespace(count=0) -%}
        {%- for part in message['content'] -%}
            {%- if part['type'] == 'text' -%}
                {{- part['text'] -}}
            {%- else -%}
                {%- set pictures.count = pictures.count + 1 -%}
                {{- 'Picture ' ~ pictures.count ~ ':<img></img>\\n' -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{- '<|im_end|>' -}}
    {%- if not loop.last or add_generation_prompt -%}{{- '\\n' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
"""ChatML as text, to look at and to tell libraries the content format. Token ids never come from it."""


def _byte_alphabet() -> dict[int, str]:
    """A printable character for each byte: itself where it prints, else one from U+0100 up, as GPT-2 has it."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + i) for i, byte in enumerate(others)}


_BASE_TEMPLATE_SIGNATURE = inspect.signature(PreTrainedTokenizer.apply_chat_template)

_CHAR_OF_BYTE = _byte_alphabet()
_BYTE_OF_CHAR = {char: byte for byte, char in _CHAR_OF_BYTE.items()}


class QWenTokenizer(OriginalNames, ListHelpers, PreTrainedTokenizer):
    """Tokenizer of first-generation Qwen checkpoints, backed by tiktoken.

    Grounding tags are ordinary tokens here: ``skip_special_tokens=True`` leaves boxes in the text and drops the rest.

    Args:
        vocab_file: path of ``qwen.tiktoken``.
        tokens_per_image: positions that a written picture takes between its tags; 0 where pictures are ordinary text,
            as for a text model. By default as the ``config.json`` beside the vocabulary says, 256 without one.

    Raises:
        CheckpointError: there is no vocabulary, or it or the ``config.json`` is malformed.
    """

    vocab_files_names = {"vocab_file": VOCABULARY_FILE}  # noqa: RUF012 (the base class's own form)
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(self, vocab_file: str | None = None, tokens_per_image: int | None = None, **kwargs: Any) -> None:
        if vocab_file is None:
            raise CheckpointError(f"the checkpoint holds no vocabulary: {VOCABULARY_FILE} is missing")
        positions = positions_beside(Path(vocab_file))
        if tokens_per_image is None:
            tokens_per_image = positions
        if not isinstance(tokens_per_image, int) or isinstance(tokens_per_image, bool) or tokens_per_image < 0:
            raise CheckpointError(
                f"tokenizer_config.json: tokens_per_image must be a number of positions, not {tokens_per_image!r}"
            )
        self.tokens_per_image = tokens_per_image
        self.vocab_file = vocab_file
        vocabulary = Vocabulary.from_file(vocab_file)
        self.vocabulary = vocabulary if positions else vocabulary.without_grounding()
        self._vocab: dict[str, int] = {}
        kwargs.setdefault("eos_token", END_OF_TEXT)
        kwargs.setdefault("pad_token", END_OF_TEXT)
        kwargs.setdefault("extra_special_tokens", list(CONTROL_TOKENS))
        # What the base class gets it saves.
        super().__init__(tokens_per_image=tokens_per_image, **kwargs)  # type: ignore[no-untyped-call]
        if self.chat_template is None:
            self.chat_template = CHAT_TEMPLATE

    @property
    def vocab_size(self) -> int:
        """Tokens the vocabulary holds, special ones included; the model's embedding is padded past it."""
        return self.vocabulary.size

    def __len__(self) -> int:
        return self.vocabulary.size

    def get_vocab(self) -> dict[str, int]:
        """Token to id; bytes are written in GPT-2's printable alphabet."""
        if not self._vocab:
            self._vocab = {self._show(token, i): i for token, i in self.vocabulary.tokens()}
        return self._vocab

    def get_added_vocab(self) -> dict[str, int]:
        """Nothing: special tokens belong to the vocabulary. (vLLM would put spaces around added tokens.)"""
        return {}

    def _add_tokens(self, new_tokens: Sequence[Any], special_tokens: bool = False) -> int:
        if unknown := [str(token) for token in new_tokens if str(token) not in self.vocabulary.special_ids]:
            raise ValueError(
                f"this vocabulary is fixed: cannot add {unknown[0]!r}; <|extra_0|> to <|extra_204|> are free"
            )
        return 0

    def _encode_plus(  # type: ignore[override]  # the options are passed on as they come
        self, text: Any, text_pair: Any = None, **kwargs: Any
    ) -> BatchEncoding:
        if kwargs.get("is_split_into_words"):
            raise UserError("is_split_into_words is not supported: white space is part of the tokens; join the words")
        split = kwargs.pop("split_special_tokens", self.split_special_tokens)
        return super()._encode_plus(self._to_ids(text, split), text_pair=self._to_ids(text_pair, split), **kwargs)

    def _to_ids(self, text: Any, split_special_tokens: bool) -> Any:
        if isinstance(text, str):
            # The base class takes an empty list for a mistake, and an empty string for no tokens.
            return self._encode_text(text, split_special_tokens) or ""
        if isinstance(text, list | tuple) and text and isinstance(text[0], str | list | tuple):
            return [self._to_ids(item, split_special_tokens) for item in text]
        return text

    def _encode_text(self, text: str, split_special_tokens: bool) -> list[int]:
        if split_special_tokens:
            return self.vocabulary.encode_ordinary(text)
        if not self.tokens_per_image or IMAGE_START not in text:
            return self.vocabulary.encode_prompt(text)
        token_ids: list[int] = []
        position = 0
        for start, end, location in pictures_in(text):
            token_ids += self.vocabulary.encode_prompt(text[position:start])
            token_ids += write_picture(location, self.vocabulary.image_start, self.tokens_per_image)
            position = end
        return token_ids + self.vocabulary.encode_prompt(text[position:])

    def truncate_sequences(
        self, ids: list[int], pair_ids: list[int] | None = None, *args: Any, **kwargs: Any
    ) -> tuple[list[int], list[int], list[int]]:
        """As transformers has it, between pictures.

        Raises:
            UserError: a picture would be cut.
        """
        kept, kept_pair, overflowing = super().truncate_sequences(ids, pair_ids, *args, **kwargs)
        self._refuse_cut(ids, len(kept))
        self._refuse_cut(pair_ids or [], len(kept_pair or []))
        return kept, kept_pair, overflowing

    def _refuse_cut(self, token_ids: list[int], kept: int) -> None:
        place = kept if self.truncation_side == "right" else len(token_ids) - kept
        if any(start < place < end for start, end in self._picture_spans(token_ids)):
            raise UserError(
                f"truncation from {len(token_ids)} to {kept} tokens would cut a picture, which takes "
                f"{self.tokens_per_image + 2}: shorten the text or raise max_length"
            )

    def _picture_spans(self, token_ids: Sequence[int]) -> Iterator[tuple[int, int]]:
        if not self.tokens_per_image:
            return iter(())
        return spans_in(token_ids, self.vocabulary.image_start, self.tokens_per_image)

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:  # type: ignore[override]
        """Tokens of ``text`` as :meth:`get_vocab` spells them."""
        split = kwargs.get("split_special_tokens", self.split_special_tokens)
        return [self._convert_id_to_token(i) for i in self._encode_text(text, split)]

    def convert_ids_to_tokens(self, ids: int | Sequence[int], skip_special_tokens: bool = False) -> Any:
        """Spelling of each id, as :meth:`get_vocab` has it; ids of the padded vocabulary are empty."""
        if isinstance(ids, int):
            return self._convert_id_to_token(ids)
        skipped: frozenset[int] = self.vocabulary.control_ids if skip_special_tokens else frozenset()
        return [self._convert_id_to_token(int(i)) for i in ids if int(i) not in skipped]

    def _convert_id_to_token(self, index: int) -> str:
        return self._show(self.vocabulary.token_bytes(index), index)

    def _show(self, token: bytes, index: int) -> str:
        if index >= self.vocabulary.n_ranks:
            return token.decode()
        return "".join(map(_CHAR_OF_BYTE.__getitem__, token))

    def _convert_token_to_id(self, token: str) -> int | None:
        return self.get_vocab().get(token)

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        """Text of tokens as :meth:`get_vocab` spells them; broken UTF-8 becomes U+FFFD."""
        return b"".join(map(self._token_to_bytes, tokens)).decode("utf-8", errors="replace")

    def _token_to_bytes(self, token: str) -> bytes:
        if token in self.vocabulary.special_ids:
            return token.encode()
        return bytes(_BYTE_OF_CHAR[char] for char in token)

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **kwargs: Any) -> Any:
        """Text of ids, a list of texts for a batch.

        Pictures come out as they were written, without padding; ``skip_special_tokens`` leaves them out, paths and all.
        ``errors`` says what becomes of broken UTF-8, as for ``bytes.decode``: U+FFFD by default.
        """
        if isinstance(token_ids, list) and token_ids and isinstance(token_ids[0], int):
            # The base class first looks at each id for tensors: three times as long as decoding.
            return self._decode(token_ids, skip_special_tokens, **kwargs)
        return super().decode(token_ids, skip_special_tokens=skip_special_tokens, **kwargs)

    def _decode(  # type: ignore[override]
        self, token_ids: int | list[int], skip_special_tokens: bool = False, errors: str | None = None, **kwargs: Any
    ) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        if len(ids) <= self.tokens_per_image:
            return self._text(ids, skip_special_tokens, errors)
        texts: list[str] = []
        position = 0
        for start, end in self._picture_spans(ids):
            texts.append(self._text(ids[position:start], skip_special_tokens, errors))
            if not skip_special_tokens:
                location = location_in(ids[start:end], self.vocabulary.image_start) or ""
                texts.append(f"{IMAGE_START}{location}{IMAGE_END}")
            position = end
        return "".join((*texts, self._text(ids[position:], skip_special_tokens, errors)))

    def _text(self, token_ids: list[int], skip_control: bool, errors: str | None) -> str:
        if errors in (None, "replace"):
            return self.vocabulary.decode(token_ids, skip_control=skip_control)
        skipped: frozenset[int] = self.vocabulary.control_ids if skip_control else frozenset()
        kept = (self.vocabulary.token_bytes(token_id) for token_id in token_ids if token_id not in skipped)
        return b"".join(kept).decode("utf-8", errors)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        """Write ``qwen.tiktoken``."""
        path = Path(save_directory) / VOCABULARY_FILE
        self.vocabulary.save(path)
        return (str(path),)

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:
        """Render a conversation; the options are those of transformers.

        With the built-in template and ``tokenize=True`` the ids come from :mod:`qwenvl.chat`: what messages say is
        data, and no control token in it is parsed. The template knows no tools and no documents, and ignores them.
        Text output, and a template of one's own, go through Jinja as usual; then text that looks like a control token
        is one.

        Args:
            conversation: messages as dicts, or a list of such lists; contents are strings or lists of
                ``{"type": "text", "text": ..}`` and ``{"type": "image"}`` parts.
            *args: as in transformers.
            **kwargs: as in transformers.

        Raises:
            UserError: a role or a content that the template does not know; ``param`` names it.
        """
        bound = _BASE_TEMPLATE_SIGNATURE.bind(self, conversation, *args, **kwargs)
        bound.apply_defaults()
        options = bound.arguments
        if not options["tokenize"] or (options["chat_template"] or self.chat_template) != CHAT_TEMPLATE:
            return super().apply_chat_template(conversation, *args, **kwargs)
        if options["return_assistant_tokens_mask"]:
            raise ValueError("return_assistant_tokens_mask is not supported by the built-in chat template")
        batched = bool(conversation) and not isinstance(conversation[0], Mapping)
        rendered = [
            self._render(messages, options["add_generation_prompt"], options["continue_final_message"])
            for messages in (conversation if batched else [conversation])
        ]
        encoded = self(
            rendered if batched else rendered[0],
            add_special_tokens=False,
            **{name: options[name] for name in ("padding", "truncation", "max_length", "return_tensors")},
            **(options["tokenizer_kwargs"] or {}),
        )
        return encoded if options["return_dict"] else encoded["input_ids"]

    def _render(self, messages: Sequence[Mapping[str, Any]], open_turn: bool, continue_last: bool) -> list[int]:
        if open_turn and continue_last:
            raise ValueError("continue_final_message and add_generation_prompt exclude each other")
        if not messages:
            raise UserError("messages is empty: at least one message is needed", param="messages")
        conversation = [_to_message(message, f"messages[{i}]") for i, message in enumerate(messages)]
        token_ids = list(render_chatml(conversation, self.vocabulary, add_generation_prompt=open_turn).token_ids)
        return token_ids[:-1] if continue_last else token_ids


def _to_message(message: Mapping[str, Any], path: str) -> Message[None]:
    role, content = message.get("role"), message.get("content")
    if role not in tuple(Role):
        raise UserError(f"{path}.role is {role!r}: it must be one of {', '.join(Role)}", param=f"{path}.role")
    if content is None or isinstance(content, str):
        return Message.of(Role(role), content or "")
    if not isinstance(content, Sequence):
        raise UserError(f"{path}.content must be a string or a list of parts", param=f"{path}.content")
    return Message(Role(role), tuple(_to_part(part, f"{path}.content[{i}]") for i, part in enumerate(content)))


def _to_part(part: Any, path: str) -> Part[None]:
    if isinstance(part, str):
        return Text(part)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return Text(part["text"])
    # vLLM and transformers leave the picture out of the part and pass it beside the conversation.
    if kind in ("image", "image_url"):
        return Image(None)
    raise UserError(f"{path} must be a text with its text, or an image", param=path)
