"""Phrases and pictures to prompts that ask where things are."""

import re
from dataclasses import dataclass

from qwenvl.api.grounding.schemas import MAX_ANNOTATED, MAX_SEARCHES, PHRASE, GroundingRequest
from qwenvl.api.long_texts import naming, refuse_hopeless
from qwenvl.api.media.references import ImageReference
from qwenvl.api.sampling import check_prompt_fits
from qwenvl.api.wire import ImageUrl
from qwenvl.chat import Image, Message, PromptFormat, Rendered, render
from qwenvl.engine import ModelInfo, Structure
from qwenvl.errors import UserError
from qwenvl.grounding import has_tags

DEFAULT_MAX_BOXES = 8

TOKENS_PER_BOX = 32
"""At least what a box takes where every sign of it, tags included, is a token of its own."""

FREE_TOKENS = 128
"""For words around the boxes, where the answer is free."""

_COORDINATE = "(0|[1-9][0-9]{0,2})"
_BOX = rf"\({_COORDINATE},{_COORDINATE}\),\({_COORDINATE},{_COORDINATE}\)</box>"

_CHINESE = re.compile(r"[\u3400-\u9fff]")
_ARTICLE = re.compile(r"(?:the|a|an)\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Search:
    """One phrase to be found in one picture.

    Attributes:
        image_index: which picture of the request, from 0.
        phrase: as the request has it.
        begun: what the answer is made to begin with; the prompt ends in it.
        rendered: the prompt.
    """

    image_index: int
    phrase: str
    begun: str
    rendered: Rendered


def references_of(wire: GroundingRequest) -> list[ImageReference]:
    """Where the pictures are.

    Raises:
        UserError: there are none, or they are given twice, or there are too many for so many phrases.
    """
    if (wire.image is None) == (wire.images is None):
        param = "image" if wire.image is None else "images"
        raise UserError("Give either image or images.", param=param, code="invalid_value")
    given = [("image", wire.image)] if wire.images is None else [(f"images[{i}]", x) for i, x in enumerate(wire.images)]
    if not given:
        raise UserError("images must have at least one item.", param="images", code="invalid_value")
    if len(given) * len(wire.phrases) > MAX_SEARCHES:
        raise UserError(
            f"phrases: {len(given)} pictures and {len(wire.phrases)} phrases are more than {MAX_SEARCHES} searches.",
            param="phrases",
            code="invalid_value",
        )
    if wire.annotated and len(given) > MAX_ANNOTATED:
        raise UserError(
            f"annotated must not be true for more than {MAX_ANNOTATED} pictures, and there are {len(given)}.",
            param="annotated",
            code="invalid_value",
        )
    references = []
    for param, source in given:
        if source is None:
            raise UserError(f"{param} must be a URL or an object with a url.", param=param, code="invalid_type")
        if isinstance(source, ImageUrl):
            references.append(ImageReference(source.url, f"{param}.url"))
        else:
            references.append(ImageReference(source, param))
    return references


def read_searches(wire: GroundingRequest, n_images: int, prompt_format: PromptFormat, info: ModelInfo) -> list[Search]:
    """Every picture with every phrase, picture by picture.

    Raises:
        UserError: a phrase holds tags, or the prompt has no place for it.
    """
    if wire.prompt is not None and wire.prompt.count(PHRASE) != 1:
        raise UserError(f"prompt must hold {PHRASE} once, where the phrase goes.", param="prompt", code="invalid_value")
    searches: list[Search] = []
    for i, phrase in enumerate(wire.phrases):
        param = f"phrases[{i}]"
        if has_tags(phrase) or not phrase.strip():
            raise UserError(f"{param} must be a phrase, and without tags.", param=param, code="invalid_value")
        refuse_hopeless([(param, (wire.prompt or "") + phrase)], info, param)
        with naming(param):
            begun, rendered = _prompt(phrase.strip(), wire, prompt_format, info)
        check_prompt_fits(rendered.length(info.tokens_per_image), info, param)
        searches += [Search(image, phrase, begun, rendered) for image in range(n_images)]
    return sorted(searches, key=lambda search: search.image_index)


def _prompt(phrase: str, wire: GroundingRequest, prompt_format: PromptFormat, info: ModelInfo) -> tuple[str, Rendered]:
    begun = f"<ref>{phrase}</ref><box>"
    if prompt_format is PromptFormat.RAW:
        # As the published figures of finding things were measured.
        before = "" if wire.prompt is None else wire.prompt.replace(PHRASE, phrase)
        message = Message.of("user", Image(None), before + begun)
        return begun, render([message], info.vocabulary, prompt_format=prompt_format)
    messages = [Message.of("user", Image(None), _question(phrase, wire.prompt))]
    if not wire.constrained:
        return "", render(messages, info.vocabulary)
    messages.append(Message.of("assistant", begun))
    return begun, render(messages, info.vocabulary, continue_final_message=True)


def _question(phrase: str, prompt: str | None) -> str:
    if prompt is not None:
        return prompt.replace(PHRASE, phrase)
    if _CHINESE.search(phrase):
        return f"框出图中{phrase}的位置"
    return f"Give the bounding box of the {_ARTICLE.sub('', phrase, count=1) if _ARTICLE.match(phrase) else phrase}."


def boxes_structure(max_boxes: int) -> Structure:
    """Of an answer that begins within a box: it is closed, and others may follow."""
    return Structure("regex", f"{_BOX}(<box>{_BOX}){{0,{max_boxes - 1}}}", param="constrained")
