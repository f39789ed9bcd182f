"""The original tokenizer's attributes, which users' scripts read."""

from functools import cached_property
from itertools import islice

from qwenvl.chat import Vocabulary
from qwenvl.chat.vocabulary import IMAGE_END, IMAGE_PAD, IMAGE_START


class OriginalNames:
    """A vocabulary under the names that the original has for its parts."""

    vocabulary: Vocabulary

    image_start_tag = IMAGE_START
    image_end_tag = IMAGE_END
    image_pad_tag = IMAGE_PAD
    ref_start_tag = "<ref>"
    ref_end_tag = "</ref>"
    box_start_tag = "<box>"
    box_end_tag = "</box>"
    quad_start_tag = "<quad>"
    quad_end_tag = "</quad>"

    @property
    def eod_id(self) -> int:
        """Of ``<|endoftext|>``."""
        return self.vocabulary.end_of_text

    @property
    def im_start_id(self) -> int:
        """Of ``<|im_start|>``."""
        return self.vocabulary.im_start

    @property
    def im_end_id(self) -> int:
        """Of ``<|im_end|>``."""
        return self.vocabulary.im_end

    @property
    def img_start_id(self) -> int:
        """Of ``<img>``."""
        return self.vocabulary.image_start

    @property
    def img_end_id(self) -> int:
        """Of ``</img>``."""
        return self.vocabulary.image_end

    @property
    def img_pad_id(self) -> int:
        """Of ``<imgpad>``."""
        return self.vocabulary.image_pad

    @property
    def special_tokens(self) -> dict[str, int]:
        """Special token to id."""
        return dict(self.vocabulary.special_ids)

    @cached_property
    def mergeable_ranks(self) -> dict[bytes, int]:
        """Bytes of each other token to its id."""
        return dict(islice(self.vocabulary.tokens(), self.vocabulary.n_ranks))

    @cached_property
    def decoder(self) -> dict[int, bytes | str]:
        """Id to token: bytes, and text for special tokens."""
        special = {token_id: token for token, token_id in self.vocabulary.special_ids.items()}
        return {token_id: token for token, token_id in self.mergeable_ranks.items()} | special
