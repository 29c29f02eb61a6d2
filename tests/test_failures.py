"""Every failure by its real cause: an error all the way up, told in one line, nothing left."""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import (
    CHAT,
    KEY,
    answer,
    calls,
    check_no_server,
    completion,
    edit,
    finish,
    run_client,
    servers,
    start_client,
    wait_until,
    with_key,
)
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

FAILED = "Error: Sampling failed: the client's model call failed"
NO_TEXT = "Error: Sampling failed: the client's model returned no text"
NO_SERVER = "Error: server.py did not start, or gave no answer: "


def provider_error(status: int) -> Response:
    """An error as a provider words it, with the whole key in it, which OpenAI would mask."""
    words = f"Incorrect API key provided: {KEY}. Organization: org-acme."
    return Response(f'{{"error": {{"message": "{words}"}}}}', status, mimetype="application/json")


def page(status: int) -> Response:
    return Response("<html>\n<body>\n" + "Sorry!\n" * 1000 + "</body>", status)


def drop(request: Request) -> Response:
    request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return Response()


def trickle(request: Request) -> Response:
    """An answer that never ends and never pauses for long."""

    def spaces():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            yield b" "
            time.sleep(0.05)

    return Response(spaces(), mimetype="application/json")


MODEL_FAILURES = {
    # case: (response, calls, last line, words on the client's stderr)
    "401": (provider_error(401), 1, f"{FAILED} (AuthenticationError): check OPENAI_API_KEY", "***"),
    "404": (provider_error(404), 1, f"{FAILED} (NotFoundError)", "***"),
    "429": (provider_error(429), 3, f"{FAILED} (RateLimitError)", "***"),
    "500": (provider_error(500), 3, f"{FAILED} (InternalServerError)", "***"),
    "dropped": (drop, 3, f"{FAILED} (InternalServerError)", "Connection error"),
    "a page": (page(200), 1, f"{FAILED} (InternalServerError)", "Empty or invalid response"),
    "a page of a gateway": (page(502), 3, f"{FAILED} (BadGatewayError)", "<html> <body> Sorry!"),
    "null content": (completion(None), 1, NO_TEXT, ""),
    "empty content": (completion(""), 1, NO_TEXT, ""),
    "blank content": (completion(" \n"), 1, NO_TEXT, ""),
    "no choices": ({**completion(""), "choices": []}, 1, NO_TEXT, ""),
    "a content filter": (completion(None, "content_filter"), 1, NO_TEXT, ""),
}


def respond(httpserver: HTTPServer, response) -> None:
    expectation = httpserver.expect_request(CHAT, method="POST")
    if isinstance(response, dict):
        expectation.respond_with_json(response)
    elif isinstance(response, Response):
        expectation.respond_with_response(response)
    else:
        expectation.respond_with_handler(response)


@pytest.mark.parametrize("case", MODEL_FAILURES)
def test_a_failure_of_the_model(case: str, project: Path, httpserver: HTTPServer, run_here):
    response, times, last_line, words = MODEL_FAILURES[case]
    respond(httpserver, response)
    run = run_here(**with_key(httpserver))
    run.check_failure()
    assert run.error == last_line
    assert words in run.stderr
    assert len(run.stderr) < 1500
    assert calls(httpserver) == times
    check_no_server(project)


def test_a_failure_of_the_model_in_a_process_of_its_own(project: Path, httpserver: HTTPServer):
    respond(httpserver, provider_error(401))
    run = run_client(project, **with_key(httpserver))
    run.check_failure()
    assert run.error == f"{FAILED} (AuthenticationError): check OPENAI_API_KEY"
    assert run.stdout == "Model: gpt-4o\nTemperature: 0.7\nMax tokens: 300\n"
    start, rest, words, server, last = run.stderr.splitlines()
    assert "Starting MCP server" in start
    assert "Assistant" in rest
    assert words.startswith("The model call failed: litellm.AuthenticationError")
    assert "Incorrect API key provided: ***. Organization: org-acme." in words
    assert "Error calling tool 'summarize_document'" in server
    assert last == run.error
    check_no_server(project)


def test_an_address_that_nobody_listens_at(project: Path, run_here):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = run_here(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1")
    run.check_failure()
    assert run.error == f"{FAILED} (InternalServerError)"
    check_no_server(project)


@pytest.mark.parametrize("response", [trickle, provider_error(429)], ids=["trickle", "retries"])
def test_a_model_that_takes_too_long_is_given_up(response, project, httpserver, run_here):
    """The time counts for all of it: what trickles in, and every retry."""
    limit = 2 if response is trickle else 0.2
    edit(project / "client.py", "MODEL_TIMEOUT = 120  #", f"MODEL_TIMEOUT = {limit}  #")
    respond(httpserver, response)
    started = time.monotonic()
    run = run_here(**with_key(httpserver))
    assert time.monotonic() - started < 30  # what trickles would take 60
    run.check_failure()
    assert run.error == f"{FAILED} (TimeoutError)"
    assert f"The model call failed: no answer within {limit} seconds\n" in run.stderr
    assert calls(httpserver) <= 1
    check_no_server(project)


@pytest.mark.parametrize("case", ["429", "500", "dropped"])
def test_passing_trouble_is_survived(case: str, project: Path, httpserver: HTTPServer, run_here):
    trouble = MODEL_FAILURES[case][0]

    def recover(request: Request) -> Response:
        if calls(httpserver) == 0:
            return trouble if isinstance(trouble, Response) else trouble(request)
        return answer("In the end, fine.")

    respond(httpserver, recover)
    run = run_here(**with_key(httpserver))
    assert run.status == 0
    assert "\nSummary:\nIn the end, fine.\n" in run.stdout
    assert calls(httpserver) == 2
    check_no_server(project)


IMAGE_REQUEST = """
    from mcp.types import ImageContent, SamplingMessage, TextContent

    words = TextContent(type="text", text="What is this?")
    image = ImageContent(type="image", data="AAAA", mimeType="image/png")
    document_text = SamplingMessage(role="user", content=[words, image])
    try:
"""


def test_a_request_with_an_image_beside_text(project: Path, httpserver: HTTPServer):
    edit(project / "server.py", "    try:\n", IMAGE_REQUEST)
    edit(
        project / "server.py",
        'f"Summarize the following document:\\n\\n{document_text}"',
        "[document_text]",
    )
    run = run_client(project, **with_key(httpserver))
    run.check_failure()
    assert run.error == "Error: Sampling failed: this client samples from text only, not from image"
    assert run.stdout == ""
    assert calls(httpserver) == 0
    check_no_server(project)


def unreadable(path: Path) -> None:
    path.write_text("secret", encoding="utf-8")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")


INPUTS = {
    "missing": (lambda path: None, "cannot read {} as UTF-8 text: "),
    "a folder": (Path.mkdir, "cannot read {} as UTF-8 text: "),
    "unreadable": (unreadable, "cannot read {} as UTF-8 text: "),
    "latin-1": (lambda path: path.write_bytes("été".encode("latin-1")), "cannot read {} as UTF-8"),
    "empty": (Path.touch, "{} is empty"),
    "white space": (lambda path: path.write_bytes(b" \n\t\n"), "{} is empty"),
}


@pytest.mark.parametrize("case", INPUTS)
def test_a_document_that_cannot_be_summarized(case: str, project, tmp_path, httpserver, run_here):
    make, words = INPUTS[case]
    make(tmp_path / "document.txt")
    run = run_here(str(tmp_path / "document.txt"), **with_key(httpserver))
    run.check_failure()
    assert run.error.startswith("Error: " + words.format(tmp_path / "document.txt"))
    assert run.stderr == run.error + "\n"  # not even the server's first line
    assert run.stdout == ""
    assert calls(httpserver) == 0


def test_a_missing_document_in_a_process_of_its_own(project: Path, tmp_path: Path):
    run = run_client(project, "no such file.txt", cwd=tmp_path)
    run.check_failure()
    assert run.stderr.startswith("Error: cannot read no such file.txt as UTF-8 text: ")
    assert run.stderr.count("\n") == 1
    assert run.stdout == ""


def test_two_documents(project: Path, run_here):
    run = run_here("one.txt", "two.txt")
    run.check_failure()
    assert run.stderr == "Error: usage: client.py [FILE]\n"


@pytest.mark.parametrize("source", ["def broken(:\n", ""], ids=["a syntax error", "empty"])
def test_a_server_that_cannot_start(source: str, project: Path, httpserver, run_here):
    (project / "server.py").write_text(source, encoding="utf-8")
    run = run_here(**with_key(httpserver))
    run.check_failure()
    assert run.error == f"{NO_SERVER}Connection closed"
    assert calls(httpserver) == 0
    check_no_server(project)


def test_a_server_that_breaks_the_protocol_in_a_process_of_its_own(project: Path):
    """The SDK logs this with a traceback, and with it pydantic's account of the line."""
    (project / "server.py").write_text("print('hello', flush=True)\n", encoding="utf-8")
    run = run_client(project)
    run.check_failure()
    assert run.stderr == f"{NO_SERVER}Connection closed\n"
    check_no_server(project)


def test_an_error_of_several_lines_ends_in_one(project: Path, run_here):
    edit(project / "server.py", "    try:\n", '    raise ToolError("one\\n  two")\n    try:\n')
    run = run_here()
    run.check_failure()
    assert run.error == "Error: one two"


SILENT = "import time\ntime.sleep(60)\n"


def test_a_server_that_never_answers_the_handshake(project: Path, run_here):
    edit(project / "client.py", "SERVER_TIMEOUT = 30  #", "SERVER_TIMEOUT = 0.5  #")
    (project / "server.py").write_text(SILENT, encoding="utf-8")
    run = run_here()
    run.check_failure()
    assert run.error == (
        f"{NO_SERVER}Client failed to connect: Failed to initialize server session"
    )
    check_no_server(project)


def test_a_server_that_never_answers_the_call(project: Path, httpserver, run_here):
    edit(project / "client.py", "MODEL_TIMEOUT = 120  #", "MODEL_TIMEOUT = 1  #")
    edit(project / "client.py", "SERVER_TIMEOUT = 30  #", "SERVER_TIMEOUT = 5  #")
    edit(project / "server.py", "    try:\n", "    import time; time.sleep(60)\n    try:\n")
    run = run_here(**with_key(httpserver))
    run.check_failure()
    assert run.error.startswith(f"{NO_SERVER}Timed out while waiting for response")
    assert calls(httpserver) == 0
    check_no_server(project)


def test_a_server_that_dies_during_the_call(project: Path, httpserver: HTTPServer):
    """Killed while the model is called; the model's answer then has nowhere to go."""

    def kill(request: Request) -> Response:
        (server,) = servers(project)
        server.kill()
        return answer("Too late.")

    respond(httpserver, kill)
    run = run_client(project, **with_key(httpserver))
    run.check_failure()
    assert run.error == f"{NO_SERVER}Connection closed"
    assert calls(httpserver) == 1
    check_no_server(project)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("sent", "status"), [("SIGINT", 130), ("SIGKILL", -9)])
def test_a_client_that_is_stopped_leaves_no_server(sent, status, project, httpserver):
    """While the model is called, which is when most people lose their patience."""
    called, stopped = threading.Event(), threading.Event()

    def wait(request: Request) -> Response:
        called.set()
        stopped.wait(60)
        return Response()

    respond(httpserver, wait)
    process = start_client(project, **with_key(httpserver))
    try:
        assert called.wait(60)
        assert len(servers(project)) == 1
        process.send_signal(getattr(signal, sent))
        run = finish(process)
    finally:
        stopped.set()
    run.check_failure(status)
    check_no_server(project)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_before_the_server_has_answered(project: Path):
    (project / "server.py").write_text(SILENT, encoding="utf-8")
    process = start_client(project)
    wait_until(lambda: bool(servers(project)), seconds=60)
    process.send_signal(signal.SIGINT)
    finish(process).check_failure(130)
    check_no_server(project)
