"""Decompression in a second thread, a few chunks ahead of the files being written.

Both sides spend their time outside the interpreter's lock, in the decompressor and in the kernel.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_CHUNKS = 8


def read_ahead(chunks: Iterator[bytes]) -> Generator[bytes]:
    """The same chunks, made in a thread that has ended when this iterator is closed.

    What ``chunks`` raises is raised here.  Closing waits for one step of ``chunks``, so that must
    not wait for anything itself: this is for regular files, not for pipes.
    """
    from queue import Empty, Queue
    from threading import Thread

    queue: Queue[bytes | BaseException | None] = Queue(_CHUNKS)
    closed = False

    def produce() -> None:
        try:
            for chunk in chunks:
                queue.put(chunk)
                if closed:
                    return
            queue.put(None)
        except BaseException as error:  # raised again by the reader
            queue.put(error)

    thread = Thread(target=produce, name="kokon-unpack", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        closed = True
        try:
            while True:  # room for the one chunk that may be waiting
                queue.get_nowait()
        except Empty:
            thread.join()
