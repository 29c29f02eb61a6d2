"""Every failure on its way from its real cause to the exit status of client.py."""

import signal
import sys
import threading
from pathlib import Path

import conftest as c
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request

TIMED_OUT = r"McpError: Timed out while waiting for response to ClientRequest. Waited {} seconds\."


def test_a_key_that_the_provider_refuses(clone: Path, httpserver: HTTPServer):
    c.respond(httpserver, c.provider_error(401))
    run = c.finish(c.start_client(clone, **c.with_key(httpserver)))
    run.check_failure(clone, rf"ToolError: Sampling failed: {c.FAILED} \(AuthenticationError\)")
    lines = [c.STEPS[0], c.STEPS[2], "Model: gpt-4o", "Temperature: 0.7", "Max tokens: 300"]
    assert run.stdout.splitlines() == lines
    asks, words, server, _ = run.stderr.splitlines()[2:]
    assert asks == c.STEPS[1]
    assert words.startswith("The model call failed: litellm.AuthenticationError: ")
    assert words.endswith("Refused. Your key: sk-test-*****ghij.")
    assert "Error calling tool 'summarize_document'" in server


def test_an_answer_without_text(clone: Path, httpserver: HTTPServer, run_here):
    c.respond(httpserver, c.completion(None, "length"))
    run = run_here(**c.with_key(httpserver))
    run.check_failure(clone, rf"ToolError: Sampling failed: {c.NO_TEXT} \(length\)")


DOCUMENTS = {
    "missing": (None, r"FileNotFoundError: .*document\.txt'", False),
    "not UTF-8": ("été".encode("latin-1"), "UnicodeDecodeError: 'utf-8' codec .*", False),
    "empty": (b"", "ToolError: The document is empty: there is nothing to summarize", True),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_a_document_that_cannot_be_summarized(case, clone, tmp_path, httpserver, run_here):
    content, last_line, asked = DOCUMENTS[case]
    if content is not None:
        (tmp_path / "document.txt").write_bytes(content)
    run = run_here(str(tmp_path / "document.txt"), **c.with_key(httpserver))
    run.check_failure(clone, last_line)
    assert run.stdout.splitlines() == c.STEPS[:1] * asked
    assert asked or run.stderr.count("\n") == 1
    assert httpserver.log == []


def test_the_command_line_explains_itself(clone: Path, run_here):
    run = run_here("--help")
    assert run.status == 0 and run.stderr == ""
    assert run.stdout.startswith("usage: client.py [-h] [file]\n")
    assert "server.py" in run.stdout and "UTF-8" in run.stdout and "sample.txt" in run.stdout
    run = run_here("one.txt", "two.txt")
    run.check_failure(clone, r"client\.py: error: unrecognized arguments: two\.txt", status=2)


@pytest.mark.parametrize("words", ["can't open file", "SyntaxError"])
def test_a_server_that_is_missing_or_cannot_start(words: str, clone: Path, run_here):
    if words == "SyntaxError":
        c.edit(clone / "server.py", "import sys\n", "import sys,\n")
    else:
        (clone / "server.py").unlink()
    run = run_here()
    run.check_failure(clone, "McpError: Connection closed")
    assert words in run.stderr and run.stdout == ""  # no [1]


def test_an_error_of_several_lines_ends_in_one(clone: Path, run_here):
    c.edit(clone / "server.py", "    try:\n", '    raise ToolError("one\\n  two")\n    try:\n')
    run_here().check_failure(clone, "ToolError: one two")


def test_a_server_that_never_answers_the_handshake(clone: Path, run_here):
    c.edit(clone / "client.py", "TIMEOUT = 150  #", "TIMEOUT = 0.5  #")
    (clone / "server.py").write_text("import time\ntime.sleep(60)\n", encoding="utf-8")
    run_here().check_failure(clone, "(McpError|RuntimeError): .+")


@pytest.mark.parametrize("killed", [False, True])
def test_a_model_that_hangs_ends_the_call(killed: bool, clone, httpserver, run_here):
    """One limit for the whole call, whether or not the server still lives."""
    stopped = threading.Event()

    def wait(request: Request) -> dict:
        if killed:
            c.servers(clone)[0].kill()
        stopped.wait(60)
        return c.completion("Too late.")

    c.edit(clone / "client.py", "TIMEOUT = 150  #", "TIMEOUT = 4  #")
    c.respond(httpserver, wait)
    try:
        run_here(**c.with_key(httpserver)).check_failure(clone, TIMED_OUT.format("4.0"))
    finally:
        stopped.set()


def test_a_server_that_dies_during_the_call(clone: Path, httpserver: HTTPServer):
    """The model's answer then has nowhere to go. Nothing is told after the last line."""

    def kill(request: Request) -> dict:
        c.servers(clone)[0].kill()
        c.check_no_server(clone)
        return c.completion("Too late.")

    c.edit(clone / "client.py", "TIMEOUT = 150  #", "TIMEOUT = 8  #")
    c.respond(httpserver, kill)
    run = c.finish(c.start_client(clone, **c.with_key(httpserver)))
    run.check_failure(clone, f"McpError: Connection closed|{TIMED_OUT.format('8.0')}")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("sent", "status"), [("SIGINT", 130), ("SIGKILL", -9)])
def test_a_client_that_is_stopped_leaves_no_server(sent, status, clone, httpserver):
    called, stopped = threading.Event(), threading.Event()

    def wait(request: Request) -> dict:
        called.set()
        stopped.wait(60)
        return c.completion("Too late.")

    c.respond(httpserver, wait)
    process = c.start_client(clone, **c.with_key(httpserver))
    try:
        assert called.wait(60)
        assert len(c.servers(clone)) == 1
        process.send_signal(getattr(signal, sent))
        c.finish(process).check_failure(clone, status=status)
    finally:
        stopped.set()
