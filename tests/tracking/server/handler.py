"""The server itself: real HTTP on 127.0.0.1, a thread for each connection."""

import gzip
import json
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from tracking.server import streams
from tracking.server.faults import Call, Fault, Lag, meeting
from tracking.server.graphql import error, execute, operation_name
from tracking.server.state import ServedArtifact, ServedRun, ServedView, State


class Server:
    """A W&B server for the length of a `with` block.

    `runs`, `artifacts` and `views` are what it holds; `calls` what it was asked, `bodies` with which bytes (unpacked),
    `unknown` what it had no answer to. With `refuse_key` it answers 401 to everything.
    """

    def __init__(self, entity: str = "tester") -> None:
        self.state = State(entity)
        self.calls: list[Call] = []
        self.bodies: list[bytes] = []
        self.unknown: list[str] = []
        self.refuse_key = False
        self._faults: list[Fault] = []
        self._port = 0
        self._listener: _Listener | None = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address for WANDB_BASE_URL."""
        return self.state.url

    @property
    def runs(self) -> dict[tuple[str, str, str], ServedRun]:
        """The runs by entity, project and id."""
        return self.state.runs

    @property
    def artifacts(self) -> list[ServedArtifact]:
        """The artifacts in the order in which they were begun, unfinished and deleted ones included."""
        return self.state.artifacts

    @property
    def views(self) -> dict[str, ServedView]:
        """The saved views by id."""
        return self.state.views

    def operations(self) -> list[str]:
        """Return the names of the GraphQL operations in the order in which they came."""
        return [call.operation for call in list(self.calls) if call.operation]

    def fail(self, where: str | Callable[[Call], bool], status: int, times: int | None = None) -> None:
        """Answer some calls with a status: all, or the next `times`; with status 200, a GraphQL error.

        `where` is a method (PUT), a GraphQL operation (CommitArtifact), a part of the path (file_stream, graphql,
        upload) or a test of the call. The client tries again for minutes after 500 or 429; a 400, 403 or 404 it takes
        as final.
        """
        self._faults.append(Fault(meeting(where), status, times))

    def lag(self, rows: int, seconds: float) -> None:
        """Show those who read histories back no more than so many rows of each, for a while from their first look on.

        The count of rows is late too; the rest of a run, and what a client that goes on with it is told, is not.
        """
        self.state.lag = Lag(rows, seconds)

    def heal(self) -> None:
        """Take back all faults."""
        self._faults.clear()
        self.state.lag = None

    def start(self) -> None:
        """Listen; after `stop` on the same port, with everything that it held."""
        self._listener = _Listener(self, self._port)
        self._port = self._listener.server_port
        self.state.url = f"http://127.0.0.1:{self._port}"
        threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Die as a killed server does: connections break, new ones are refused; what it holds is kept."""
        if self._listener is not None:
            self._listener.kill()
            self._listener = None

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return status and body for a request; called by the connections' threads."""
        request = json.loads(body) if path == "/graphql" else None
        call = Call(method, path, operation_name(request) if request else None)
        with self.state.lock:
            self.calls.append(call)
            self.bodies.append(body)
            if self.refuse_key:
                return 401, error("user is not logged in")
            for fault in self._faults:
                if fault.strikes(call):
                    return fault.status, error(f"ordered fault {fault.status}")
        if request:
            status, answer, unknown = execute(self.state, request)
            if unknown:
                self.unknown.append(unknown)
            return status, answer
        return self._transfer(method, path, body)

    def _transfer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        stream = streams.FILE_STREAM.fullmatch(path)
        if method == "POST" and stream:
            entity, project, run = (unquote(part) for part in stream.groups())
            return streams.file_stream(self.state, entity, project, run, json.loads(body))
        if method == "PUT" and path.startswith("/upload/") and streams.put(self.state, path, body):
            return 200, b""
        if method in ("GET", "HEAD") and path.startswith("/download/"):
            found = streams.get(self.state, path)
            return (404, {"error": "no such file"}) if found is None else (200, found)
        self.unknown.append(f"{method} {path}")
        return 404, {"error": "not found"}


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Connection)

    def kill(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it was closed meanwhile
                continue

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # the client or `kill` hung up
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait 40 ms for one another
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        status, answer = self.server.server.answer(self.command, urlsplit(self.path).path, body)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header(
            "content-type", "application/octet-stream" if isinstance(answer, bytes) else "application/json"
        )
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_HEAD = do_PATCH = do_DELETE = do_POST  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean; `Server.calls` has what came."""
