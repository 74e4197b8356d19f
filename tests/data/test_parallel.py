"""Work in several processes: in order, never far ahead, and at an end when one of them is killed."""

import os

import pytest

from data import DataError
from data.parallel import AHEAD, ordered_map


def test_no_more_is_read_than_is_soon_taken_and_an_error_is_raised_here():
    read = []
    items = (read.append(number) or number for number in [*range(1, 100), 0])
    found = ordered_map((100).__floordiv__, items, workers=2, chunk=1)
    for number in range(1, 100):
        assert next(found) == 100 // number
        assert len(read) < number + AHEAD * 2
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_a_worker_that_is_killed_ends_the_work():
    with pytest.raises(DataError, match="a worker was killed, maybe for want of memory: use fewer --workers"):
        list(ordered_map(os._exit, [9] * 100, workers=2, chunk=1))
