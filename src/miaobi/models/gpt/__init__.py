"""Decoder-only Transformer language models, from GPT-2 to Llama and Qwen."""
