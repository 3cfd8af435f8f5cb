from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.store.nearby import UNKNOWN, Follower, processor

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads can't be placed here")


def _places() -> set[int]:
    return os.sched_getaffinity(threading.get_native_id())


def test_the_processor_is_one_that_the_thread_may_run_on() -> None:
    assert processor() in _places()


def test_a_thread_follows_and_the_one_that_is_followed_stays_free() -> None:
    free = _places()
    with ThreadPoolExecutor(1) as thread:
        follower = Follower()
        for place in (*free, *free):
            thread.submit(follower.follow, place).result()
            assert thread.submit(_places).result() == {place}
    assert _places() == free


@pytest.mark.parametrize("nowhere", [UNKNOWN, 100_000])
def test_a_thread_stays_where_it_may_run_when_there_is_nothing_to_follow(nowhere: int) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(Follower().follow, nowhere).result()
        assert thread.submit(_places).result() == _places()
