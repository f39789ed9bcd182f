"""Fine-tuning; so far, from conversations to token ids and labels."""
