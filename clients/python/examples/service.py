"""An embedding service that keeps what matters in RAM: the worked example of docs/service-authors.md.

    python3 service.py --socket /run/embedder.sock [--mib 8] [--idle 60]

One request per line on the socket, one answer per line: ``embed TEXT``, ``clear``, ``status``, ``verify`` and
``quit``.
"""

from __future__ import annotations

import argparse
import array
import hashlib
import json
import logging
import os
import socket
import socketserver
import threading

import memmon

WIDTH = 384
"""Numbers in an embedding: 1.5 KiB."""


class Embedder:
    """The service proper. Only the lines with ``memmon`` would be missing without it."""

    def __init__(self, mib: int, idle: float) -> None:
        self.weights = bytearray(os.urandom(mib << 20))
        self.checksum = hashlib.sha256(self.weights).hexdigest()
        self.cache: dict[str, array.array[float]] = {}
        self.released = 0
        # Always needed: protected for as long as the service lives.
        self.index = array.array("f", bytes(4 * WIDTH * 1000))
        self.index_guard = memmon.protect(self.index, "index")
        # Needed while requests come in.
        self.model = memmon.ModelInUse(self.weights, "model", idle=idle)
        # The last hundred cycles.
        self.history = memmon.History(n=100, label="history", cold=True)
        # Not needed at all: gone when memory is short.
        memmon.on_release(self.release)

    def embed(self, text: str) -> array.array[float]:
        """One inference."""
        if text in self.cache:
            return self.cache[text]
        with self.model:
            seed = hashlib.sha256(text.encode() + self.weights[:4096]).digest()
            vector = array.array("f", (seed[i % len(seed)] / 255 for i in range(WIDTH)))
        self.cache[text] = vector
        self.history.push(vector)
        return vector

    def release(self, wanted: int | None) -> None:
        """Called by memmon on a thread of its own."""
        logging.info("asked to release %s", "memory" if wanted is None else f"{wanted} bytes")
        self.cache.clear()
        self.released += 1

    def clear(self) -> None:
        """Lets go of all that is not always needed."""
        self.cache.clear()
        self.history.clear()
        self.model.release()

    def status(self) -> dict[str, object]:
        """What a monitoring page of the service would show."""
        guards = [self.index_guard, *self.history.guards()]
        if self.model.guard is not None:
            guards.append(self.model.guard)
        return {
            "pid": os.getpid(),
            "cached": len(self.cache),
            "released": self.released,
            "guards": [
                {
                    "label": status.label,
                    "ranges": guard.ranges,
                    "locked": status.locked,
                    "tagged": status.tagged,
                    "refused": status.refused,
                }
                for guard in guards
                for status in [guard.status()]
            ],
        }

    def answer(self, request: str) -> str:
        """One line."""
        command, _, rest = request.partition(" ")
        if command == "embed":
            return f"{self.embed(rest)[0]:.6f}"
        if command == "clear":
            self.clear()
            return "cleared"
        if command == "status":
            return json.dumps(self.status())
        if command == "verify":
            same = hashlib.sha256(self.weights).hexdigest() == self.checksum
            return "intact" if same else "damaged"
        raise ValueError(f"{command!r}: give embed TEXT, clear, status, verify or quit")


class Server(socketserver.ThreadingUnixStreamServer):
    """A thread per connection."""

    daemon_threads = True
    embedder: Embedder


class Handler(socketserver.StreamRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        """Answers line by line."""
        for line in self.rfile:
            request = line.decode().strip()
            if request == "quit":
                self.wfile.write(b"ok\n")
                threading.Thread(target=self.server.shutdown).start()
                return
            try:
                answer = "ok " + self.server.embedder.answer(request)
            except ValueError as error:
                answer = f"error {error}"
            self.wfile.write(answer.encode() + b"\n")


def notify_ready() -> None:
    """Type=notify."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.connect("\0" + address[1:] if address.startswith("@") else address)
            notify.send(b"READY=1")


def main() -> None:
    """Serves until ``quit``."""
    parser = argparse.ArgumentParser(description="An embedding service that keeps what matters in RAM.")
    parser.add_argument("--socket", required=True)
    parser.add_argument("--mib", type=int, default=8)
    parser.add_argument("--idle", type=float, default=60)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    if os.path.exists(arguments.socket):
        os.unlink(arguments.socket)
    with Server(arguments.socket, Handler) as server:
        server.embedder = Embedder(arguments.mib, arguments.idle)
        notify_ready()
        server.serve_forever()
    os.unlink(arguments.socket)


if __name__ == "__main__":
    main()
