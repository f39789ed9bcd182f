"""Fine-tuning: data, LoRA, Q-LoRA and full training, one loop, merging."""
