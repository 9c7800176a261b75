"""A web server in place of MLflow that gives everyone the same answer."""

import contextlib
import http.server
import threading


class AnsweringServer(http.server.ThreadingHTTPServer):
    """Answers every request with `answer`, a status and a text, and keeps in `asked` what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Request)
        self.answer, self.asked = (200, "{}"), []

    @property
    def address(self):
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Request(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(self.path)
        status, text = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_CONNECT = do_GET

    def log_message(self, *_):
        """Nothing."""


@contextlib.contextmanager
def answering():
    """A server that runs."""
    with AnsweringServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()
