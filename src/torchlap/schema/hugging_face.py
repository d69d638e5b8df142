"""The models that `hf:NAME` knows: configuration classes of transformers, and their settings."""

from typing import Any

from msgspec import Struct


class Known(Struct, frozen=True):
    """A configuration class of transformers, the settings that make it this model, and its class by task."""

    configuration: str
    task: str
    settings: dict[str, Any] = {}


CAUSAL, CLASSIFIER, VISION = (
    "AutoModelForCausalLM",
    "AutoModelForSequenceClassification",
    "AutoModelForImageClassification",
)

SMALL_LLAMA = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "max_position_embeddings": 2048,
}
"""The width and depth of GPT-2 124M, with Llama's layers."""

KNOWN = {
    "gpt2": Known("GPT2Config", CAUSAL),
    "llama-small": Known("LlamaConfig", CAUSAL, SMALL_LLAMA),
    "bert-base": Known("BertConfig", CLASSIFIER),
    "distilbert": Known("DistilBertConfig", CLASSIFIER),
    "vit": Known("ViTConfig", VISION),
}
