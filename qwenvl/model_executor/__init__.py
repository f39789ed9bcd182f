"""The model: configuration, tokenizer, image processor, vision tower, and its vLLM plugin.

Nothing is imported here: the plugin's entry point runs in every vLLM process and must stay light.
"""
