"""The vision tower's self-attention: torch's fused kernel against two matrix products and a softmax.

    python -m benchmarks.vision_attention --device cpu --dtypes float32,bfloat16 --batch 1,4

``qwenvl.model_executor.vision.attend`` chooses between the two by device and dtype; its choice comes from here.
"""

import argparse
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import environment
from benchmarks.timing import median_seconds

SHAPES = {
    "Qwen-VL (16 x 104)": (16, 1024, 104),
    "tiny (4 x 16)": (4, 1024, 16),
}
"""Heads, positions, channels of a head: the released tower, and the one of the tests' small checkpoint."""

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value)


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    attended: Tensor = scores.softmax(dim=-1) @ value
    return attended


def inputs(batch: int, shape: tuple[int, int, int], device: str, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Query, key and value as the tower hands them over: strided views of one projection, heads outermost in it."""
    heads, positions, channels = shape
    projected = torch.randn(batch, positions, heads, 3 * channels, device=device, dtype=dtype)
    return projected.transpose(1, 2).chunk(3, dim=-1)


def synchronized(attention: Attention, qkv: Sequence[Tensor]) -> Callable[[], None]:
    query, key, value = qkv

    def call() -> None:
        attention(query, key, value)
        if query.device.type == "cuda":
            torch.cuda.synchronize(query.device)

    return call


@torch.inference_mode()
def table(device: str, dtypes: Sequence[str], batches: Sequence[int], repeats: int) -> str:
    """Markdown, one row a shape, dtype and batch size; a ratio above 1 says the fused kernel is faster."""
    rows = [
        "| shape | dtype | batch | fused ms | plain ms | plain / fused | largest difference |",
        "| --- | --- | --: | --: | --: | --: | --: |",
    ]
    for label, shape in SHAPES.items():
        for name in dtypes:
            for batch in batches:
                qkv = inputs(batch, shape, device, getattr(torch, name))
                difference = (fused(*qkv) - plain(*qkv)).abs().max().item()
                seconds = median_seconds(
                    {"fused": synchronized(fused, qkv), "plain": synchronized(plain, qkv)}, repeats
                )
                rows.append(
                    f"| {label} | {name} | {batch} | {1000 * seconds['fused']:.2f} | {1000 * seconds['plain']:.2f} "
                    f"| {seconds['plain'] / seconds['fused']:.2f} | {difference:.1e} |"
                )
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default_device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default_device, help="default: %(default)s")
    parser.add_argument("--dtypes", default="float32,bfloat16,float16", help="default: %(default)s")
    parser.add_argument("--batch", default="1,4", help="images at once (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=20, help="default: %(default)s")
    args = parser.parse_args(argv)
    where = torch.cuda.get_device_name(args.device) if args.device.startswith("cuda") else environment.cpu_model()
    print(f"{where}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print(table(args.device, args.dtypes.split(","), [int(size) for size in args.batch.split(",")], args.repeats))


if __name__ == "__main__":
    main()
