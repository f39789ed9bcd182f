"""``/v1/chat/completions``: wire types, messages to prompts, engine steps to answers."""
