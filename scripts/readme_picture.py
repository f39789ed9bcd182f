"""Draw the README's picture, an answer of the built-in model: ``python -m scripts.readme_picture [BASE_URL]``.

Asks a server, ``make serve`` by default, and draws what it says on the picture it was asked about.
"""

import base64
import sys
from pathlib import Path

import PIL.Image
from openai import OpenAI

from qwenvl.grounding import draw_findings, parse

PROJECT = Path(__file__).parent.parent
PICTURE = PROJECT / "examples" / "shapes.png"
DRAWN = PROJECT / "docs" / "images" / "answer.png"
QUESTION = "Detect everything in the picture."


def ask(base_url: str) -> str:
    """What the server's model says to the question about the picture, with its tags."""
    url = f"data:image/png;base64,{base64.b64encode(PICTURE.read_bytes()).decode()}"
    with OpenAI(base_url=base_url, api_key="none") as client:
        completion = client.chat.completions.create(
            model=client.models.list().data[0].id,
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": QUESTION}],
                }
            ],
            temperature=0,
            max_tokens=200,
        )
    return completion.choices[0].message.content or ""


def main() -> None:
    answer = ask(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000/v1")
    sys.stdout.write(answer + "\n")
    with PIL.Image.open(PICTURE) as picture:
        draw_findings(picture, parse(answer).findings).save(DRAWN, optimize=True)


if __name__ == "__main__":
    main()
