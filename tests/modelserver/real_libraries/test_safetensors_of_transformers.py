"""The recipe of the docs, built on the meta device and filled from the files, works for the models that people have."""

from pathlib import Path
from typing import Any

import pytest
import torch
from dormouse_modelserver import Safetensors
from dormouse_modelserver.engines.torch.sim.device import SimDevice
from torch import nn

from tests.modelserver.engine.using import held, on_gpu, weights_on

pytestmark = pytest.mark.filterwarnings("ignore")
transformers = pytest.importorskip("transformers")
SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**SIZES, "num_key_value_heads": 2}
TINY_ENCODER_DECODER = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
WHISPER = {
    **TINY_ENCODER_DECODER,
    "num_mel_bins": 8,
    "max_source_positions": 20,
    "max_target_positions": 20,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0),
}
YARN = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 10_000.0}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED),
    "Llama, tied": ("LlamaForCausalLM", "LlamaConfig", {**GROUPED, "tie_word_embeddings": True}),
    "Llama in bfloat16": ("LlamaForCausalLM", "LlamaConfig", {**GROUPED, "dtype": torch.bfloat16}),
    "Llama with YaRN": ("LlamaForCausalLM", "LlamaConfig", {**GROUPED, "rope_parameters": YARN}),
    "Qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {**GROUPED, "tie_word_embeddings": True}),
    "Qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**GROUPED, "head_dim": 8}),
    "Mistral": ("MistralForCausalLM", "MistralConfig", GROUPED),
    "Gemma": ("GemmaForCausalLM", "GemmaConfig", {**GROUPED, "head_dim": 8}),
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    "BERT": ("BertModel", "BertConfig", SIZES),
    "Whisper": ("WhisperForConditionalGeneration", "WhisperConfig", WHISPER),
    "T5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    ),
}
IDS = torch.arange(9).view(1, 9)


def answer(model: Any) -> torch.Tensor:
    inputs: dict[str, torch.Tensor] = {"input_ids": IDS}
    if model.config.model_type == "whisper":
        inputs = {"input_features": torch.linspace(0, 1, 8 * 40).view(1, 8, 40)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = IDS
    with torch.no_grad():
        given = model(**inputs)
    return torch.as_tensor(given["logits"] if "logits" in given else given["last_hidden_state"]).clone()


@pytest.mark.parametrize("shards", [False, True], ids=["one file", "shards"])
@pytest.mark.parametrize(("cls", "config", "sizes"), MODELS.values(), ids=MODELS.keys())
def test_a_model_of_transformers_loads_by_the_recipe(
    tmp_path: Path, cls: str, config: str, sizes: dict[str, Any], shards: bool
) -> None:
    torch.manual_seed(7)
    kind, settings = getattr(transformers, cls), getattr(transformers, config)(**sizes)
    made = kind._from_config(settings, dtype=settings.dtype or torch.float32)
    made.save_pretrained(tmp_path, max_shard_size="20KB" if shards else "1GB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1 or not shards
    twin = answer(kind.from_pretrained(tmp_path).eval())

    def build() -> nn.Module:
        settings = transformers.AutoConfig.from_pretrained(tmp_path)
        with torch.device("meta"):
            return kind._from_config(settings, dtype=settings.dtype).eval()  # type: ignore[no-any-return]

    weights = weights_on(SimDevice("sim", 64 << 20), Safetensors(build, tmp_path))
    for move in (weights.offload, weights.unload, weights.unload):
        on_gpu(weights)
        with held(weights) as model:
            assert torch.equal(answer(model), twin)
        assert (weights.moved_apart, weights.dirty) == ((), False)
        move()
