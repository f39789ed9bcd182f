"""``qwenvl chat``: a conversation with pictures in the terminal."""
