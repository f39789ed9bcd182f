"""Dynamic-NTK buckets kept with a KV cache of transformers, whichever class it is."""

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class BucketLayer(DynamicLayer):
    """The bucket of each prompt (B,), as one more layer after those of the model.

    Keys that were computed under one bucket are wrong under another, so whatever reorders, repeats, selects or copies
    the cache's rows must do the same to their buckets; a cache does it to all of its layers.

    Args:
        buckets_B: of the cache's rows.
        first: the model's first layer in the cache.
    """

    is_compileable = True
    supports_early_init = False

    def __init__(self, buckets_B: Tensor, first: object) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.buckets_B = buckets_B
        self._first = first

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Rows of other beams."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Some rows."""
        self.buckets_B = self.buckets_B[indices.to(self.buckets_B.device)]

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row several times."""
        self.buckets_B = self.buckets_B.repeat_interleave(repeats)

    def crop(self, tokens_to_remove: int) -> None:
        """Nothing: the rows that are left were computed under their buckets, and go on so."""

    def reset(self) -> None:
        """Nothing: the next prefill writes another."""

    def offload(self) -> None:
        """Nothing: it is a few bytes."""

    def prefetch(self) -> None:
        """A cache that is offloaded fetches the layer after the one in use; after the last comes the first."""
        self._first.prefetch()  # type: ignore[attr-defined]

    def get_seq_length(self) -> int:
        """No positions."""
        return 0


def remember_buckets(cache: Cache, buckets_B: Tensor | None) -> None:
    """Keep the buckets of the prompts that a cache was just filled with; None where all are 0."""
    cache.layers = [layer for layer in cache.layers if not isinstance(layer, BucketLayer)]
    if buckets_B is not None:
        cache.layers.append(BucketLayer(buckets_B, cache.layers[0]))


def remembered_buckets(cache: Cache) -> Tensor | None:
    """The buckets of a cache's rows (B,), integers; None where all are 0."""
    last = cache.layers[-1] if cache.layers else None
    return last.buckets_B if isinstance(last, BucketLayer) else None
