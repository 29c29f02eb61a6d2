"""Failures, from their real cause to the exit status. test_readme.py has more of them."""

import gc
import json
import signal
import sys
import threading
from pathlib import Path

import helpers as h
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

EMPTY = "ToolError: The document is empty: there is nothing to summarize"


def test_a_key_that_the_provider_refuses(clone: Path, httpserver: HTTPServer, run_here):
    words = f"Refused.{' Because.' * 100}\nYour key: {h.KEY[:8]}*****{h.KEY[-4:]}."
    h.respond(httpserver, Response(json.dumps({"error": {"message": words}}), 401))
    run = run_here(**h.with_key(httpserver))
    h.check_failure(run, clone, ".+: the client's model call failed .AuthenticationError.")
    assert run.stdout.splitlines() == [h.STEPS[0], h.STEPS[2], *h.REQUEST]
    asks, words, server, _ = run.stderr.splitlines()[2:]
    assert asks == h.STEPS[1]
    assert words.startswith("The model call failed: litellm.AuthenticationError: ")
    assert words.endswith("Because. Your key: sk-test-*****ghij.")
    assert "Error calling tool 'summarize_document'" in server


@pytest.mark.parametrize(
    ("content", "last_line"),
    [
        (None, r"FileNotFoundError: .*document\.txt'"),
        ("été".encode("latin-1"), "UnicodeDecodeError: 'utf-8' codec .*"),
        ("\ufeff".encode(), EMPTY),  # a byte order mark alone
    ],
)
def test_a_document_that_cannot_be_summarized(content, last_line, clone, tmp_path):
    if content is not None:
        (tmp_path / "document.txt").write_bytes(content)
    run = h.run([sys.executable, clone / "client.py", "document.txt"], tmp_path)
    h.check_failure(run, clone, last_line)
    assert run.stdout.splitlines() == h.STEPS[:1] * (last_line == EMPTY)
    assert last_line == EMPTY or run.stderr.count("\n") == 1


def test_the_command_line_explains_itself(run_here):
    run = run_here("--help")
    assert run.returncode == 0
    assert all(word in run.stdout for word in ("[file]", "server.py", "sample.txt", "UTF-8"))


def test_an_error_of_several_lines_ends_in_one(clone: Path, run_here):
    info = {"name": "Old", "version": "1"}
    result = {"protocolVersion": "one\n  two", "capabilities": {}, "serverInfo": info}
    answer = json.dumps({"jsonrpc": "2.0", "id": 0, "result": result})
    (clone / "server.py").write_text(f"input(); print({answer!r})", encoding="utf-8")
    h.check_failure(run_here(), clone, "RuntimeError: .+ version from the server: one two")


def test_a_mistake_in_the_code_keeps_its_traceback(clone: Path, run_here):
    h.edit(clone / "client.py", "print(result)\n", "print(resutl)\n")
    with pytest.raises(NameError, match="resutl") as error:
        run_here()
    assert error.traceback[-1].path == clone / "client.py"
    assert str(error.traceback[-1].statement).strip() == "print(resutl)"


def test_a_server_that_dies_during_the_call(clone: Path, httpserver, run_here, caplog):
    """The model's answer then has nowhere to go. Nothing is told after the last line."""
    asked = threading.Event()

    def kill(request: Request) -> Response:
        asked.set()
        h.servers(clone)[0].kill()
        h.check_no_server(clone)
        return h.completion("Too late.")

    h.edit(clone / "client.py", "TIMEOUT = 300 ", "TIMEOUT = 4 ")
    h.respond(httpserver, kill)
    run = run_here(**h.with_key(httpserver))
    assert asked.is_set()
    h.check_failure(run, clone, r"McpError: (Connection closed|Timed out .+ Waited 4\.0 seconds\.)")
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_while_the_model_is_called_leaves_no_server(clone, httpserver, run_here, hanging):
    def press_ctrl_c() -> None:
        assert hanging.wait(60)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=press_ctrl_c).start()
    run = run_here(**h.with_key(httpserver))
    h.check_failure(run, clone, ".+", status=130)
    assert hanging.is_set()
