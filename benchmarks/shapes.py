"""Shapes of Llamas that benchmarks fill with random weights, as `transformers.LlamaConfig` takes them."""

from __future__ import annotations

from typing import Any

POET: dict[str, Any] = {
    "vocab_size": 6000,
    "hidden_size": 384,
    "intermediate_size": 1152,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
SMOL: dict[str, Any] = {  # of SmolLM2-135M
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
    "rope_theta": 100_000.0,
    "tie_word_embeddings": True,
}
