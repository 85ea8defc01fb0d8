"""Open language models: any checkpoint of Hugging Face's transformers, or a GGUF file, loaded from a folder as it is."""
