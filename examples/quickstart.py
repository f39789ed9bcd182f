"""The original README's quickstart: a chat about a picture, boxes drawn on it, and the form for base models.

    python examples/quickstart.py [CHECKPOINT]

Beside the import of qwenvl, only the checkpoint, the picture and the questions differ from the original.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation import GenerationConfig

import qwenvl  # noqa: F401  # in place of trust_remote_code=True, which does no harm
from qwenvl.demo.checkpoint import built_in_checkpoint

PICTURE = str(Path(__file__).parent / "shapes.png")

if __name__ == "__main__":
    torch.manual_seed(1234)
    # Without a name, the small model that comes with the package. For the real one: Qwen/Qwen-VL-Chat.
    checkpoint = sys.argv[1] if len(sys.argv) > 1 else str(built_in_checkpoint())
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=True)

    # bf16=True and fp16=True choose the precision; without them the device does.
    model = AutoModelForCausalLM.from_pretrained(checkpoint, device_map="auto", trust_remote_code=True).eval()
    model.generation_config = GenerationConfig.from_pretrained(checkpoint, trust_remote_code=True)

    # 1st dialogue turn
    query = tokenizer.from_list_format(
        [
            {"image": PICTURE},  # a path or a URL
            {"text": "What is in this picture?"},
        ]
    )
    response, history = model.chat(tokenizer, query=query, history=None)
    print(response)

    # 2nd dialogue turn
    response, history = model.chat(tokenizer, "框出图中红色圆形的位置", history=history)
    print(response)
    image = tokenizer.draw_bbox_on_latest_picture(response, history)
    if image:
        image.save("1.jpg")
    else:
        print("no box")

    # 3rd dialogue turn, as the model writes it: each text is the answer so far
    shown = ""
    for text in model.chat_stream(tokenizer, query="How many shapes are there?", history=history):
        print(text[len(shown) :], end="", flush=True)
        shown = text
    print()

    # As base models are asked: no turns, and the picture's path stays in what comes back.
    query = tokenizer.from_list_format(
        [{"image": PICTURE}, {"text": "Generate the caption in English with grounding:"}]
    )
    inputs = tokenizer(query, return_tensors="pt").to(model.device)
    pred = model.generate(**inputs)
    response = tokenizer.decode(pred.cpu()[0], skip_special_tokens=False)
    print(response)
    image = tokenizer.draw_bbox_on_latest_picture(response)
    if image:
        image.save("2.jpg")
    else:
        print("no box")
