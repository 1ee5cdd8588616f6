"""What is made ahead is the same as what is made in place, whatever goes wrong on either side."""

import threading
from collections.abc import Iterator

import pytest

from compiler.ahead import ahead

MANY = 5000  # several batches


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "ahead"]


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 256, 257, MANY])
def test_all_things_come_in_order(count: int) -> None:
    assert list(ahead(iter(range(count)))) == list(range(count))
    assert threads() == []


def test_a_few_need_no_thread() -> None:
    made_by = []

    def make() -> Iterator[int]:
        for number in range(100):
            made_by.append(threading.current_thread())
            yield number

    assert sum(1 for _ in ahead(make())) == 100
    assert set(made_by) == {threading.current_thread()}


@pytest.mark.parametrize("at", [0, 100, 128, 1000])
def test_a_fault_in_making_comes_out_where_it_is_used(at: int) -> None:
    def make() -> Iterator[int]:
        yield from range(at)
        raise OSError("disk")

    used: list[int] = []
    with pytest.raises(OSError, match="disk"):
        used.extend(each for each in ahead(make()) if used.append(each))  # type: ignore[func-returns-value]
    assert used == list(range(len(used)))
    assert len(used) <= at
    assert threads() == []


@pytest.mark.parametrize("used", [1, 200, 1000])
def test_who_stops_in_the_middle_leaves_no_thread(used: int) -> None:
    made = []

    def make() -> Iterator[int]:
        for number in range(1_000_000):
            made.append(number)
            yield number

    things = ahead(make())
    for _ in range(used):
        next(things)
    things.close()
    assert threads() == []
    assert len(made) < used + 1000


def test_no_more_is_made_ahead_than_a_few_batches() -> None:
    made = []

    def make() -> Iterator[int]:
        for number in range(MANY):
            made.append(number)
            yield number

    for used, _ in enumerate(ahead(make())):
        assert len(made) - used < 1000
