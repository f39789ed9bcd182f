"""The vocabulary as xgrammar takes it, which decides what tokens a structured answer may go on with."""

import xgrammar

from qwenvl.chat import Vocabulary


def tokenizer_info(vocabulary: Vocabulary, vocab_size: int) -> xgrammar.TokenizerInfo:
    """Every token's own bytes, by id.

    Control tokens have none: their text never shows in an answer, so no grammar may let them through, and stop tokens
    end an answer where the grammar does. Grounding tags show, and count as the text that they show. The ids that pad
    the model's embedding have no bytes either.

    Args:
        vocabulary: the checkpoint's.
        vocab_size: rows of the model's embedding.
    """
    token_bytes = [b""] * vocab_size
    for content, token_id in vocabulary.tokens():
        if token_id not in vocabulary.control_ids:
            token_bytes[token_id] = content
    return xgrammar.TokenizerInfo(
        token_bytes, xgrammar.VocabType.RAW, vocab_size=vocab_size, stop_token_ids=list(vocabulary.stop_ids)
    )
