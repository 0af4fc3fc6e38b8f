"""Threads in turn: fair between clients, whatever is cancelled."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.api import clients
from app.api.turns import Turns
from app.connection import client_name


async def as_client(name: str, work: Callable[[], Awaitable[None]]) -> None:
    clients.identify(name)
    await work()


def finish_in_order(*names: str, total: int, each: int) -> list[str]:
    """Return the order in which requests of these clients, begun in this order, have a turn."""
    order: list[str] = []

    async def run() -> None:
        turns = Turns(total, each=each)

        async def work() -> None:
            async with turns:
                order.append(clients.current())
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(as_client(name, work))

    asyncio.run(run())
    return order


def test_clients_take_turns() -> None:
    assert finish_in_order(*"aaaab", "c", total=1, each=1) == ["a", "b", "c", "a", "a", "a"] or (
        finish_in_order(*"aaaab", "c", total=1, each=1) == ["a", "a", "b", "c", "a", "a"]
    )


def test_one_client_does_not_take_everything() -> None:
    assert finish_in_order(*"aaab", total=3, each=2) == ["a", "a", "b", "a"]


def test_service_itself_may_take_everything() -> None:
    assert finish_in_order("", "", "", "a", total=3, each=1) == ["", "", "", "a"]


def test_cancelled_request_gives_its_place_back() -> None:
    async def run() -> None:
        turns = Turns(1, each=1)
        done: list[str] = []

        async def hold(name: str, release: asyncio.Event) -> None:
            clients.identify(name)
            async with turns:
                done.append(name)
                await release.wait()

        release = asyncio.Event()
        first, second, third = (
            asyncio.create_task(hold(name, release)) for name in ("a", "b", "c")
        )
        await asyncio.sleep(0.01)
        second.cancel()
        first.cancel()
        await asyncio.sleep(0.01)
        assert done == ["a", "c"]
        release.set()
        await asyncio.wait([first, second, third])
        async with asyncio.timeout(1), turns:
            pass

    asyncio.run(run())


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        (None, "local"),
    ],
)
def test_client_is_an_address_or_a_network(host: str | None, name: str) -> None:
    assert client_name(host) == name
