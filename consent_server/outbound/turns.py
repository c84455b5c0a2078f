"""Turns of others while a server's answer is read.

Under gevent, to read what has arrived already switches to nobody. A server that sends its answer in tiny pieces would hold up
every other request of the worker, for as long as the call may take.
"""

import time
from typing import Final

#: Pieces that are read between two turns.
_PIECES: Final = 16


def take_turns(number: int) -> None:
    """Let others run, after some of the pieces that are counted by `number`."""
    if number % _PIECES == 0:
        time.sleep(0)
