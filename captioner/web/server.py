"""Runs the web page's server until it is told to stop."""

import asyncio
import contextlib
import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import uvicorn

from captioner.errors import CaptionerError
from captioner.web.guard import LOOPBACK, Guard
from captioner.web.service import Service, application

# Beyond so many open connections the rest get 503.
_CONNECTIONS = 1000
# Seconds for requests that are under way at the end, uploads included.
_GRACE = 60
_BACKLOG = 1024
_ADVICE = {
    errno.EADDRINUSE: "--port 0 takes a free port",
    errno.EACCES: "ports below 1024 need privileges, choose another --port",
}


def bind(host: str, port: int) -> socket.socket:
    """A socket on a host's address; port 0 takes a free one.

    Raises:
        CaptionerError: no such host, or the port is taken or not allowed.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise CaptionerError(f"--host {host}: no such host on this machine") from error
    bound = socket.socket(family, kind)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        advice = _ADVICE.get(error.errno, "--host takes an address of this machine")
        reason = (error.strerror or str(error)).lower()
        raise CaptionerError(f"can't serve on {host} port {port}: {reason}; {advice}") from error
    return bound


def run(
    service: Service,
    bound: socket.socket,
    load: Callable,
    announce: Callable[[str], None],
    *,
    host: str = "127.0.0.1",
    more_hosts: Sequence[str] = (),
    on_start: Callable[["Server"], None] = lambda server: None,
) -> bool:
    """Serves until SIGTERM or SIGINT, or `Server.stop`, then answers what was taken.

    While the model loads, /healthz is answered already; /readyz says when it can be asked.

    Args:
        service: what answers.
        bound: the socket, from `bind`.
        load: gives what the service starts with; called once, on a thread of its own.
        announce: called with the server's URL when it is ready.
        host: str. The name that it was bound under.
        more_hosts: further names that it answers to.
        on_start: called with the server before it runs.

    Returns:
        Whether it had become ready; if not, `load` may still be at work.

    Raises:
        CaptionerError: from `load`, or the model doesn't answer.
    """
    address, port = bound.getsockname()[:2]
    loopback = is_loopback(address)
    # Elsewhere nobody knows the names that it is reached by, unless they are given.
    hosts = (*LOOPBACK, address, host, *more_hosts) if loopback or more_hosts else None
    config = uvicorn.Config(
        Guard(application(service), hosts, lambda: server.should_exit),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        http="h11",
        loop="asyncio",
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE,
        backlog=_BACKLOG,
    )
    server = Server(config)
    on_start(server)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}"
    return asyncio.run(_run(server, service, bound, load, lambda: announce(url)))


async def _run(server, service, bound, load, announce) -> bool:
    async def prepare() -> None:
        try:
            await service.start(await _on_a_thread(load))
        except BaseException:
            server.stop()
            raise
        announce()

    preparing = asyncio.create_task(prepare())
    await server.serve(sockets=[bound])
    if not preparing.done():
        preparing.cancel()
        return False
    await preparing  # raises what went wrong
    await service.stop()
    return True


async def _on_a_thread(function: Callable):
    """What a function gives on a daemon thread, which doesn't keep the process from ending."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def settle(set_it, value) -> None:
        if not done.done():
            set_it(value)

    def work() -> None:
        try:
            made = settle, done.set_result, function()
        except BaseException as error:
            made = settle, done.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(*made)

    threading.Thread(target=work, name="load", daemon=True).start()
    return await done


class Server(uvicorn.Server):
    """uvicorn's server, but a signal that ends it is no failure of the process."""

    def stop(self) -> None:
        """Ends the server after what it has taken; from any thread."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles SIGTERM and SIGINT while serving, without raising them again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = (signal.SIGINT, signal.SIGTERM)
        before = {one: signal.signal(one, self.handle_exit) for one in wanted}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an IP address."""
    return address == "::1" or address.startswith("127.")
