"""Turns at the FUSE descriptor: exclusive, fair, and never at the cost of other tasks."""

from __future__ import annotations

import os

import trio
import trio.testing

from recfs.fuse.turns import REQUESTS_IN_A_ROW, Lock, Turns


async def test_one_task_at_a_time_holds_the_lock_and_the_longest_waiter_is_next() -> None:
    lock = Lock()
    order: list[int] = []
    inside = 0

    async def worker(number: int) -> None:
        nonlocal inside
        async with lock:
            inside += 1
            assert inside == 1
            order.append(number)
            await trio.lowlevel.checkpoint()
            inside -= 1

    async with trio.open_nursery() as nursery, lock:
        for number in range(5):
            nursery.start_soon(worker, number)
            await trio.testing.wait_all_tasks_blocked()
        assert order == []
    assert order == [0, 1, 2, 3, 4]


async def test_a_waiter_that_is_cancelled_does_not_take_the_lock_with_it() -> None:
    lock = Lock()
    async with trio.open_nursery() as nursery, lock:
        nursery.start_soon(lock.__aenter__)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with trio.fail_after(5):
        async with lock:
            pass


async def test_what_is_there_already_is_taken_at_once_but_others_have_their_turn() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x")  # never read: always readable
    turns = Turns()
    passes = 0

    async def other() -> None:
        nonlocal passes
        while True:
            await trio.lowlevel.checkpoint()
            passes += 1

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(10 * REQUESTS_IN_A_ROW):
                await turns.wait_readable(reading)
            nursery.cancel_scope.cancel()
        assert 5 <= passes <= 30
    finally:
        os.close(reading)
        os.close(writing)


async def test_a_descriptor_with_nothing_to_read_is_waited_for() -> None:
    reading, writing = os.pipe()
    turns = Turns()
    try:
        with trio.move_on_after(0.05) as scope:
            await turns.wait_readable(reading)
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turns.wait_readable, reading)
            await trio.testing.wait_all_tasks_blocked()
            os.write(writing, b"x")
    finally:
        os.close(reading)
        os.close(writing)
