"""Boxes as data: the ``grounding`` extension of answers, box parts of messages, and ``POST /v1/grounding``."""
