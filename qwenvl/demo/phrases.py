"""How the objects of a scene are named in English and Chinese, and how their boxes are told."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from qwenvl import grounding
from qwenvl.demo.scenes import Box, Scene, Thing

BOX_STEP = 10
"""Box coordinates are taught in steps of so many thousandths: a hundred values are learned sooner than a thousand."""


class Language(StrEnum):
    ENGLISH = "en"
    CHINESE = "zh"


CHINESE_NAMES = {
    "circle": "圆形",
    "square": "正方形",
    "triangle": "三角形",
    "star": "五角星",
    "heart": "心形",
    "cross": "十字",
    "diamond": "菱形",
    "ring": "圆环",
    "hexagon": "六边形",
    "arrow": "箭头",
    "moon": "月牙",
    "red": "红色",
    "orange": "橙色",
    "yellow": "黄色",
    "green": "绿色",
    "blue": "蓝色",
    "purple": "紫色",
    "pink": "粉色",
    "brown": "棕色",
    "black": "黑色",
    "white": "白色",
    "gray": "灰色",
}


@dataclass(frozen=True, slots=True)
class Phrase:
    """A way to name objects: a shape, a colour, both, or neither (any shape)."""

    shape: str | None
    colour: str | None

    def matches(self, thing: Thing) -> bool:
        return not thing.text and self.shape in (None, thing.shape) and self.colour in (None, thing.colour)

    def find(self, scene: Scene) -> list[Thing]:
        """The objects it names, from left to right."""
        return sorted(filter(self.matches, scene.things), key=lambda thing: thing.box[0])

    def say(self, language: Language, count: int = 1) -> str:
        if language is Language.CHINESE:
            colour = CHINESE_NAMES[self.colour] if self.colour else ""
            return colour + (CHINESE_NAMES[self.shape] if self.shape else "形状" if not colour else "的形状")
        noun = self.shape or "shape"
        if count != 1:
            noun += "es" if noun.endswith(("s", "x")) else "s"
        return f"{self.colour} {noun}" if self.colour else noun


def kind_of(thing: Thing) -> Phrase:
    return Phrase(thing.shape, thing.colour)


def permille(box: Box) -> grounding.Box:
    """Thousandths of the picture, in the steps that are taught."""
    return grounding.Box(*(min(990, max(0, round(value * 1000 / BOX_STEP) * BOX_STEP)) for value in box))


def box_text(box: Box) -> str:
    return grounding.format_box(permille(box))


def grounded(phrase: str, things: Sequence[Thing]) -> str:
    return grounding.format_finding(phrase, [permille(thing.box) for thing in things])


def article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def listed(items: Sequence[str], language: Language) -> str:
    if language is Language.CHINESE:
        return "、".join(items)
    return ", ".join(items[:-1]) + (" and " if len(items) > 1 else "") + items[-1]


def name_of(thing: Thing, language: Language) -> str:
    """With its article in English; words are named by what they say."""
    if thing.text:
        return f'the word "{thing.text}"' if language is Language.ENGLISH else f"文字“{thing.text}”"
    phrase = kind_of(thing).say(language)
    return article(phrase) if language is Language.ENGLISH else phrase


def in_order(scene: Scene) -> list[Thing]:
    return sorted(scene.things, key=lambda thing: thing.box[0])


def capital(text: str) -> str:
    return text[0].upper() + text[1:]
