import pytest

from benchmarks.finetuning import METHODS, RELEASED, measure, memory
from qwenvl.model_executor.config import QWenConfig

CONFIG = QWenConfig(visual=RELEASED)
PARAMETERS = 9.66e9
"""Of the released models."""
GIB = 2**30


def part(method: str, name: str, length: int = 2048) -> float:
    return memory(CONFIG, method, length)[name] * GIB


@pytest.mark.parametrize("method", METHODS)
def test_parts_add_up(method: str) -> None:
    parts = memory(CONFIG, method, 2048)
    assert parts.pop("total") == pytest.approx(sum(parts.values()))
    assert memory(CONFIG, method, 4096)["activations"] == pytest.approx(2 * parts["activations"])


def test_what_is_held_in_16_bits_and_what_in_4() -> None:
    weights = "weights that stay"
    assert part("lora", weights) == pytest.approx(2 * PARAMETERS, rel=0.001)
    # The released Int4 checkpoint's linears, and the rest in 16 bits.
    packed = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert part("qlora (Int4)", weights) == pytest.approx(2 * (PARAMETERS - packed) + 0.535 * packed, rel=0.001)
    # NF4 packs the linears of the tower too.
    assert part("qlora (NF4)", weights) < part("qlora (Int4)", weights) - 1.4 * 48 * 4 * 1664**2


def test_what_is_learned_takes_sixteen_bytes() -> None:
    learned = "learned, with gradients and AdamW"
    # Of rank 64, on the four linears of the recipe.
    adapter = 32 * 64 * (4 * 4096 + 2 * 4096 + 2 * (4096 + 11008))
    for method in ("lora", "qlora (Int4)", "qlora (NF4)"):
        assert part(method, learned) == 16 * adapter
    assert part("full, tower too", learned) == pytest.approx(16 * PARAMETERS, rel=0.001)
    assert part("full", learned) + 4 * part("full", "weights that stay") == part("full, tower too", learned)


@pytest.mark.slow
def test_a_short_run_is_measured() -> None:
    row = measure("lora", steps=2, batch_size=2)
    assert all(row[name] > 0 for name in ("seconds_per_step", "tokens_per_second", "peak_memory_mib"))
