"""One answer, shown while it comes."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from qwenvl.errors import ImageError
from qwenvl.grounding import Found, GroundingReader, Said
from qwenvl.terminal.backend import Chunk
from qwenvl.terminal.pictures import Picture
from qwenvl.terminal.screen import Screen


class Answer:
    """An answer that grows on the screen: words without tags, each box after its phrase.

    Args:
        screen: where it is shown.
        picture: what its boxes are about.

    Attributes:
        text: as the model wrote it.
        is_cut: it ends because it may not be longer.
    """

    def __init__(self, screen: Screen, picture: Picture | None) -> None:
        self.text = ""
        self.is_cut = False
        self._screen = screen
        self._picture = picture
        self._reader = GroundingReader()

    async def read(self, chunks: AsyncGenerator[Chunk]) -> None:
        """Show all of it. What there is is shown, and kept, however it ends.

        Raises:
            QwenVLError: as the backend's ``answer``.
        """
        waiting = self._screen.waiting()
        waiting.start()
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    waiting.stop()
                    self.text += chunk.text
                    self.is_cut |= chunk.is_cut
                    await self._show(self._reader.feed(chunk.text))
            await self._show(self._reader.finish())
        finally:
            waiting.stop()
            self._screen.end_answer()

    async def _show(self, events: Iterable[Said | Found]) -> None:
        for event in events:
            if isinstance(event, Said):
                self._screen.say(event.text)
            elif event.finding.boxes or event.finding.quads:
                self._screen.point(event.finding, await self._size())

    async def _size(self) -> tuple[int, int] | None:
        try:
            return await self._picture.size() if self._picture else None
        except ImageError:
            # A server may reach what this machine does not; it is not tried again for the next box.
            self._picture = None
            return None
