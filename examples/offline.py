"""No server: the plugin alone, through vLLM's own Python interface."""

import PIL.Image
from vllm import LLM, SamplingParams

from qwenvl.demo.checkpoint import built_in_checkpoint

if __name__ == "__main__":
    # For real answers: LLM("Qwen/Qwen-VL-Chat").
    llm = LLM(str(built_in_checkpoint()), enforce_eager=True, kv_cache_memory_bytes=1 << 30)
    picture = PIL.Image.open("examples/shapes.png")
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "image_pil", "image_pil": picture},
                {"type": "text", "text": "What is in this picture?"},
            ],
        }
    ]
    (output,) = llm.chat(messages, SamplingParams(temperature=0, max_tokens=64))
    print(output.outputs[0].text)
