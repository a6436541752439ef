"""Models of transformers, peft, diffusers and torchao that sleep: what one asks of them, and what one does to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dormouse_contract import Residency
from dormouse_modelserver import Model, ModelChanged, ModelNotHeld, ResidencyManager
from torch import nn

peft = pytest.importorskip("peft")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

# peft asks transformers in a way that this calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

IDS = torch.arange(9).view(1, 9)


def llama() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    return transformers.LlamaForCausalLM(config).eval()


def lora() -> Any:
    return peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)


def with_lora() -> Any:
    model = llama()
    torch.manual_seed(1)
    return peft.get_peft_model(model, lora()).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return torch.as_tensor(model(IDS).logits)


def asleep(load: Callable[[], Any]) -> tuple[Model[Any], Any]:
    model = ResidencyManager("sim:64MiB").register("llama", load)
    with model.on_gpu() as module:
        pass
    model.move_to(Residency.CPU)
    return model, module


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda model: model.num_parameters(), id="num_parameters"),
        pytest.param(lambda model: model.get_memory_footprint(), id="get_memory_footprint"),
        pytest.param(lambda model: model.dtype, id="dtype"),
        pytest.param(lambda model: model.device, id="device"),
        pytest.param(lambda model: model.get_input_embeddings().weight.shape, id="embeddings"),
    ],
)
def test_what_a_health_route_asks_is_answered_truthfully(ask: Callable[[Any], Any]) -> None:
    _, module = asleep(llama)
    assert ask(module) == ask(llama())


REFUSED: dict[str, Callable[[Any], Any]] = {
    "half": lambda model: model.half(),
    "to bfloat16": lambda model: model.to(torch.bfloat16),
    "resize_token_embeddings": lambda model: model.resize_token_embeddings(80),
    "forward": lambda model: model(IDS),
    "generate": lambda model: model.generate(IDS, max_new_tokens=2),
    "init_weights": lambda model: model._init_weights(model.lm_head),
}


@pytest.mark.parametrize("act", REFUSED.values(), ids=REFUSED.keys())
def test_a_sleeping_language_model_refuses_and_is_unharmed(act: Callable[[Any], Any]) -> None:
    model, module = asleep(llama)
    with pytest.raises(ModelNotHeld, match="on_gpu"):
        act(module)
    with model.on_gpu() as awake:
        assert torch.equal(logits(awake), logits(llama()))


def test_it_is_not_saved_without_its_weights(tmp_path: Path) -> None:
    _, module = asleep(llama)
    with pytest.raises(ModelNotHeld, match="on_gpu"):
        module.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_an_adapter_that_is_added_asleep_is_in_force_and_no_unload_loses_it() -> None:
    model, module = asleep(llama)
    torch.manual_seed(1)
    module.add_adapter(lora())
    twin = llama()
    torch.manual_seed(1)
    twin.add_adapter(lora())
    for _ in range(2):
        with model.on_gpu() as awake:
            assert torch.equal(logits(awake), logits(twin))
            needed = sum(weight.nbytes for weight in {id(w): w for w in awake.parameters()}.values())
            assert model.snapshot().gpu_memory_bytes >= needed
        model.move_to(Residency.CPU)
    with pytest.raises(ModelChanged):
        model.move_to(Residency.UNLOADED)


@pytest.mark.parametrize("merge", ["merge_adapter", "merge_and_unload"])
def test_an_adapter_is_not_merged_asleep_and_stays_in_force(merge: str) -> None:
    model, module = asleep(with_lora)
    with pytest.raises(ModelNotHeld, match="on_gpu"):
        getattr(module, merge)()
    with model.on_gpu() as awake:
        assert torch.equal(logits(awake), logits(with_lora()))
        assert not torch.allclose(logits(awake), logits(llama()), atol=1e-2)


def unet() -> nn.Module:
    torch.manual_seed(0)
    return diffusers.UNet2DModel(  # type: ignore[no-any-return]
        sample_size=8,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(8, 8),
        norm_num_groups=2,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    ).eval()


def pipeline() -> Any:
    pipe = diffusers.DDPMPipeline(unet(), diffusers.DDPMScheduler(num_train_timesteps=4))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def picture(pipe: Any) -> Any:
    return pipe(generator=torch.manual_seed(3), num_inference_steps=2, output_type="np").images


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_sleeping_diffusers_pipeline_is_not_cast(dtype: torch.dtype) -> None:
    model, pipe = asleep(pipeline)
    with pytest.raises(ModelNotHeld, match="on_gpu"):
        pipe.to(dtype)
    with model.on_gpu() as awake:
        assert (picture(awake) == picture(pipeline())).all()


def test_a_sleeping_diffusers_pipeline_is_not_saved(tmp_path: Path) -> None:
    _, pipe = asleep(pipeline)
    with pytest.raises(ModelNotHeld, match="on_gpu"):
        pipe.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("**/*.safetensors"))


def quantized() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 64)).eval()
    quantize_(model, Int8WeightOnlyConfig())
    return model


def test_a_quantized_model_that_is_extended_asleep_has_it_at_the_next_wake() -> None:
    x = torch.ones(1, 64)
    model, module = asleep(quantized)
    for each in (module, twin := quantized()):
        torch.manual_seed(1)
        each.append(nn.Linear(64, 64))
    for _ in range(2):
        with model.on_gpu() as awake, torch.no_grad():
            assert torch.equal(awake(x), twin(x))
        model.move_to(Residency.CPU)
