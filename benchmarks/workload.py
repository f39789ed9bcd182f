"""Requests of a benchmark, all made before the clock starts and the same for every run with one seed."""

import base64
import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image, ImageDraw

from benchmarks.client import Payload

ImageMode = Literal["none", "same", "distinct"]

WORDS = (
    "the picture shows a red circle and blue square on white with green star near top left right below above small"
    " large one two three what where is are there how many colour shape number in of to next first last time"
)


@dataclass(frozen=True, slots=True)
class Workload:
    """What every request of a run looks like.

    Attributes:
        words: length of the text in words; :func:`words_for_tokens` finds how many make a number of tokens.
        image_size: side of the square pictures, in pixels.
    """

    model: str
    words: int
    max_tokens: int
    images: ImageMode = "none"
    image_size: int = 640
    stream: bool = True
    seed: int = 0

    def payloads(self, count: int, *, start: int = 0) -> list[Payload]:
        """Requests ``start`` to ``start + count``; equal numbers give equal requests."""
        return [self.payload(number) for number in range(start, start + count)]

    def payload(self, number: int) -> Payload:
        payload: Payload = {
            "model": self.model,
            "messages": [{"role": "user", "content": self._content(number)}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        if self.stream:
            payload |= {"stream": True, "stream_options": {"include_usage": True}}
        return payload

    def _content(self, number: int) -> list[dict[str, Any]]:
        text = {"type": "text", "text": random_text(self.words, f"{self.seed}/{number}")}
        if self.images == "none":
            return [text]
        picture = f"{self.seed}" if self.images == "same" else f"{self.seed}/{number}"
        url = "data:image/jpeg;base64," + base64.b64encode(random_jpeg(self.image_size, picture)).decode()
        return [{"type": "image_url", "image_url": {"url": url}}, text]


def random_text(words: int, seed: str) -> str:
    """Everyday words in random order, so that no two prompts share a long beginning."""
    return " ".join(random.Random(seed).choices(WORDS.split(), k=words))


def random_jpeg(size: int, seed: str) -> bytes:
    """A picture of coloured shapes over noise: it neither compresses to nothing nor repeats."""
    generator = random.Random(seed)
    noise = Image.frombytes("RGB", (size // 8, size // 8), generator.randbytes((size // 8) ** 2 * 3))
    image = noise.resize((size, size), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for shape in (draw.rectangle, draw.ellipse) * 4:
        _draw_somewhere(shape, size, generator)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _draw_somewhere(shape: Callable[..., None], size: int, generator: random.Random) -> None:
    left, top = generator.randrange(size // 2), generator.randrange(size // 2)
    width, height = generator.randrange(8, size // 2), generator.randrange(8, size // 2)
    colour = (generator.randrange(256), generator.randrange(256), generator.randrange(256))
    shape((left, top, left + width, top + height), fill=colour)


def words_for_tokens(tokens: int, measured: Sequence[tuple[int, int]]) -> int:
    """How many words make a prompt of about ``tokens`` tokens.

    Args:
        tokens: of the whole prompt, template and pictures included.
        measured: (words, prompt tokens) of two requests of different length.

    Raises:
        ValueError: the prompt is longer than that with one word already.
    """
    (words_1, tokens_1), (words_2, tokens_2) = measured
    per_word = (tokens_2 - tokens_1) / (words_2 - words_1)
    words = round(words_1 + (tokens - tokens_1) / per_word)
    if words < 1:
        shortest = round(tokens_1 - (words_1 - 1) * per_word)
        raise ValueError(f"--prompt-tokens {tokens}: a prompt of one word takes {shortest} tokens already")
    return words
