from pathlib import Path

import pytest
from accelerate.utils.deepspeed import HfDeepSpeedConfig

from qwenvl.errors import UserError
from qwenvl.finetuning.arguments import read_sharding, training_arguments
from qwenvl.finetuning.run_folder import RunFolder
from qwenvl.finetuning.settings import FinetuneSettings, Precision


def test_deepspeed_configurations_are_what_they_are_called() -> None:
    """As transformers and accelerate read them; DeepSpeed itself is not installed everywhere."""
    two, three = (HfDeepSpeedConfig(read_sharding(name)) for name in ("zero2", "zero3"))
    assert two.is_zero2()
    assert three.is_zero3()
    assert three.is_true("zero_optimization.stage3_gather_16bit_weights_on_model_save")


def test_full_shard_wraps_classes_of_the_model(tmp_path: Path) -> None:
    from qwenvl.model_executor import modeling, vision

    classes = read_sharding("full_shard")["transformer_layer_cls_to_wrap"]
    assert {getattr(modeling, name, None) or getattr(vision, name) for name in classes} == {
        modeling.QWenBlock,
        vision.Block,
    }
    settings = FinetuneSettings(model="m", data=Path("d"), output=tmp_path, fsdp="full_shard")
    arguments = training_arguments(settings, RunFolder(tmp_path), Precision.FP32, has_evaluation=False)
    assert arguments.fsdp_config["activation_checkpointing"] is True
    assert not arguments.gradient_checkpointing


def test_a_configuration_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"version": 2}')
    assert read_sharding(str(path)) == {"version": 2}
    for content, message in (("{", "is not JSON"), ("[]", "must hold a JSON object")):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            read_sharding(str(path))
