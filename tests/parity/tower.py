"""The golden checkpoint's visual encoder, in float32."""

from qwenvl.model_executor.config import QWenConfig
from qwenvl.model_executor.vision import VisionTransformer
from qwenvl.model_executor.weights import VISUAL_PREFIX
from tests.parity.checkpoints import golden_tensors
from tests.parity.golden import CHECKPOINT


def golden_tower() -> VisionTransformer:
    config = QWenConfig.from_pretrained(CHECKPOINT).vision
    assert config is not None
    tower = VisionTransformer(config).eval()
    tensors = {name: tensor.float() for name, tensor in golden_tensors().items() if name.startswith(VISUAL_PREFIX)}
    tower.load_state_dict({name.removeprefix(VISUAL_PREFIX): tensor for name, tensor in tensors.items()})
    return tower
