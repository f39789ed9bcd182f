import pytest
import torch

from qwenvl.model_executor.config import QWenConfig, VisionConfig
from qwenvl.model_executor.image_processor import normalize
from qwenvl.model_executor.pictures import fit_image
from qwenvl.model_executor.vision import VisionTransformer, attend, resize_grid, sincos_grid
from qwenvl.model_executor.weights import VISUAL_PREFIX, checkpoint_shapes
from tests.parity.checkpoints import golden_tensors
from tests.parity.golden import CHECKPOINT, DATA
from tests.parity.tower import golden_tower


@pytest.fixture(scope="module")
def tower() -> VisionTransformer:
    return golden_tower()


def test_images_of_a_batch_do_not_touch(tower: VisionTransformer) -> None:
    pixels = torch.randint(0, 256, (3, 3, 448, 448), dtype=torch.uint8)
    with torch.no_grad():
        together = tower(pixels)
        alone = torch.cat([tower(image.unsqueeze(0)) for image in pixels])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_normalised_pixels_are_taken_as_they_are(tower: VisionTransformer) -> None:
    pixels = torch.randint(0, 256, (1, 3, 448, 448), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(tower(pixels), tower(normalize(pixels)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_both_forms_of_attention_agree(dtype: torch.dtype) -> None:
    query, key, value = torch.randn(3, 2, 4, 16, 32).to(dtype)
    expected = torch.nn.functional.scaled_dot_product_attention(query.float(), key.float(), value.float())
    torch.testing.assert_close(attend(query, key, value).float(), expected, atol=2e-2, rtol=2e-2)


def test_fitting_twice_changes_nothing() -> None:
    import PIL.Image

    fitted = fit_image(PIL.Image.open(DATA / "images" / "d.png"), 448)
    assert fitted.mode == "RGB"
    assert fit_image(fitted, 448).tobytes() == fitted.tobytes()


def test_stored_positions_are_the_formula() -> None:
    stored = golden_tensors()[f"{VISUAL_PREFIX}attn_pool.pos_embed"].float()
    torch.testing.assert_close(sincos_grid(*stored.shape), stored, atol=1e-3, rtol=0)


def test_fewer_queries_and_a_width_without_projection() -> None:
    """64 vectors an image; where the tower is as wide as its output there is no kv_proj."""
    config = VisionConfig(56, 14, 128, 1, 2, 2.0, 128, 0, n_queries=64)
    tower = VisionTransformer(config)
    assert not any("kv_proj" in name for name in tower.state_dict())
    assert tower(torch.zeros(2, 3, 56, 56, dtype=torch.uint8)).shape == (2, 64, 128)
    assert resize_grid(torch.randn(256, 8), 16).shape == (16, 8)


def test_parameters_carry_the_checkpoints_names_and_shapes() -> None:
    config = QWenConfig.from_pretrained(CHECKPOINT)
    assert config.vision is not None
    state = {f"{VISUAL_PREFIX}{k}": tuple(v.shape) for k, v in VisionTransformer(config.vision).state_dict().items()}
    shapes = checkpoint_shapes(config)
    assert state == {name: shape for name, shape in shapes.items() if name.startswith(VISUAL_PREFIX)}
    assert shapes == {name: tuple(tensor.shape) for name, tensor in golden_tensors().items()}
