"""Work for processes: they import next to nothing, as each process imports it anew."""

import os
from multiprocessing.connection import Connection


def dies_while_it_answers():
    """When the first part of a megabyte is in its pipe."""

    def half(pipe, data):
        os.write(pipe.fileno(), data[:1000])
        if len(data) > 1000:
            os._exit(9)

    Connection._send = half
    return bytes(2**20)


def cannot_be_sent():
    return lambda: None


def fails_with_what_cannot_be_sent():
    raise ValueError(lambda: None)


def fails_to_prepare():
    raise OSError(28, "No space left on device")
