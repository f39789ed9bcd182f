"""Every row of the published tables, and the small model's own tasks."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from qwenvl.errors import UserError
from qwenvl.evaluation.tasks.task import Layout, Metric, Submission, Task

_VQA_PROMPT = "<img></img>{question} Answer:"
_CHOICES_PROMPT = "<img></img>Context: {hint}\nQuestion: {question}\nOptions: {options}\nAnswer:"
_BOX_PROMPT = "<img></img><ref>{sent}</ref><box>"


def _both(base: float, chat: float) -> Mapping[str, float]:
    return {"Qwen-VL": base, "Qwen-VL-Chat": chat}


def _captions() -> Iterator[Task]:
    task = Task(
        name="nocaps",
        title="NoCaps val",
        samples="nocaps/nocaps_val.json",
        source="nocaps.org: the validation annotations and its Open Images pictures",
        layout=Layout.CAPTIONS,
        metric=Metric.CIDER,
        prompt="<img></img>Describe the image in English:",
        min_tokens=8,
        max_tokens=30,
        published=_both(121.4, 120.2),
    )
    yield task
    yield replace(
        task,
        name="flickr30k",
        title="Flickr30K (Karpathy test)",
        samples="flickr30k/flickr30k_karpathy_test.json",
        source="shannon.cs.illinois.edu/DenotationGraph: pictures; captions of Karpathy's test split",
        published=_both(85.8, 81.0),
    )


def _vqa(name: str, title: str, folder: str, split: str, source: str, **given: object) -> Task:
    task = Task(
        name=name,
        title=title,
        samples=f"{folder}/{folder}_{split}.jsonl",
        source=source,
        layout=Layout.QUESTIONS,
        metric=Metric.VQA,
        prompt=_VQA_PROMPT,
        max_tokens=10,
        train=f"{folder}/{folder}_train.jsonl",
    )
    return replace(task, **given)  # type: ignore[arg-type]


def _open_ended() -> Iterator[Task]:
    coco, vizwiz_source = "visualqa.org: questions, annotations, COCO 2014 and 2015 pictures", "vizwiz.org: VQA"
    yield _vqa(
        *("vqav2-val", "VQAv2 val", "vqav2", "val", coco),
        annotations="vqav2/v2_mscoco_val2014_annotations.json",
        questions="vqav2/v2_OpenEnded_mscoco_val2014_questions.json",
    )
    yield _vqa(
        *("vqav2-testdev", "VQAv2 test-dev", "vqav2", "testdev", coco),
        questions="vqav2/v2_OpenEnded_mscoco_test-dev2015_questions.json",
        submission=Submission.VQA,
        published=_both(78.8, 78.2),
    )
    yield _vqa(
        *("okvqa", "OK-VQA val", "okvqa", "val", "okvqa.allenai.org: questions, annotations; COCO val2014 pictures"),
        annotations="okvqa/mscoco_val2014_annotations.json",
        questions="okvqa/OpenEnded_mscoco_val2014_questions.json",
        published=_both(58.6, 56.6),
    )
    yield _vqa(
        *("textvqa", "TextVQA val", "textvqa", "val", "textvqa.org: TextVQA 0.5.1 and its Open Images pictures"),
        annotations="textvqa/textvqa_val_annotations.json",
        questions="textvqa/textvqa_val_questions.json",
        published={"Qwen-VL": 63.8},
    )
    which = "it was not said on which split the published figure was measured"
    yield _vqa(
        *("vizwiz-val", "VizWiz val", "vizwiz", "val", vizwiz_source),
        annotations="vizwiz/vizwiz_val_annotations.json",
        questions="vizwiz/vizwiz_val_questions.json",
        published=_both(35.2, 38.9),
        note=which,
    )
    yield _vqa(
        *("vizwiz-test", "VizWiz test", "vizwiz", "test", vizwiz_source),
        questions="vizwiz/vizwiz_test_questions.json",
        submission=Submission.VIZWIZ,
        published=_both(35.2, 38.9),
        note=which,
    )
    yield _vqa(
        *("gqa", "GQA test-dev balanced", "gqa", "", "cs.stanford.edu/people/dorarad/gqa: questions 1.2, pictures"),
        samples="gqa/testdev_balanced.jsonl",
        train="gqa/train.jsonl",
        metric=Metric.GQA,
        submission=Submission.GQA,
        published=_both(59.3, 57.5),
    )


def _documents() -> Iterator[Task]:
    site = "rrc.cvc.uab.es: DocVQA, tasks 1 (documents) and 3 (infographics)"
    docvqa = _vqa("docvqa-val", "DocVQA val", "docvqa", "", site, metric=Metric.ANLS, max_tokens=100)
    docvqa = replace(docvqa, samples="docvqa/val.jsonl", train="docvqa/train.jsonl", published={"Qwen-VL": 65.1})
    for task in (
        replace(docvqa, note="it was not said on which split the published figure was measured"),
        replace(
            docvqa,
            name="docvqa-test",
            title="DocVQA test",
            samples="docvqa/test.jsonl",
            submission=Submission.DOCVQA,
            note="scored by the challenge's site",
        ),
    ):
        yield task
        yield replace(
            task,
            name=task.name.replace("docvqa", "infovqa"),
            title=task.title.replace("DocVQA", "InfographicsVQA"),
            samples=task.samples.replace("docvqa", "infographicsvqa"),
            train="infographicsvqa/train.jsonl",
            published={},
            note="",
        )
    for split in ("human", "augmented"):
        yield _vqa(
            *(f"chartqa-{split}", f"ChartQA {split}", "chartqa", "", "github.com/vis-nlp/ChartQA: test split"),
            samples=f"chartqa/test_{split}.jsonl",
            train=f"chartqa/train_{split}.jsonl",
            metric=Metric.RELAXED,
            max_tokens=100,
            published={"Qwen-VL": 65.7},
            note="the published figure is the mean of human and augmented",
        )
    yield _vqa(
        *("ai2d", "AI2D test", "ai2diagram", "", "allenai.org/data/diagrams: AI2 Diagrams"),
        samples="ai2diagram/test.jsonl",
        train="ai2diagram/train.jsonl",
        metric=Metric.EXACT,
        published={"Qwen-VL": 62.3},
    )
    for split in ("val", "test"):
        yield _vqa(
            *(f"ocrvqa-{split}", f"OCR-VQA {split}", "ocrvqa", split, "ocr-vqa.github.io: book covers"),
            metric=Metric.EXACT,
            max_tokens=100,
            published={"Qwen-VL": 75.7} if split == "test" else {},
        )


def _choices() -> Iterator[Task]:
    task = Task(
        name="scienceqa",
        title="ScienceQA-Img test",
        samples="scienceqa/scienceqa_test_img.jsonl",
        source="scienceqa.github.io: questions of the test split that have a picture",
        layout=Layout.CHOICES,
        metric=Metric.OPTIONS,
        prompt=_CHOICES_PROMPT,
        max_tokens=0,
        published=_both(67.1, 68.2),
    )
    yield task
    mmbench = replace(task, source="github.com/open-compass/MMBench: its TSV as lines of JSON", published={})
    for split in ("dev", "test"):
        submission = Submission.MMBENCH if split == "test" else None
        for circular in (False, True):
            suffix, form = ("-circular", ", circular") if circular else ("", "")
            yield replace(
                mmbench,
                name=f"mmbench-{split}{suffix}",
                title=f"MMBench {split}{form}",
                samples=f"mmbench/mmbench_{split}_20230712.jsonl",
                circular=circular,
                submission=None if circular else submission,
            )
    for kind, title in (("image", "SEED-Bench, images"), ("video", "SEED-Bench, video frames")):
        yield replace(
            task,
            name=f"seed-{kind}",
            title=title,
            samples=f"seed_bench/{kind}_input.jsonl",
            annotations="seed_bench/SEED-Bench.json",
            source="github.com/AILab-CVC/SEED-Bench: SEED-Bench.json, pictures, four frames of each video",
            layout=Layout.PROMPTS,
            prompt="{prompt}",
            submission=Submission.SEED,
            published={},
        )


_BOXES = (
    ("refcoco-val", "RefCOCO val", "refcoco/refcoco_val.jsonl", _both(89.36, 88.55)),
    ("refcoco-testA", "RefCOCO testA", "refcoco/refcoco_testA.jsonl", _both(92.26, 92.27)),
    ("refcoco-testB", "RefCOCO testB", "refcoco/refcoco_testB.jsonl", _both(85.34, 84.51)),
    ("refcoco+-val", "RefCOCO+ val", "refcoco+/refcoco+_val.jsonl", _both(83.12, 82.82)),
    ("refcoco+-testA", "RefCOCO+ testA", "refcoco+/refcoco+_testA.jsonl", _both(88.25, 88.59)),
    ("refcoco+-testB", "RefCOCO+ testB", "refcoco+/refcoco+_testB.jsonl", _both(77.21, 76.79)),
    ("refcocog-val", "RefCOCOg val", "refcocog/refcocog_val.jsonl", _both(85.58, 85.96)),
    ("refcocog-test", "RefCOCOg test", "refcocog/refcocog_test.jsonl", _both(85.48, 86.32)),
    ("grit-refexp", "GRIT refexp", "grit/grit_refexp.jsonl", {"Qwen-VL": 78.22}),
)


def _boxes() -> Iterator[Task]:
    for name, title, samples, published in _BOXES:
        is_grit = name.startswith("grit")
        yield Task(
            name=name,
            title=title,
            samples=samples,
            source="allenai.org/project/grit" if is_grit else "github.com/lichengunc/refer; COCO train2014 pictures",
            layout=Layout.BOXES,
            metric=Metric.IOU,
            prompt=_BOX_PROMPT,
            min_tokens=10,
            max_tokens=28,
            published=published,
        )


def _chats() -> Iterator[Task]:
    yield Task(
        name="mme",
        title="MME",
        samples="mme/Your_Results",
        source="github.com/BradyFU/Awesome-Multimodal-Large-Language-Models: MME_Benchmark_release_version, eval_tool",
        layout=Layout.MME,
        metric=Metric.MME,
        prompt="<img></img>\n{question}",
        max_tokens=None,
        published={"Qwen-VL-Chat perception": 1487.58, "Qwen-VL-Chat cognition": 360.71},
        submission=Submission.MME,
        chat=True,
    )
    for language, title, chat, int4 in (("en", "English", 645.2, 651.4), ("cn", "Chinese", 401.2, 386.6)):
        yield Task(
            name=f"touchstone-{language}",
            title=f"TouchStone {title}",
            samples=f"touchstone/touchstone_20230831_{language}.tsv",
            source="github.com/OFA-Sys/TouchStone: the TSV of version 0.1",
            layout=Layout.TOUCHSTONE,
            metric=Metric.JUDGE,
            prompt="<img></img>{question}",
            max_tokens=None,
            published={"Qwen-VL-Chat": chat, "Qwen-VL-Chat-Int4": int4},
            note="comparable as far as the judge is the same",
            chat=True,
        )


def _shapes() -> Iterator[Task]:
    """The small model's own, in the forms of the others. Prompts are those it was taught."""
    boxes = Task(
        name="shapes-refexp",
        title="Shapes: where is it",
        samples="shapes/refexp.jsonl",
        source="qwenvl evaluate --draw COUNT --data DIR",
        layout=Layout.BOXES,
        metric=Metric.IOU,
        prompt="<img></img><ref>{sent}</ref><ref>{sent}</ref><box>",
        max_tokens=28,
    )
    yield boxes
    questions = replace(
        boxes,
        name="shapes-vqa",
        title="Shapes: questions",
        samples="shapes/vqa.jsonl",
        train="shapes/train.jsonl",
        layout=Layout.QUESTIONS,
        metric=Metric.EXACT,
        prompt="<img></img>Question: {question} Answer:",
        max_tokens=60,
    )
    yield questions
    yield replace(
        questions,
        name="shapes-choice",
        title="Shapes: multiple choice",
        samples="shapes/choices.jsonl",
        train=None,
        layout=Layout.CHOICES,
        metric=Metric.OPTIONS,
        whole_choices=True,
        max_tokens=0,
    )
    yield replace(
        questions,
        name="shapes-caption",
        title="Shapes: captions",
        samples="shapes/captions.json",
        train=None,
        layout=Layout.CAPTIONS,
        metric=Metric.CIDER,
        prompt="<img></img>Generate the caption in English:",
    )


TASKS: Mapping[str, Task] = {
    task.name: task
    for tasks in (_captions(), _open_ended(), _documents(), _choices(), _boxes(), _chats(), _shapes())
    for task in tasks
}


def find_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UserError: there is none; the message names those that begin alike.
    """
    if name in TASKS:
        return TASKS[name]
    alike = [task for task in TASKS if task.startswith(name.partition("-")[0].lower())]
    raise UserError(f"no task is called {name!r}: try {', '.join(alike) or 'qwenvl evaluate --list'}")
