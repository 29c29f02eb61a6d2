"""The scripts as a whole: real processes, started from another folder."""

import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT

import psutil
import pytest

import client


def run_client(project, *arguments):
    """Run client.py to its end. Returns its status, and what it printed to stdout and stderr."""
    command = [sys.executable, project / "client.py", *arguments]
    pipes = {"stdin": DEVNULL, "stdout": PIPE, "stderr": PIPE, "encoding": "utf-8"}
    run = subprocess.run(command, cwd=project.parent, timeout=60, **pipes)
    return run.returncode, run.stdout, run.stderr


def replace_server(project, body):
    """Put another server in place of the project's: its tool does what body says."""
    text = f"""
import asyncio, os
from fastmcp import FastMCP
from fastmcp.server.dependencies import get_context

mcp = FastMCP("Another server")

@mcp.tool
async def summarize_document(document_text: str) -> str:
    {body}

mcp.run(show_banner=False, log_level="ERROR")
"""
    (project / "server.py").write_text(text, encoding="utf-8")


def replace_in(script, old, new):
    """Change a script as a reader might."""
    text = script.read_text(encoding="utf-8")
    assert old in text
    script.write_text(text.replace(old, new), encoding="utf-8")


def test_with_a_key_the_model_writes_the_summary(project, provider):
    provider.answers("Stars are suns.")
    status, out, _err = run_client(project)
    (request,) = provider.requests  # and nothing went to another machine
    assert request.headers["Authorization"] == "Bearer sk-mine"
    assert status == 0
    assert "\nCalling gpt-4o with the key in OPENAI_API_KEY\n" in out
    assert "\ngpt-4o has answered (finish reason: stop)\n" in out
    assert out.endswith("\nSummary:\nStars are suns.\nConnected?: False\n")


def test_without_a_key_litellm_is_not_imported_and_nothing_sent(project, provider, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # Python lists what it imports, on stderr
    _status, out, err = run_client(project)
    assert "a stand-in answers in place of gpt-4o\n" in out
    assert "fastmcp.client" in err
    assert "litellm" not in err
    assert provider.requests == []


def test_a_variable_of_the_shell_wins_over_the_settings_file(project, provider, monkeypatch):
    settings = f"OPENAI_BASE_URL={provider.address}\nOPENAI_API_KEY=sk-of-the-file\n"
    (project / ".env").write_text(settings, encoding="utf-8")
    monkeypatch.delenv("PYTHON_DOTENV_DISABLED")
    monkeypatch.delenv("OPENAI_BASE_URL")
    provider.answers("Stars are suns.")
    run_client(project)
    (request,) = provider.requests
    assert request.headers["Authorization"] == "Bearer sk-mine"


def test_a_settings_file_above_the_project_is_not_read(project, provider, monkeypatch):
    """By itself, LiteLLM reads the first .env that it finds above its own folder."""
    above = project.parent
    (above / ".env").write_text(f"OPENAI_BASE_URL={provider.address}\n", encoding="utf-8")
    monkeypatch.delenv("PYTHON_DOTENV_DISABLED")
    monkeypatch.delenv("OPENAI_BASE_URL")
    # LiteLLM's folder now seems to stand beside that file.
    (above / "litellm").symlink_to(Path(find_spec("litellm").origin).parent)
    monkeypatch.setenv("PYTHONPATH", str(above))
    run_client(project)
    # The key goes to OpenAI (or would: the provider refuses), and not to the file's address.
    assert {request.host for request in provider.requests} == {"api.openai.com"}


def test_the_client_declares_that_it_can_sample_without_tools(project):
    declared = "get_context().session.client_params.capabilities.sampling.model_dump()"
    replace_server(project, f"return str({declared})")
    _status, out, _err = run_client(project)
    assert out.endswith("\n{'context': None, 'tools': None}\nConnected?: False\n")


def test_no_variable_of_the_server_holds_the_key(project, provider):
    replace_server(project, "return str(os.environ)")
    _status, out, _err = run_client(project)
    assert "'PATH': " in out
    assert "sk-mine" not in out


def test_text_is_utf_8_whatever_the_systems_encoding(project, monkeypatch):
    (project.parent / "Überblick.txt").write_text("Ein Satz — “東京” 🔭", encoding="utf-8")
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")  # for what is printed
    monkeypatch.setenv("LC_ALL", "C")  # and, with the next, ASCII for files
    monkeypatch.setenv("PYTHONUTF8", "0")
    replace_server(project, "return document_text")
    _status, out, _err = run_client(project, "Überblick.txt")
    assert out.endswith("\nEin Satz — “東京” 🔭\nConnected?: False\n")


async def test_connected_is_asked_when_the_server_has_ended(monkeypatch, capfd):
    """main runs in this process, so that the server is a child of this process."""

    def is_connected(_client):
        return f"no, and {len(psutil.Process().children())} servers are left"

    monkeypatch.setattr(client.Client, "is_connected", is_connected)
    monkeypatch.setattr(sys, "argv", ["client.py"])
    await client.main()
    assert capfd.readouterr().out.endswith("\nConnected?: no, and 0 servers are left\n")


def test_a_wrong_key_ends_the_run_in_one_line_and_is_not_printed(project, provider):
    provider.refuses(401, "Incorrect API key provided: sk-****ne")
    status, out, err = run_client(project)
    assert status == 1
    kind = "the client's model call failed (AuthenticationError)"
    assert out.endswith("\nCalling gpt-4o with the key in OPENAI_API_KEY\n")
    assert err.endswith(f"\nToolError: Sampling failed: {kind}\n")
    assert "Traceback" not in err
    assert "sk-mine" not in out + err


def test_a_server_that_dies_ends_the_run_in_one_line(project):
    replace_server(project, "os._exit(1)")
    status, _out, err = run_client(project)
    assert (status, err) == (1, "McpError: Connection closed\n")


def test_a_server_that_dies_while_the_model_is_called_ends_the_run_in_one_line(project, provider):
    provider.answers("Too late.")
    command = [sys.executable, project / "client.py"]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, encoding="utf-8") as run:
        for line in run.stdout:
            if line == "Calling gpt-4o with the key in OPENAI_API_KEY\n":
                break
        (server,) = psutil.Process(run.pid).children()
        server.kill()
        _out, err = run.communicate(timeout=60)
    assert run.returncode == 1
    assert err.endswith("\nMcpError: Connection closed\n")
    assert "Traceback" not in err


def test_a_server_that_takes_too_long_ends_the_run_in_one_line(project):
    replace_in(project / "client.py", "timeout=300", "timeout=4")
    replace_server(project, "await asyncio.sleep(60)")
    status, _out, err = run_client(project)
    words = "Timed out while waiting for response to ClientRequest. Waited 4.0 seconds."
    assert (status, err) == (1, f"McpError: {words}\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal to send")
def test_ctrl_c_ends_the_run_and_nothing_more_is_printed(project):
    replace_server(project, "await asyncio.sleep(60)")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    command = [sys.executable, project / "client.py"]
    with subprocess.Popen(command, stdout=PIPE, stderr=STDOUT, encoding="utf-8") as run:
        assert run.stdout.readline() == "[1] client: calls the server's tool summarize_document\n"
        run.send_signal(signal.SIGINT)
        assert run.stdout.read() == ""
    assert run.returncode == 130


def test_a_missing_file_ends_the_run_in_one_line(project):
    status, _out, err = run_client(project, "missing.txt")
    words = "[Errno 2] No such file or directory: 'missing.txt'"
    assert (status, err) == (1, f"FileNotFoundError: {words}\n")


def test_a_file_that_is_not_utf_8_ends_the_run_in_one_line(project):
    (project.parent / "latin-1.txt").write_bytes(b"\xe9t\xe9")
    status, _out, err = run_client(project, "latin-1.txt")
    words = "'utf-8' codec can't decode byte 0xe9 in position 0: invalid continuation byte"
    assert (status, err) == (1, f"UnicodeDecodeError: {words}\n")


def test_a_request_of_the_newer_revision_is_logged_and_does_no_harm(project):
    newer = '{"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {}}\n'
    command = [sys.executable, project / "server.py"]
    run = subprocess.run(command, input=newer, capture_output=True, encoding="utf-8", timeout=60)
    assert "Failed to validate request: 31 validation errors" in run.stderr
    assert '"error":{"code":-32602' in run.stdout
    assert run.returncode == 0


def test_a_mistake_in_the_servers_prompt_is_logged_with_its_place(project):
    replace_in(project / "server.py", "{document_text}", "{documnet_text}")
    status, _out, err = run_client(project)
    assert status == 1
    assert "NameError: name 'documnet_text' is not defined" in err
    assert "Traceback (most recent call last)" in err


@pytest.mark.parametrize("mistake", ["raise RuntimeError('Mine')", "raise ValueError('Mine')"])
def test_a_mistake_in_main_keeps_its_traceback(project, mistake):
    replace_in(project / "client.py", "print(result)", mistake)
    status, _out, err = run_client(project)
    assert status == 1
    assert "Traceback (most recent call last):\n" in err
    assert f"\n    {mistake}\n" in err
