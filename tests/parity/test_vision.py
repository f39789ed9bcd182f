"""The vectors that stand for each golden picture."""

import PIL.Image
import pytest
import torch

from qwenvl.model_executor.image_processor import resize_image
from qwenvl.model_executor.vision import VisionTransformer
from tests.parity.golden import DATA, golden
from tests.parity.tower import golden_tower

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def tower() -> VisionTransformer:
    return golden_tower()


@pytest.mark.parametrize("name", golden()["visual"])
def test_golden_vectors(tower: VisionTransformer, name: str) -> None:
    expected = golden()["visual"][name]
    with torch.no_grad():
        (vectors,) = tower(resize_image(PIL.Image.open(DATA / "images" / name), 448).unsqueeze(0))
    assert list(vectors.shape) == expected["shape"]
    assert vectors.mean().item() == pytest.approx(expected["mean"], abs=TOLERANCE)
    assert vectors.std().item() == pytest.approx(expected["std"], abs=TOLERANCE)
    torch.testing.assert_close(vectors[0, :8], torch.tensor(expected["first8"]), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(vectors[-1, -8:], torch.tensor(expected["last8"]), atol=TOLERANCE, rtol=0)
