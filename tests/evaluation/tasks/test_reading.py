import json

import pytest

from qwenvl.errors import UserError
from qwenvl.evaluation.tasks.catalogue import TASKS, find_task
from qwenvl.evaluation.tasks.reading import read_samples
from qwenvl.evaluation.tasks.task import Flaw, Flawed
from tests.evaluation.layouts import write_json, write_lines, write_task


def first(name, data):
    write_task(TASKS[name], data)
    return next(read_samples(TASKS[name], data))


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("nocaps", "<img></img>Describe the image in English:"),
        ("vqav2-val", "<img></img>How many are 0? Answer:"),
        ("docvqa-val", "<img></img>How many are 0? Answer:"),
        ("scienceqa", "<img></img>Context: N/A\nQuestion: Which?\nOptions: A. red\nB. blue\nC. green\nAnswer:"),
        ("seed-image", "<img></img>\nQuestion: What?\nOptions: A. a\nB. b\nC. c\nD. d\nAnswer:"),
        ("seed-video", "<img></img>\n" * 4 + "Question: What?\nOptions: A. a\nB. b\nC. c\nD. d\nAnswer:"),
        ("refcoco-val", "<img></img><ref>red one</ref><box>"),
        ("mme", "<img></img>\nIs it red? Please answer yes or no."),
        ("touchstone-en", "<img></img>What is it?"),
    ],
)
def test_prompts_are_those_of_the_published_figures(name, prompt, tmp_path):
    assert first(name, tmp_path).prompt == prompt


def test_lengths_of_answers_are_those_of_the_published_figures():
    lengths = {name: (task.min_tokens, task.max_tokens) for name, task in TASKS.items()}
    assert lengths["nocaps"] == lengths["flickr30k"] == (8, 30)
    assert lengths["vqav2-val"] == lengths["gqa"] == lengths["ai2d"] == (0, 10)
    assert lengths["docvqa-test"] == lengths["chartqa-human"] == lengths["ocrvqa-val"] == (0, 100)
    assert lengths["refcoco+-testB"] == lengths["grit-refexp"] == (10, 28)


def test_options_are_letters_with_a_blank_and_rotate(tmp_path):
    sample = first("mmbench-dev-circular", tmp_path)
    assert [options for _, options in sample.asks] == [(" A", " B", " C")] * 3
    assert "A. blue\nB. green\nC. red" in sample.asks[1][0]
    assert sample.target == "A"


def test_whole_choices_are_scored_as_they_are(tmp_path):
    assert first("shapes-choice", tmp_path).asks[0][1] == ("red", "blue", "green")


def test_choices_are_named_by_number_letter_or_text(tmp_path):
    write_task(TASKS["scienceqa"], tmp_path)
    assert [sample.target for sample in read_samples(TASKS["scienceqa"], tmp_path)] == ["A", "C", "B"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": 3}, "one of 3 choices"),
        ({"answer": "D"}, "one of 3 choices"),
        ({"choices": []}, "choices must be"),
        ({"choices": [str(i) for i in range(27)]}, "1 to 26"),
        ({"question": None}, "question must be a string, not missing"),
        ({"image": 3}, "image must be a string"),
    ],
)
def test_malformed_choices(change, said, tmp_path):
    line = {"image": "1.png", "hint": "", "question": "Which?", "choices": ["a", "b", "c"], "answer": 0}
    write_lines(tmp_path / TASKS["scienceqa"].samples, [line | change])
    (flawed,) = read_samples(TASKS["scienceqa"], tmp_path)
    assert isinstance(flawed, Flawed)
    assert (flawed.flaw, said in flawed.message) == (Flaw.MALFORMED, True)


@pytest.mark.parametrize("box", [None, [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, float("nan")], "1,2,3,4"])
def test_malformed_boxes(box, tmp_path):
    line = {"image": "1.png", "sent": "x", "bbox": box, "height": 1, "width": 1}
    write_lines(tmp_path / TASKS["refcoco-val"].samples, [line])
    (flawed,) = read_samples(TASKS["refcoco-val"], tmp_path)
    assert isinstance(flawed, Flawed)
    assert "bbox must be" in flawed.message


def test_captions_of_another_split(tmp_path):
    document = {"images": [{"id": 1, "image": "1.png"}, {"id": 2, "image": "2.png"}, {"image": "3.png"}]}
    written = [{"image_id": 2, "caption": "b"}, {"image_id": 2, "caption": "c"}, {"image_id": 9, "caption": "d"}]
    write_json(tmp_path / TASKS["nocaps"].samples, document | {"annotations": written})
    unknown, known, nameless = read_samples(TASKS["nocaps"], tmp_path)
    assert (unknown.flaw, nameless.flaw) == (Flaw.UNANNOTATED, Flaw.MALFORMED)
    assert known.target == ["b", "c"]


def test_answers_come_from_the_official_annotations(tmp_path):
    sample = first("vqav2-val", tmp_path)
    assert sample.target == ["yes"] * 10
    assert first("seed-image", tmp_path).target == "A"


def test_annotations_that_are_none_are_told(tmp_path):
    write_task(TASKS["okvqa"], tmp_path)
    write_json(tmp_path / TASKS["okvqa"].annotations, {"annotations": [{"question_id": 1}]})
    with pytest.raises(UserError, match="without question_id and answers"):
        list(read_samples(TASKS["okvqa"], tmp_path))


def test_a_table_without_its_columns_is_told(tmp_path):
    path = tmp_path / TASKS["touchstone-cn"].samples
    path.parent.mkdir()
    path.write_text("index\tquestion\n1\tx\n", encoding="utf-8")
    with pytest.raises(UserError, match="no column category, gpt4_ha_answer, human_annotation, image"):
        list(read_samples(TASKS["touchstone-cn"], tmp_path))


def test_pictures_within_the_table_become_urls(tmp_path):
    assert first("touchstone-en", tmp_path).images[0].startswith("data:;base64,iVBOR")


def test_names_of_tasks():
    assert find_task("gqa") is TASKS["gqa"]
    with pytest.raises(UserError, match="refcoco-val, refcoco-testA"):
        find_task("refcoco")
    assert len(TASKS) == len({json.dumps(task.title) for task in TASKS.values()})
