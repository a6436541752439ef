"""Small random models of the libraries that people build their apps with, and one question to each.

Each `load` gives the same weights; each `ask` sends its input as an app does, and gives what an app would answer with.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn

_LLAMA = transformers.LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
_BERT = transformers.BertConfig(
    vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
    max_position_embeddings=64,
)  # fmt: skip


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    words = {word: number for number, word in enumerate((*special.values(), *(f"w{n}" for n in range(4, 64))))}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=16, **special)


def llama() -> nn.Module:
    return transformers.LlamaForCausalLM(_LLAMA).eval()


def generated(model: Any, **how: Any) -> torch.Tensor:
    ids = torch.tensor([[5, 6, 7]], device=model.device)
    return model.generate(ids, max_new_tokens=3, **{"do_sample": False, **how}).cpu()


def sampled(model: Any) -> torch.Tensor:
    torch.manual_seed(3)
    return generated(model, do_sample=True)


def logits(model: Any) -> torch.Tensor:
    return model(torch.tensor([[5, 6, 7]], device=model.device)).logits.detach().cpu()


def logits_of_ids_on_the_cpu(model: Any) -> torch.Tensor:
    return model(torch.tensor([[5, 6, 7]])).logits.detach()


def text_generation() -> Any:
    return transformers.pipeline("text-generation", model=llama(), tokenizer=tokenizer(), device="cpu")


def text_classification() -> Any:
    model = transformers.BertForSequenceClassification(_BERT).eval()
    return transformers.pipeline("text-classification", model=model, tokenizer=tokenizer(), device=-1)


def whisper() -> nn.Module:
    config = transformers.WhisperConfig(
        vocab_size=64, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=8, max_source_positions=10,
        max_target_positions=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        begin_suppress_tokens=None, suppress_tokens=None,
    )  # fmt: skip
    return transformers.WhisperForConditionalGeneration(config).eval()


def transcribed(model: Any) -> torch.Tensor:
    sound = torch.linspace(-1, 1, 8 * 20).reshape(1, 8, 20).to(model.device)
    return model.generate(sound, max_new_tokens=2, do_sample=False).cpu()


def unconditional() -> Any:
    import diffusers

    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(4, 8), norm_num_groups=2,
        attention_head_dim=4, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    return _quiet(diffusers.DDIMPipeline(unet.eval(), diffusers.DDIMScheduler()))


def stable_diffusion() -> Any:
    import diffusers

    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(4, 8), layers_per_block=1, sample_size=8, in_channels=4, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, norm_num_groups=2, attention_head_dim=2,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=[4, 8], in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2, latent_channels=4, norm_num_groups=2,
    )  # fmt: skip
    text = transformers.CLIPTextConfig(
        bos_token_id=1, eos_token_id=2, hidden_size=32, intermediate_size=37, num_attention_heads=4,
        num_hidden_layers=1, pad_token_id=0, vocab_size=64, max_position_embeddings=16,
    )  # fmt: skip
    pipe = diffusers.StableDiffusionPipeline(
        vae=vae.eval(), text_encoder=transformers.CLIPTextModel(text).eval(), tokenizer=tokenizer(), unet=unet.eval(),
        scheduler=diffusers.DDIMScheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipe.enable_attention_slicing()
    pipe.vae.enable_tiling()
    return _quiet(pipe)


def _quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(pipe: Any) -> torch.Tensor:
    seed = torch.Generator().manual_seed(0)
    return torch.as_tensor(pipe(num_inference_steps=1, generator=seed, output_type="np").images)


def painted(pipe: Any) -> torch.Tensor:
    """With a callback that looks at the latents, and changes them, as previews and controls do."""

    def at_step(pipe: Any, step: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
        values["latents"] = values["latents"] + torch.ones(1, device=pipe._execution_device)
        return values

    seed = torch.Generator().manual_seed(0)
    pictures = pipe(
        "w5 w6", num_inference_steps=1, generator=seed, output_type="np", height=16, width=16,
        callback_on_step_end=at_step,
    )  # fmt: skip
    return torch.as_tensor(pictures.images)


def lora() -> Any:
    import peft

    how = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    return peft.get_peft_model(llama(), how).eval()


def merged_for_one_answer(model: Any) -> torch.Tensor:
    model.merge_adapter()
    try:
        return logits(model)
    finally:
        model.unmerge_adapter()


def int8_by_torchao() -> nn.Module:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = llama()
    quantize_(model, Int8WeightOnlyConfig())
    return model


def hooked_by_accelerate() -> nn.Module:
    from accelerate import dispatch_model

    return dispatch_model(llama(), {"": "cpu"}, force_hooks=True)


def sentences() -> Any:
    from sentence_transformers import SentenceTransformer, models

    with tempfile.TemporaryDirectory() as folder:
        transformers.BertModel(_BERT).save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        words = models.Transformer(folder, max_seq_length=16)
    return SentenceTransformer(modules=[words, models.Pooling(32)], device="cpu")


@dataclass(frozen=True)
class Sample:
    """cycles: fewer where one takes long; another sample of the same library has all of them."""

    load: Callable[[], Any]
    ask: Callable[[Any], Any]
    cycles: int = 200


SAMPLES = {
    "transformers generate": Sample(llama, generated),
    "transformers sampling": Sample(llama, sampled),
    "transformers static cache": Sample(llama, lambda model: generated(model, cache_implementation="static")),
    "transformers text-generation": Sample(
        text_generation, lambda pipe: pipe("w5 w6", max_new_tokens=2, do_sample=False)
    ),
    "transformers text-classification": Sample(text_classification, lambda pipe: pipe(["w5 w6", "w7"])),
    "transformers speech": Sample(whisper, transcribed),
    "diffusers": Sample(unconditional, drawn),
    "diffusers with text, slicing and a callback": Sample(stable_diffusion, painted, cycles=20),
    "peft": Sample(lora, logits),
    "peft, merged while awake": Sample(lora, merged_for_one_answer),
    "torchao int8": Sample(int8_by_torchao, logits),
    "accelerate hooks": Sample(hooked_by_accelerate, logits_of_ids_on_the_cpu),
    "sentence-transformers": Sample(
        sentences, lambda model: torch.as_tensor(model.encode(["w5 w6", "w7"], show_progress_bar=False))
    ),
}


def seeded(load: Callable[[], Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return load()
