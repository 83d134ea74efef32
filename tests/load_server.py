"""A load run of `captioner.serve`, on the loopback:

    python tests/load_server.py --model saved_models/captioner --photos DIR [--seconds 60]

Clients in one process of their own ask one photo at a time, each as soon as its last is answered.
Then the server is told to end while they go on, and must answer what was sent before. Before and
after, the bare SavedModel is called in batches in a process alone, with the same photos, so that
the ratio of the two is of one machine at one time. Where other programs keep the processors busy,
the processor time that an image takes says more than the throughput.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
_START = 180.0  # seconds for a process to be ready
_ANSWER = 60.0  # seconds for an answer
_MARGIN = 0.25  # seconds before the signal in which a request may still be on its way


def load_run(
    model: Path, photos: Path, *, seconds: float, clients: int = 32, options=(), bare: float = 0.0
) -> dict:
    """Runs it all.

    Args:
        model: Path. An exported version.
        photos: Path. A folder of JPEG files.
        seconds: float. How long the server is asked before it is told to end.
        clients: int. How many ask at once.
        options: further words for `captioner.serve`.
        bare: float. Seconds of each of the two bare runs; 0 leaves them out.

    Returns:
        The figures that `show` prints.
    """
    found = {"clients": clients, "seconds": seconds}
    rates = [_bare_rate(model, photos, clients, bare)] if bare else []
    found |= _serve(model, photos, seconds, clients, options)
    if bare:
        rates.append(_bare_rate(model, photos, clients, bare))
        found["bare"] = [rate for rate, _ in rates]
        found["bare_work"] = float(np.mean([work for _, work in rates]))
        found["ratio"] = found["throughput"] / np.mean(found["bare"])
    return found


def _serve(model: Path, photos: Path, seconds: float, clients: int, options) -> dict:
    command = [sys.executable, "-m", "captioner.serve", "--model", str(model), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    asking = None
    try:
        watch = threading.Timer(_START, server.kill)
        watch.start()
        line = server.stdout.readline()
        watch.cancel()
        if "http://" not in line:
            raise RuntimeError(f"the server didn't start: {server.communicate()[1][-2000:]}")
        url = line.split()[-1]
        memory = [_resident(server.pid)]
        begun, work = time.monotonic(), _processor_seconds(server.pid)
        asking = subprocess.Popen(
            [sys.executable, __file__, "--ask", url, "--photos", str(photos),
             "--clients", str(clients), "--seconds", str(seconds + 2 * _ANSWER)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        while time.monotonic() - begun < seconds:
            time.sleep(min(1.0, seconds / 10))
            memory.append(_resident(server.pid))
        batches = _mean_batch(url)
        peak = _peak(server.pid)
        work = _processor_seconds(server.pid) - work
        ended = time.monotonic()
        server.send_signal(signal.SIGTERM)
        code = server.wait(2 * _ANSWER)
        took = time.monotonic() - ended
        requests = [tuple(one) for one in json.loads(asking.communicate(timeout=_ANSWER)[0])]
        trouble = server.stderr.read()
    finally:
        for process in (server, asking):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
    taken = [one for one in requests if one[0] < ended - _MARGIN]
    warm = begun + 0.1 * seconds  # until then clients and caches are still starting
    steady = [one for one in taken if one[2] == "200" and warm <= one[1] < ended]
    answered = [one for one in taken if one[2] == "200" and one[1] < ended]
    late = [one for one in requests if one[2] == "200" and one[1] >= ended]
    return {
        "requests": len(taken),
        "failures": sorted({one[2] for one in taken if one[2] != "200"}),
        "failed": sum(one[2] != "200" for one in taken),
        "answered_after_signal": len(late),
        "throughput": len(steady) / (ended - warm),
        "latency": [float(np.percentile([e - s for s, e, _ in steady], q)) for q in (50, 95, 99)],
        "work": work / max(1, len(answered)),
        "batch": batches,
        "memory": {
            "start": memory[0], "middle": memory[len(memory) // 2], "end": memory[-1], "peak": peak,
        },
        "exit": code,
        "exit_seconds": took,
        "stderr": trouble,
    }  # fmt: skip


def _resident(pid: int) -> float:
    """A process's resident memory in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _processor_seconds(pid: int) -> float:
    """What a process has used of all processors so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _mean_batch(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics", timeout=_ANSWER) as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines())
    name = "captioner_batch_images"
    return float(lines[f"{name}_sum"]) / float(lines[f"{name}_count"])


def _bare_rate(model: Path, photos: Path, batch: int, seconds: float) -> tuple[float, float]:
    """Images a second of the SavedModel alone, and processor seconds an image."""
    done = subprocess.run(
        [sys.executable, __file__, "--bare", str(model), "--photos", str(photos),
         "--clients", str(batch), "--seconds", str(seconds)],
        capture_output=True, text=True, timeout=_START + 3 * seconds,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the bare model failed: {done.stderr[-2000:]}")
    rate, work = done.stdout.split()[-2:]
    return float(rate), float(work)


def bare(model: Path, contents: list[bytes], batch: int, seconds: float) -> tuple[float, float]:
    """Calls `serving_default` in batches; images a second, and processor seconds an image."""
    import tensorflow as tf

    call = tf.saved_model.load(str(model)).signatures["serving_default"]
    count, at = 0, 0
    # One call to warm up, as the server has it too.
    call(image_bytes=tf.constant(contents[:batch]))
    begun, work = time.monotonic(), time.process_time()
    while time.monotonic() - begun < seconds:
        chosen = [contents[(at + i) % len(contents)] for i in range(batch)]
        at += batch
        call(image_bytes=tf.constant(chosen))["caption"].numpy()
        count += batch
    return count / (time.monotonic() - begun), (time.process_time() - work) / count


async def ask(url: str, contents: list[bytes], clients: int, seconds: float) -> list[tuple]:
    """What happened to each request: (sent, answered, status or kind of failure), in seconds of
    the machine's monotonic clock. Ends when the server takes no more, or after `seconds`."""
    host, port = url.removeprefix("http://").split(":")
    until = time.monotonic() + seconds
    records: list[tuple] = []

    async def client(number: int) -> None:
        reader = writer = None
        at = number
        while time.monotonic() < until:
            at += clients
            photo = contents[at % len(contents)]
            sent = time.monotonic()
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection(host, int(port))
                head = (
                    f"POST /api/caption HTTP/1.1\r\nHost: {host}:{port}\r\n"
                    f"Content-Type: image/jpeg\r\nContent-Length: {len(photo)}\r\n\r\n"
                )
                writer.write(head.encode() + photo)
                async with asyncio.timeout(_ANSWER):
                    status, closes = await _answer(reader)
            except (OSError, EOFError, TimeoutError) as error:
                records.append((sent, time.monotonic(), type(error).__name__))
                if isinstance(error, ConnectionRefusedError):
                    return
                status, closes = "", True
            else:
                records.append((sent, time.monotonic(), status))
            if closes and writer is not None:
                writer.close()
                writer = None

    await asyncio.gather(*(client(number) for number in range(clients)))
    return records


async def _answer(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """An answer's status, and whether the connection ends with it."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.split("content-length:")[1].split()[0])
    body = await reader.readexactly(length)
    status = head.split()[1]
    if status == "200" and not json.loads(body)["captions"][0]["text"]:
        status = "200 without a caption"
    return status, "connection: close" in head


def show(found: dict) -> None:
    """Prints the figures."""
    memory, latency = found["memory"], found["latency"]
    print(f"{found['clients']} clients for {found['seconds']:g} s")
    print(f"requests     {found['requests']:,}, {found['failed']} failed {found['failures'] or ''}")
    print(f"throughput   {found['throughput']:.1f} images/s, batches of {found['batch']:.1f}")
    percentiles = zip((50, 95, 99), latency, strict=True)
    print("latency      " + ", ".join(f"p{q} {1000 * one:.0f} ms" for q, one in percentiles))
    print("memory       " + ", ".join(f"{name} {one:.0f} MiB" for name, one in memory.items()))
    print(
        f"SIGTERM      {found['answered_after_signal']} requests were still answered, "
        f"exit {found['exit']} after {found['exit_seconds']:.1f} s"
    )
    if "ratio" in found:
        rates = ", ".join(f"{rate:.1f}" for rate in found["bare"])
        print(f"bare model   {rates} images/s in batches of {found['clients']} (before, after)")
        print(f"ratio        {found['ratio']:.3f}")
        work, bare_work = 1000 * found["work"], 1000 * found["bare_work"]
        print(f"processor    {work:.1f} ms an image, the bare model {bare_work:.1f} ms")


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--model", type=Path)
    made.add_argument("--photos", type=Path, required=True)
    made.add_argument("--seconds", type=float, default=60.0)
    made.add_argument("--clients", type=int, default=32)
    made.add_argument("--options", nargs="*", default=[], help="for captioner.serve, without --")
    made.add_argument("--ask", help=argparse.SUPPRESS)  # what the other processes do
    made.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    given = made.parse_args()
    contents = [path.read_bytes() for path in sorted(given.photos.glob("*.jpg"))]
    if given.ask:
        print(json.dumps(asyncio.run(ask(given.ask, contents, given.clients, given.seconds))))
    elif given.bare:
        print(*bare(given.bare, contents, given.clients, given.seconds))
    else:
        sys.path.insert(0, str(ROOT))
        from captioner.loading import newest_version

        show(load_run(
            newest_version(given.model), given.photos, seconds=given.seconds,
            clients=given.clients, options=[f"--{word}" if i % 2 == 0 else word
            for i, word in enumerate(given.options)], bare=given.seconds / 3,
        ))  # fmt: skip


if __name__ == "__main__":
    main()
