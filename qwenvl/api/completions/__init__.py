"""Completions: prompts as they are, with no conversation around them."""
