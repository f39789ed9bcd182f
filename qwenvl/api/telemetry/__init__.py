"""What operators see: metrics, logs, traces. Never keys, prompts or image bytes."""
