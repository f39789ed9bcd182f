"""The image loader, watched."""

from collections.abc import Sequence

import PIL.Image

from qwenvl.api.media.loader import ImageLoader, Picture
from qwenvl.api.media.references import ImageReference
from qwenvl.api.telemetry.metrics import Metrics
from qwenvl.api.telemetry.record import NO_TRACE, current_record


class ObservedImages:
    """Loads images as its loader does, and notes how many there were and how long they took."""

    def __init__(self, loader: ImageLoader, metrics: Metrics) -> None:
        self._loader = loader
        self._metrics = metrics

    async def load(
        self, references: Sequence[ImageReference], image_size: int, *, keep_files: bool = False
    ) -> tuple[Picture, ...]:
        """As :meth:`ImageLoader.load`."""
        if not references:
            return ()
        record = current_record()
        trace = NO_TRACE if record is None else record.trace
        with trace.part("images"), self._metrics.loading_images(len(references)):
            images = await self._loader.load(references, image_size, keep_files=keep_files)
        if record is not None:
            record.images += len(images)
        return images

    async def large_picture(self, file: bytes, longest: int) -> PIL.Image.Image:
        """As :meth:`ImageLoader.large_picture`."""
        return await self._loader.large_picture(file, longest)
