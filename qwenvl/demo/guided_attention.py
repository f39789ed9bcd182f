"""Where a token of an answer should look: an extra loss on some attention heads while the small model learns to find.

A box, a letter that is read, the colour of an object: each is told from one place of a picture. Left alone, the
language model first ignores the phrase and tells some object's box; that the phrase picks the place is what takes it
longest to learn. With the loss one head of each upper layer is told the place, from token ids alone.

Shape suffixes: B conversations, L positions, E hidden channels, K channels of a head, T guided tokens, Q queries of an
image.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qwenvl.chat import Vocabulary
from qwenvl.demo.fonts import word_edges
from qwenvl.demo.scenes import Box, Scene, Thing
from qwenvl.finetuning.samples import IGNORED_LABEL
from qwenvl.model_executor.attention import Rotary
from qwenvl.model_executor.modeling import QWenBlock, QWenModel
from qwenvl.model_executor.rotary import rotate

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Look:
    """One position of a conversation and the place that its next token is told from.

    Attributes:
        image: position of the first vector of the picture.
        box: the place in that picture.
    """

    position: int
    image: int
    box: Box


def looks(
    token_ids: Sequence[int],
    labels: Sequence[int],
    scenes: Sequence[Scene],
    seen: Sequence[Thing | None],
    vocabulary: Vocabulary,
) -> list[Look]:
    """Every position of a conversation whose next token is learned and is told from one place of a picture.

    Args:
        token_ids: with the positions of images in place.
        labels: :data:`~qwenvl.finetuning.samples.IGNORED_LABEL` wherever nothing is learned.
        scenes: of the pictures, in order.
        seen: the object of them that each answer is read off, if any; empty where no answer is.
    """
    images = [i + 1 for i, token in enumerate(token_ids) if token == vocabulary.image_start]
    boxes = list(_boxes(token_ids, vocabulary))
    found: dict[int, Look] = {}
    asked_from = 0
    for (start, end), thing in zip_longest(_answers(labels), seen):
        # A box is one of the latest picture.
        shown = [(image, scene) for image, scene in zip(images, scenes, strict=True) if image < start]
        told = [box for box in boxes if start <= box[0] < end]
        asked = [box for box in boxes if asked_from <= box[0] < start]
        if shown and told:
            for first, last, box in told:
                found |= {i: Look(i, shown[-1][0], box) for i in range(first, last)}
        elif shown and len(asked) == 1:
            found |= {i: Look(i, shown[-1][0], asked[0][2]) for i in range(start - 1, end - 2)}
        for image, scene in shown:
            if thing is not None and any(thing is other for other in scene.things):
                found |= {i: Look(i, image, thing.box) for i in range(start - 1, end - 2)}
            found |= {i: Look(i, image, box) for i, box in _letters(token_ids, start, end, scene, vocabulary)}
        asked_from = end
    return list(found.values())


def _answers(labels: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of positions that are learned."""
    edges = [
        i for i, (a, b) in enumerate(pairwise([IGNORED_LABEL, *labels, IGNORED_LABEL])) if _learned(a) != _learned(b)
    ]
    yield from zip(edges[::2], edges[1::2], strict=True)


def _learned(label: int) -> bool:
    return label != IGNORED_LABEL


def _boxes(token_ids: Sequence[int], vocabulary: Vocabulary) -> Iterator[tuple[int, int, Box]]:
    """Each box of the text with where it opens and closes; one that alone follows a phrase opens with the phrase."""
    ref, ref_end, opens, closes = (vocabulary.special_ids[tag] for tag in ("<ref>", "</ref>", "<box>", "</box>"))
    start = phrase = 0
    for i, token in enumerate(token_ids):
        if token == ref:
            phrase = i
        elif token == opens:
            start = i
        elif token == closes:
            x1, y1, x2, y2 = (int(n) / 1000 for n in _NUMBER.findall(vocabulary.decode(list(token_ids[start + 1 : i]))))
            is_alone = token_ids[start - 1] == ref_end and token_ids[i + 1] != opens
            yield (phrase if is_alone else start), i, (x1, y1, x2, y2)


def _letters(
    token_ids: Sequence[int], start: int, end: int, scene: Scene, vocabulary: Vocabulary
) -> Iterator[tuple[int, Box]]:
    """Each letter of the scene's words in an answer: the position before it, and its place."""
    for word in scene.words:
        signs = [vocabulary.encode_ordinary(sign)[0] for sign in word.text]
        for first in range(start, end - len(signs) + 1):
            if list(token_ids[first : first + len(signs)]) == signs:
                x1, y1, x2, y2 = word.box
                edges = (0.0, *word_edges(word.font, word.text))
                for i, (left, right) in enumerate(pairwise(edges)):
                    yield first + i - 1, (x1 + left * (x2 - x1), y1, x1 + right * (x2 - x1), y2)
                break


def covered(box: Box, side: int) -> Tensor:
    """The places (side²) of a grid that a box covers, bool: those it covers at least half as much as the one most."""
    edges = torch.arange(side + 1) / side
    shares = [
        (edges[1:].clamp(max=high) - edges[:-1].clamp(min=low)).clamp(min=0)
        for low, high in ((box[1], box[3]), (box[0], box[2]))
    ]
    common = shares[0].unsqueeze(1) * shares[1]
    return (common >= common.max() / 2).flatten()


class GuidedAttention:
    """The loss: of the first head of each layer but the lowest, how little it looks where it should.

    Args:
        model: whose attention is listened to from now on.
    """

    def __init__(self, model: QWenModel) -> None:
        self._attentions = [cast(QWenBlock, layer).attn for layer in list(model.h)[1:]]
        self._heard: dict[nn.Module, tuple[Tensor, Rotary]] = {}
        for attention in self._attentions:
            attention.register_forward_pre_hook(self._hear)

    def _hear(self, module: nn.Module, args: tuple[Tensor, Rotary, Tensor | None]) -> None:
        self._heard[module] = args[0], args[1]

    def loss(self, tokens_T3: Tensor, places_TQ: Tensor) -> Tensor:
        """Mean negative log of the attention that falls on the right places.

        Args:
            tokens_T3: conversation, position and first position of the image of each guided token.
            places_TQ: bool, the right places of each.
        """
        heard, self._heard = self._heard, {}
        if not len(tokens_T3):
            return torch.zeros(())
        rows_T, positions_T, images_T = tokens_T3.unbind(-1)
        columns_TQ = images_T.unsqueeze(-1) + torch.arange(places_TQ.shape[1], device=images_T.device)
        losses = []
        for attention in self._attentions:
            x_BLE, (cos, sin, _) = heard[attention]
            size = attention.config.kv_channels
            query_BLK, key_BLK = (
                rotate(F.linear(x_BLE, weight[:size], bias[:size]).unsqueeze(2), cos, sin).squeeze(2)
                for weight, bias in zip(*(p.chunk(3)[:2] for p in attention.c_attn.parameters()), strict=True)
            )
            scores_BLL = query_BLK @ key_BLK.transpose(1, 2) * size**-0.5
            scores_TL = scores_BLL[rows_T, positions_T].float()
            later_TL = torch.arange(x_BLE.shape[1], device=x_BLE.device) > positions_T.unsqueeze(-1)
            logs_TL = scores_TL.masked_fill(later_TL, float("-inf")).log_softmax(dim=-1)
            logs_TQ = logs_TL.gather(1, columns_TQ).masked_fill(~places_TQ, float("-inf"))
            losses.append(-logs_TQ.logsumexp(dim=-1).mean())
        return torch.stack(losses).mean()
