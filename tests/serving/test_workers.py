from __future__ import annotations

import threading
import time

import pytest

from fusion.serving.workers import LateError, Worker, Workers


def test_a_result_and_an_error_come_back_from_the_thread() -> None:
    worker = Worker("m")
    assert worker.call(threading.get_ident, None) == threading.get_ident()
    assert worker.call(threading.get_ident, 5.0) != threading.get_ident()
    for timeout in (None, 5.0):
        with pytest.raises(ZeroDivisionError):
            worker.call(lambda: 1 // 0, timeout)
    assert worker.call(lambda: 7, 5.0) == 7


def test_a_late_call_is_given_up_and_its_result_dropped() -> None:
    worker, go = Worker("m"), threading.Event()
    with pytest.raises(LateError):
        worker.call(go.wait, 0.01)
    assert worker.busy
    go.set()
    assert worker.call(lambda: "next", 5.0) == "next"
    assert not worker.busy


def test_one_model_is_asked_by_one_thread_at_a_time() -> None:
    worker, inside, most = Worker("m"), [0], [0]

    def work() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.005)
        inside[0] -= 1

    threads = [
        threading.Thread(target=worker.call, args=(work, None if n % 2 else 5.0)) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_every_model_has_one_worker() -> None:
    workers = Workers()
    assert workers.of("a") is workers.of("a")
    assert workers.of("a") is not workers.of("b")
