"""Fine-tuning on conversations: LoRA, Q-LoRA or in full, and adapters merged into their models."""
