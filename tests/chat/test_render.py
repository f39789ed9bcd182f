from qwenvl.chat import Image, Message, PromptFormat, Role, Text, Vocabulary, images_of, render
from tests.parity.golden import GoldenCase, cases
from tests.vocabularies import SMALL

VOCABULARY = Vocabulary.from_file(SMALL)


def conversation_of(case: GoldenCase) -> list[Message[str]]:
    messages: list[Message[str]] = []
    if "system" in case.conversation:
        messages.append(Message.of("system", case.conversation["system"]))
    for query, answer in case.conversation.get("history", []):
        messages += [Message.of("user", *_parts(query)), Message.of("assistant", answer)]
    return [*messages, Message.of("user", *_parts(case.conversation["query"]))]


def _parts(query: object) -> list[str | Image[str]]:
    if isinstance(query, str):
        return [query]
    assert isinstance(query, list)
    parts: list[str | Image[str]] = []
    for item in query:
        if "image" in item:
            parts.append(Image(item["image"]))
        elif "ref" in item:
            x1, y1, x2, y2 = item["box"][0]
            parts.append(f"<ref>{item['ref']}</ref><box>({x1},{y1}),({x2},{y2})</box>")
        else:
            parts.append(item["text"])
    return parts


def test_golden_prompts() -> None:
    for case in cases():
        messages = conversation_of(case)
        rendered = render(messages, VOCABULARY, prompt_format=PromptFormat(case.prompt_format))
        assert rendered.token_ids == case.token_ids, case.name
        assert rendered.length(256) == case.prompt_length
        assert tuple(images_of(messages)) == case.image_names
        assert rendered.n_images == len(case.image_names)


def test_labels_are_the_answers() -> None:
    messages = [
        Message.of(Role.USER, Image("picture"), "What?"),
        Message.of(Role.ASSISTANT, "A <ref>cat</ref>."),
        Message.of(Role.USER, "And?"),
        Message.of(Role.ASSISTANT, "好"),
    ]
    rendered = render(messages, VOCABULARY, add_generation_prompt=False)
    labels = [VOCABULARY.decode(rendered.token_ids[start:end]) for start, end in rendered.label_spans]
    assert labels == ["A <ref>cat</ref>.<|im_end|>", "好<|im_end|>"]
    assert rendered.label_spans[-1][1] == len(rendered.token_ids)


def test_tags_split_over_parts_are_text_or_grounding() -> None:
    split = [Text("<|im_"), Text("end|><re"), Text("f><im"), Text("g></img>")]
    rendered = render([Message(Role.USER, tuple(split))], VOCABULARY)
    joined = render([Message.of(Role.USER, "<|im_end|><ref><img></img>")], VOCABULARY)
    assert rendered == joined
    control = [i for i in rendered.token_ids if i in VOCABULARY.control_ids]
    template = [i for i in render([Message.of(Role.USER, "")], VOCABULARY).token_ids if i in VOCABULARY.control_ids]
    assert control == template
    assert VOCABULARY.special_ids["<ref>"] in rendered.token_ids


def test_pictures_are_numbered_within_each_message() -> None:
    messages = [Message.of("user", Image(1), Image(2), "a"), Message.of("assistant", "b"), Message.of("user", Image(3))]
    text = VOCABULARY.decode(render(messages, VOCABULARY).token_ids)
    assert "Picture 1:<img></img>\nPicture 2:<img></img>\na" in text
    assert text.count("Picture 1:") == 2
    assert list(images_of(messages)) == [1, 2, 3]


def test_default_system_only_where_none_is_given() -> None:
    assert "helpful" in VOCABULARY.decode(render([Message.of("user", "a")], VOCABULARY).token_ids)
    own = render([Message.of("system", "Obey."), Message.of("user", "a")], VOCABULARY)
    assert "helpful" not in VOCABULARY.decode(own.token_ids)


def test_a_continued_message_is_left_open() -> None:
    messages = [Message.of("user", "a"), Message.of("assistant", "b"), Message.of("user", "c")]
    last = Message.of(Role.ASSISTANT, "<|im_end|>d")
    closed = render([*messages, last], VOCABULARY, add_generation_prompt=False)
    continued = render([*messages, last], VOCABULARY, continue_final_message=True)
    assert continued.token_ids == closed.token_ids[:-1]
    assert closed.token_ids[-1] == VOCABULARY.im_end
    spans = [VOCABULARY.decode(continued.token_ids[start:end]) for start, end in continued.label_spans]
    assert spans == ["b<|im_end|>", "<|im_end|>d"]


def test_a_message_that_comes_twice_is_left_open_once() -> None:
    twice = Message.of(Role.ASSISTANT, "a")
    text = VOCABULARY.decode(render([twice, twice], VOCABULARY, continue_final_message=True).token_ids)
    assert text.endswith("assistant\na<|im_end|>\n<|im_start|>assistant\na")
