"""Writes a Llama of 2 layers with random weights, its tokenizer and a LoRA adapter: `tiny_model.py FOLDER`."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

WORDS = 2048
ADAPTER_RANK = 8
SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def write(folder: Path) -> None:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=4096,
        initializer_range=0.1,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    # Not bfloat16: Triton's interpreter cannot compute with it.
    LlamaForCausalLM(config).half().save_pretrained(folder)
    write_tokenizer(folder)
    write_adapter(folder / "adapter", config)


def write_tokenizer(folder: Path) -> None:
    """One word, one token; every id that the random model samples has a word."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL.values(), *(f"w{i}" for i in range(4, WORDS))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="")
    tokenizer.save(str(folder / "tokenizer.json"))
    template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template, **SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_adapter(folder: Path, config: LlamaConfig) -> None:
    heads = config.num_attention_heads * config.head_dim
    pairs = config.num_key_value_heads * config.head_dim
    shapes = {
        "q_proj": (heads, config.hidden_size),
        "k_proj": (pairs, config.hidden_size),
        "v_proj": (pairs, config.hidden_size),
        "o_proj": (config.hidden_size, heads),
    }
    weights = {}
    for layer in range(config.num_hidden_layers):
        for name, (rows, columns) in shapes.items():
            module = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            weights[f"{module}.lora_A.weight"] = torch.randn(ADAPTER_RANK, columns).half() / 10
            weights[f"{module}.lora_B.weight"] = torch.randn(rows, ADAPTER_RANK).half() / 10
    folder.mkdir(exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": ADAPTER_RANK, "lora_alpha": 16}
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"target_modules": list(shapes)}))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
