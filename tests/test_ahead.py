"""What is done ahead is the same as what is done in place, whatever goes wrong on either side."""

import threading
from collections.abc import Iterator

import pytest

from compiler.ahead import ahead

MANY = 5000  # many batches


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "ahead"]


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 64, 65, MANY])
def test_all_things_come_in_order(count: int) -> None:
    assert list(ahead(str, range(count))) == [(number, str(number)) for number in range(count)]
    assert threads() == []


@pytest.mark.parametrize(("count", "here"), [(31, True), (MANY, False)])
def test_only_many_need_a_thread(count: int, here: bool) -> None:  # noqa: FBT001 - a case
    done_by = {thread for _, thread in ahead(lambda _: threading.current_thread(), range(count))}
    assert (done_by == {threading.current_thread()}) == here
    assert len(done_by) == 1


@pytest.mark.parametrize("at", [0, 10, 32, 100, 1000])
def test_a_fault_of_the_function_comes_out_where_it_is_used(at: int) -> None:
    def function(number: int) -> int:
        if number == at:
            raise OSError("disk")
        return number

    used: list[int] = []
    with pytest.raises(OSError, match="disk"):
        used.extend(each for each, _ in ahead(function, range(MANY)) if used.append(each))  # type: ignore[func-returns-value]
    assert used == list(range(len(used)))
    assert at - 32 <= len(used) <= at
    assert threads() == []


@pytest.mark.parametrize("at", [0, 10, 32, 100, 1000])
def test_a_fault_in_making_the_things_does_too(at: int) -> None:
    def things() -> Iterator[int]:
        yield from range(at)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(ahead(str, things()))
    assert threads() == []


@pytest.mark.parametrize("used", [1, 200, 1000])
def test_who_stops_in_the_middle_leaves_no_thread(used: int) -> None:
    made = iter(range(1_000_000))
    results = ahead(str, made)
    for _ in range(used):
        next(results)
    results.close()  # type: ignore[attr-defined]  # it is a generator
    assert threads() == []
    assert next(made) < used + 100


def test_no_more_than_two_batches_are_held() -> None:
    made = []

    def things() -> Iterator[int]:
        for number in range(MANY):
            made.append(number)
            yield number

    for used, _ in enumerate(ahead(str, things())):
        assert len(made) - used <= 64
