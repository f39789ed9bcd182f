"""Generation as the original has it: pictures by path, ``chat``, ``chat_stream``."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from qwenvl.chat import DEFAULT_SYSTEM
from qwenvl.errors import UserError
from qwenvl.model_executor.chatting import History, chat_options, chat_prompt
from qwenvl.model_executor.config import QWenConfig, VisionConfig
from qwenvl.model_executor.image_processor import resize_image
from qwenvl.model_executor.picture_files import open_picture
from qwenvl.model_executor.streaming import growing_text, stream_tokens
from qwenvl.model_executor.written_images import location_in

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

        Raises:
            ImageError: a picture cannot be opened; the message names it.
        """
        stop_words_ids = kwargs.pop("stop_words_ids", None)
        input_ids = kwargs.get("input_ids") if inputs is None else inputs
        if input_ids is not None and kwargs.get("pixel_values") is None:
            cache = kwargs.get("past_key_values")
            unseen = input_ids if cache is None else input_ids[:, cache.get_seq_length() :]
            if locations := self._written_locations(unseen):
                kwargs["pixel_values"] = self._pixels(locations).to(unseen.device)
        if stop_words_ids:
            start = input_ids.shape[1] if input_ids is not None else 0
            criteria = [*(kwargs.get("stopping_criteria") or ()), StopWords(stop_words_ids, start)]
            kwargs["stopping_criteria"] = StoppingCriteriaList(criteria)
        return super().generate(inputs, *args, **kwargs)  # type: ignore[misc]

    def chat(
        self,
        tokenizer: "QWenTokenizer",
        query: str,
        history: History | None = None,
        system: str = DEFAULT_SYSTEM,
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
            system: the system text.
            append_history: return the history with this turn.
            stream: refused, whatever it is: :meth:`chat_stream` streams.
            stop_words_ids: see :meth:`generate`.
            generation_config: instead of the checkpoint's ``generation_config.json``.
            **kwargs: options of ``generate``, and ``max_window_size``.

        Returns:
            The answer, with its boxes, and the history.

        Raises:
            UserError: the query or the history is malformed or too long, a picture cannot be opened, or the checkpoint
                is not one that chats.
        """
        if stream is not None:
            raise UserError("chat answers as a whole: use chat_stream(tokenizer, query, history) to stream")
        inputs, options = self._chat_inputs(
            tokenizer, query, history, system, stop_words_ids, generation_config, kwargs
        )
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
        system: str = DEFAULT_SYSTEM,
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
        chosen = self.generation_config if generation_config is None else generation_config
        for option in ("num_beams", "num_return_sequences"):
            if (kwargs.get(option) or getattr(chosen, option) or 1) > 1:
                raise UserError(f"chat_stream streams one answer: {option} must be 1", param=option)
        inputs, options = self._chat_inputs(
            tokenizer, query, history, system, stop_words_ids, generation_config, kwargs
        )

        def generate(streamer: BaseStreamer) -> None:
            self.generate(**inputs, **options, streamer=streamer)

        return growing_text(stream_tokens(generate), tokenizer.vocabulary)

    def _chat_inputs(
        self,
        tokenizer: "QWenTokenizer",
        query: str,
        history: History | None,
        system: str,
        stop_words_ids: Sequence[Sequence[int]] | None,
        generation_config: GenerationConfig | None,
        options: dict[str, Any],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        vocabulary = tokenizer.vocabulary
        window, options = chat_options(vocabulary, generation_config, self.generation_config, options)
        prompt = chat_prompt(self.config, vocabulary, query, history, system, window)
        # Weights that are kept on disk are on no device; accelerate brings what they meet to theirs.
        placed: torch.device = self.device  # type: ignore[attr-defined]
        device = torch.device("cpu") if placed.type == "meta" else placed
        input_ids = torch.tensor([prompt.token_ids], device=device)
        inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        if prompt.locations:
            inputs["pixel_values"] = self._pixels(prompt.locations).to(device)
        return inputs, options | {"stop_words_ids": stop_words_ids}

    @property
    def _vision(self) -> VisionConfig | None:
        return self.config.vision

    def _written_locations(self, input_ids: Tensor) -> list[str]:
        """Of the pictures in the prompts, in order; none where one of them has no path."""
        if self._vision is None:
            return []
        locations: list[str] = []
        length = self._vision.n_queries + 2
        for row, start in (input_ids == self._vision.image_start_id).nonzero().tolist():
            span = input_ids[row, start : start + length].tolist()
            location = location_in(span, self._vision.image_start_id) if len(span) == length else None
            if location is None:
                # Whoever gave this one no path has pixels for it, and forgot them: the model says so.
                return []
            locations.append(location)
        return locations

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
            counts = (input_ids == vision.image_start_id).sum(dim=1).tolist()
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


class StopWords(StoppingCriteria):
    """Ends an answer that ends with one of several sequences of ids."""

    def __init__(self, words: Sequence[Sequence[int]], start: int) -> None:
        if not all(isinstance(word, Sequence) and word for word in words):
            raise UserError("stop_words_ids must be a list of lists of token ids, none of them empty")
        self._words = words
        self._start = start

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        answer = input_ids[:, self._start :]
        done = torch.zeros(len(answer), dtype=torch.bool, device=answer.device)
        for word in self._words:
            if answer.shape[1] >= len(word):
                done |= (answer[:, -len(word) :] == answer.new_tensor(word)).all(dim=1)
        return done
