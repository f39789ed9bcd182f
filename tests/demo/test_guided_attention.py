import pytest
import torch

from qwenvl.chat import VOCABULARY_FILE, Image, Message, Vocabulary, render_chatml
from qwenvl.demo.checkpoint import built_in_checkpoint
from qwenvl.demo.fonts import word_edges
from qwenvl.demo.guided_attention import GuidedAttention, covered, looks
from qwenvl.demo.scenes import Ground, Scene, Thing
from qwenvl.demo.small_model import small_config
from qwenvl.finetuning.samples import expand_images
from qwenvl.model_executor.modeling import QWenLMHeadModel

GROUND = Ground("plain", (0, 0, 0), (9, 9, 9), 0)
FONT = "DejaVuSans.ttf"


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.from_file(built_in_checkpoint() / VOCABULARY_FILE)


def looked_at(
    vocabulary: Vocabulary, *turns: tuple[str, str], scenes: int = 1, seen: bool = False
) -> list[tuple[str, int, object]]:
    """Each token that is told from a place, the picture that the place is in, and the place."""
    messages: list[Message[int]] = []
    for i, (question, answer) in enumerate(turns):
        pictures = [Image(n) for n in range(scenes)] if i == 0 else []
        messages += [Message.of("user", *pictures, question), Message.of("assistant", answer)]
    word = Thing("word", "red", (255, 0, 0), (0.2, 0.4, 0.6, 0.5), "HI", FONT)
    rendered = render_chatml(messages, vocabulary, add_generation_prompt=False)
    ids, labels = expand_images(rendered, 64, vocabulary.image_start, vocabulary.image_pad)
    images = [i + 1 for i, token in enumerate(ids) if token == vocabulary.image_start]
    things = [word if seen else None] * len(turns)
    found = looks(ids, labels, [Scene(GROUND, (word,))] * scenes, things, vocabulary)
    return [(vocabulary.decode([ids[look.position + 1]]), images.index(look.image), look.box) for look in found]


def text(found: list[tuple[str, int, object]]) -> str:
    return "".join(token for token, *_ in found)


def test_a_box_and_its_phrase_are_told_from_the_place_of_the_box(vocabulary: Vocabulary) -> None:
    found = looked_at(vocabulary, ("Where?", "<ref>star</ref><box>(100,200),(300,400)</box>"), scenes=2)
    assert text(found) == "star</ref><box>(100,200),(300,400)</box>"
    assert {place for _, *place in map(tuple, found) for place in [tuple(place)]} == {(1, (0.1, 0.2, 0.3, 0.4))}


def test_of_several_boxes_each_is_told_from_its_own_place(vocabulary: Vocabulary) -> None:
    boxes = "<box>(100,200),(300,400)</box><box>(500,600),(700,800)</box>"
    found = looked_at(vocabulary, ("Where?", f"<ref>stars</ref>{boxes}"))
    assert text(found) == boxes.replace("<box>", "")
    assert [box for *_, box in found if box == (0.5, 0.6, 0.7, 0.8)]


def test_what_is_asked_about_a_box_is_told_from_its_place(vocabulary: Vocabulary) -> None:
    asked = "What is in <box>(100,200),(300,400)</box>?"
    found = looked_at(vocabulary, ("How many?", "Two."), (asked, "A star."))
    assert text(found) == "A star."
    assert {box for *_, box in found} == {(0.1, 0.2, 0.3, 0.4)}


def test_letters_are_told_from_their_own_places(vocabulary: Vocabulary) -> None:
    (h, _, first), (i, _, second) = looked_at(vocabulary, ("What does it say?", "HI"))
    assert (h, i) == ("H", "I")
    edge = 0.2 + 0.4 * word_edges(FONT, "HI")[0]
    assert first == pytest.approx((0.2, 0.4, edge, 0.5))
    assert second == pytest.approx((edge, 0.4, 0.6, 0.5))


def test_what_is_read_off_an_object_is_told_from_its_place(vocabulary: Vocabulary) -> None:
    found = looked_at(vocabulary, ("What colour is it?", "Red."), seen=True)
    assert text(found) == "Red."
    assert {box for *_, box in found} == {(0.2, 0.4, 0.6, 0.5)}


def test_without_a_place_nothing_is_told(vocabulary: Vocabulary) -> None:
    assert looked_at(vocabulary, ("How many stars are there?", "There are two stars.")) == []
    assert looked_at(vocabulary, ("What is in <box>(1,2),(3,4)</box>?", "A star."), scenes=0) == []


def test_covered_places() -> None:
    assert covered((0.0, 0.0, 0.5, 0.25), 4).nonzero().flatten().tolist() == [0, 1]
    # Less than one place, and most of it in the second column.
    assert covered((0.24, 0.3, 0.3, 0.4), 4).nonzero().flatten().tolist() == [5]


def test_heads_learn_to_look(vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    model = QWenLMHeadModel(small_config(vocabulary))
    guide = GuidedAttention(model.transformer)
    ids = torch.randint(0, vocabulary.n_ranks, (2, 90))
    tokens = torch.tensor([(0, 80, 5), (1, 85, 9)])
    places = torch.zeros(2, 64, dtype=torch.bool)
    places[0, 3:5] = places[1, 60] = True
    parameters = [p for layer in model.transformer.h for p in layer.attn.c_attn.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)

    def loss() -> torch.Tensor:
        model.transformer(input_ids=ids)
        return guide.loss(tokens, places)

    first = loss()
    for _ in range(60):
        optimizer.zero_grad()
        now = loss()
        now.backward()
        optimizer.step()
    assert float(now.detach()) < 0.1 < float(first.detach())
    model.train(False)
    model.config._attn_implementation = "eager"
    with torch.no_grad():
        attentions = model.transformer(input_ids=ids, output_attentions=True).attentions
    # The loss is about what the model itself attends to.
    for weights in attentions[1:]:
        assert float(weights[0, 0, 80, 8:10].sum()) > 0.9
        assert float(weights[1, 0, 85, 69]) > 0.9
