"""Generation as the original has it: pictures by path, ``chat``, ``chat_stream``."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from qwenvl.chat import DEFAULT_SYSTEM
from qwenvl.errors import ContextLengthError, UserError
from qwenvl.model_executor.chatting import ChatOptions, chat_options, chat_prompt
from qwenvl.model_executor.config import QWenConfig, VisionConfig
from qwenvl.model_executor.history import History
from qwenvl.model_executor.image_places import whole_images, written_locations
from qwenvl.model_executor.image_processor import resize_image
from qwenvl.model_executor.picture_files import open_picture
from qwenvl.model_executor.stopping import ContextEnd, StopWords
from qwenvl.model_executor.streaming import growing_text, stream_tokens

if TYPE_CHECKING:
    from qwenvl.model_executor.tokenizer import QWenTokenizer


class QWenGenerationMixin(GenerationMixin):
    """What ``QWenLMHeadModel`` generates with."""

    config: QWenConfig

    def generate(self, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        """As transformers has it; pictures are opened where ``input_ids`` hold their paths.

        Args:
            inputs: (B, L) token ids, as the tokenizer makes them of ``<img>path or URL</img>``.
            *args: as in transformers.
            **kwargs: as in transformers, and two more. ``pixel_values`` as :meth:`QWenLMHeadModel.forward` takes them;
                with them nothing is opened. ``stop_words_ids``, lists of token ids: an answer ends with any of these
                sequences too, and holds it.

        An answer ends where the model's context does.

        Raises:
            ContextLengthError: the prompts do not fit the model's context.
            ImageError: a picture cannot be opened; the message names it.
            UserError: an ``<img>`` begins no whole picture or holds no path, and there are no ``pixel_values``.
        """
        stop_words_ids = kwargs.pop("stop_words_ids", None)
        input_ids = kwargs.get("input_ids") if inputs is None else inputs
        context = self.config.max_position_embeddings
        if input_ids is not None and input_ids.shape[1] >= context:
            raise ContextLengthError(
                f"the prompts take {input_ids.shape[1]} tokens, padding included, and the model's context is {context}",
                param="input_ids",
            )
        if input_ids is not None and kwargs.get("pixel_values") is None and self._vision is not None:
            cache = kwargs.get("past_key_values")
            unseen = input_ids if cache is None else input_ids[:, cache.get_seq_length() :]
            # One token after a cache is what the model wrote last.
            if unseen.shape[1] > 1 and (locations := written_locations(unseen, self._vision)):
                kwargs["pixel_values"] = self._pixels(locations).to(unseen.device)
        criteria = [*(kwargs.get("stopping_criteria") or ()), ContextEnd(context)]
        if stop_words_ids:
            criteria.append(StopWords(stop_words_ids, input_ids.shape[1] if input_ids is not None else 0))
        kwargs["stopping_criteria"] = StoppingCriteriaList(criteria)
        return super().generate(inputs, *args, **kwargs)  # type: ignore[misc]

    def chat(
        self,
        tokenizer: "QWenTokenizer",
        query: str,
        history: History | None = None,
        system: str | None = DEFAULT_SYSTEM,
        append_history: bool = True,
        stream: object = None,
        stop_words_ids: Sequence[Sequence[int]] | None = None,
        generation_config: GenerationConfig | None = None,
        **kwargs: Any,
    ) -> tuple[str, list[tuple[str, str]]]:
        """Answer a query.

        Args:
            tokenizer: the checkpoint's.
            query: a text; pictures in it are ``<img>path or URL</img>``, as ``tokenizer.from_list_format`` writes them.
            history: as this method returned it the last time; it is left as it is. See
                :func:`qwenvl.model_executor.chatting.chat_prompt` for what is kept of it.
            system: the system text; None for the default one.
            append_history: return the history with this turn.
            stream: refused, whatever it is: :meth:`chat_stream` streams.
            stop_words_ids: see :meth:`generate`.
            generation_config: instead of the checkpoint's ``generation_config.json``.
            **kwargs: options of ``generate``, which have the last word, and ``max_window_size``.

        Returns:
            The answer, with its boxes, and the history.

        Raises:
            UserError: the query or the history is malformed or too long, a picture cannot be opened, several answers
                are asked for, or the checkpoint is not one that chats.
        """
        if stream is not None:
            raise UserError("chat answers as a whole: use chat_stream(tokenizer, query, history) to stream")
        chosen = chat_options(tokenizer.vocabulary, generation_config, self.generation_config, kwargs)
        chosen.refuse_several("chat", "num_return_sequences")
        inputs, options = self._chat_inputs(tokenizer, query, history, system, stop_words_ids, chosen)
        output = self.generate(**inputs, **options)
        answer_ids = output[0, inputs["input_ids"].shape[1] :].tolist()
        response = tokenizer.vocabulary.decode(answer_ids, skip_control=True).strip()
        said = [(past_query, answer) for past_query, answer in history or ()]
        return response, [*said, (query, response)] if append_history else said

    def chat_stream(
        self,
        tokenizer: "QWenTokenizer",
        query: str,
        history: History | None = None,
        system: str | None = DEFAULT_SYSTEM,
        stop_words_ids: Sequence[Sequence[int]] | None = None,
        generation_config: GenerationConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[str]:
        """As :meth:`chat`, piece by piece.

        The query is read and its pictures are opened at once; the model begins with the first step of the iterator.
        Closing the iterator ends the generation.

        Returns:
            The answer so far, each time longer, whole characters only; in the end it is the answer of :meth:`chat`.

        Raises:
            UserError: as for :meth:`chat`, and for beams or several answers, which grow in no order.
        """
        chosen = chat_options(tokenizer.vocabulary, generation_config, self.generation_config, kwargs)
        chosen.refuse_several("chat_stream", "num_beams", "num_return_sequences")
        inputs, options = self._chat_inputs(tokenizer, query, history, system, stop_words_ids, chosen)

        def generate(streamer: BaseStreamer) -> None:
            self.generate(**inputs, **options, streamer=streamer)

        return growing_text(stream_tokens(generate), tokenizer.vocabulary)

    def _chat_inputs(
        self,
        tokenizer: "QWenTokenizer",
        query: str,
        history: History | None,
        system: str | None,
        stop_words_ids: Sequence[Sequence[int]] | None,
        chosen: ChatOptions,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        prompt = chat_prompt(self.config, tokenizer.vocabulary, query, history, system, chosen.window)
        generation = chosen.bounded(len(prompt.token_ids))
        options = {**chosen.others, "generation_config": generation, "stop_words_ids": stop_words_ids}
        if generation.stop_strings is not None:
            options.setdefault("tokenizer", tokenizer)
        # Weights that are kept on disk are on no device; accelerate brings what they meet to theirs.
        placed: torch.device = self.device  # type: ignore[attr-defined]
        device = torch.device("cpu") if placed.type == "meta" else placed
        input_ids = torch.tensor([prompt.token_ids], device=device)
        inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        if prompt.locations:
            inputs["pixel_values"] = self._pixels(prompt.locations).to(device)
        return inputs, options

    @property
    def _vision(self) -> VisionConfig | None:
        return self.config.vision

    def _pixels(self, locations: Sequence[str]) -> Tensor:
        """(N, 3, S, S) uint8; a picture that is named often is opened once."""
        assert self._vision is not None
        opened: dict[str, Tensor] = {}
        for location in locations:
            if location not in opened:
                opened[location] = resize_image(open_picture(location), self._vision.image_size)
        return torch.stack([opened[location] for location in locations])

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Any = None, **kwargs: Any
    ) -> Any:
        """Beams and several answers: each copy of a prompt brings its own copy of all the prompt's images."""
        pixels_NCSS, vision = kwargs.pop("pixel_values", None), self._vision
        if pixels_NCSS is not None and vision is not None and input_ids is not None and expand_size > 1:
            counts = whole_images(input_ids, vision).sum(dim=1).tolist()
            kept = [images for images in pixels_NCSS.split(counts) for _ in range(expand_size)]
            pixels_NCSS = torch.cat(kept)
        ids, expanded = super()._expand_inputs_for_generation(  # type: ignore[misc]
            expand_size=expand_size, is_encoder_decoder=is_encoder_decoder, input_ids=input_ids, **kwargs
        )
        return ids, expanded | {"pixel_values": pixels_NCSS}

    def _prefill(self, input_ids: Any, generation_config: Any, *args: Any, **kwargs: Any) -> Any:
        if generation_config.prefill_chunk_size is not None:
            raise ValueError(
                "prefill_chunk_size is not supported: dynamic NTK and images need the whole prompt at once"
            )
        return super()._prefill(input_ids, generation_config, *args, **kwargs)  # type: ignore[misc]
