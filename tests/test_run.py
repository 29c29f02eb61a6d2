"""client.py as a process of its own, over real HTTP to a stand-in for the OpenAI API."""

import sys
from pathlib import Path

import litellm
import pytest
from conftest import (
    KEY,
    NO_KEY,
    ROOT,
    SUMMARY,
    SharedRun,
    answer_and_watch,
    run_client,
    with_key,
    write_env,
)
from pytest_httpserver import HTTPServer


def expected_stdout(summary: str) -> list[str]:
    text = f"Summary:\n{summary}"
    return [
        "Model: gpt-4o",
        "Temperature: 0.7",
        "Max tokens: 300",
        f"CallToolResult(content=[TextContent(type='text', text={text!r}, annotations=None, "
        f"meta=None)], structured_content={{'result': {text!r}}}, "
        f"meta={{'fastmcp': {{'wrap_result': True}}}}, data={text!r}, is_error=False)",
        "Summary:",
        summary,
        "Connected?: False",
    ]


def test_with_a_key_stdout_is_exactly_this(keyed: SharedRun):
    assert keyed.stdout.splitlines() == expected_stdout(SUMMARY)
    assert keyed.status == 0


def test_without_a_key_the_round_trip_runs_and_says_so(keyless: SharedRun):
    assert keyless.stdout.splitlines() == expected_stdout(NO_KEY)
    assert keyless.status == 0
    assert f"{NO_KEY} Set it in .env, as .env.example shows.\n" in keyless.stderr
    assert keyless.requests == []  # although .env holds a key and the address of the stand-in


def test_the_provider_is_sent_this_to_the_letter(keyed: SharedRun):
    (request,) = keyed.requests
    assert request.headers["Authorization"] == f"Bearer {KEY}"  # from .env beside client.py
    assert request.json == {
        "model": "gpt-4o",
        "messages": [
            {
                "role": "system",
                "content": "You are an expert summarizer. "
                "Find the key ideas of a document and state them clearly and briefly.",
            },
            {
                "role": "user",
                "content": "Summarize the following document:\n\n"
                + (ROOT / "sample.txt").read_text(encoding="utf-8"),
            },
        ],
        "temperature": 0.7,
        "max_tokens": 300,
    }


def test_stderr_holds_no_warning_and_no_key(keyed: SharedRun, keyless: SharedRun):
    start = "Starting MCP server 'Document"  # FastMCP wraps the line where stderr is no terminal
    for run, told in ((keyed, []), (keyless, [f"{NO_KEY} Set it in .env, as .env.example shows."])):
        lines = run.stderr.splitlines()
        assert start in lines[0]
        assert "Assistant' with transport 'stdio'" in lines[1]
        assert lines[2:] == told
        assert KEY not in run.stdout + run.stderr


def test_a_run_connects_to_the_provider_alone(keyed: SharedRun, keyless: SharedRun):
    host, port = keyed.url.removeprefix("http://").rstrip("/").split(":")
    assert host == "localhost"
    assert keyed.connections
    assert all(f", {port}" in address for address in keyed.connections)
    assert keyless.connections == []


def test_the_server_process_is_not_handed_the_key_of_the_env_file(keyed: SharedRun):
    (environment,) = keyed.server_environments
    assert "PATH" in environment
    assert "OPENAI_API_KEY" not in environment
    assert KEY not in "".join(environment.values())


def test_a_file_with_a_foreign_name_and_the_key_of_the_environment(
    project: Path, tmp_path: Path, httpserver: HTTPServer
):
    """From the folder of the file; the environment's key wins over .env, and is not handed on."""
    document, summary = "Ein Satz — “drei”.\n東京", "Kurz: 東京 — “été”"
    environments = answer_and_watch(httpserver, project, summary)
    write_env(project, {"OPENAI_API_KEY": "sk-from-the-file"})
    (tmp_path / "Überblick 東京.txt").write_text(document, encoding="utf-8")
    run = run_client(project, "Überblick 東京.txt", cwd=tmp_path, **with_key(httpserver))
    assert run.stdout.splitlines() == expected_stdout(summary)
    ((request, _),) = httpserver.log
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.json["messages"][1]["content"].endswith(f":\n\n{document}")
    (environment,) = environments
    assert "PATH" in environment
    assert KEY not in "".join(environment.values())


@pytest.mark.skipif(sys.platform == "win32", reason="needs a symbolic link")
def test_litellm_loads_no_env_file_of_its_own_finding(
    project: Path, tmp_path: Path, httpserver: HTTPServer
):
    """It would look above its own folder, which is therefore put below one with a .env."""
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "litellm").symlink_to(Path(litellm.__file__).parent)
    write_env(tmp_path, with_key(httpserver))
    run = run_client(project, PYTHONPATH=str(packages))
    assert NO_KEY in run.stderr
    assert httpserver.log == []


def test_env_example_copied_as_it_is_means_no_key(project: Path):
    text = (project / ".env.example").read_text(encoding="utf-8")
    assert text.splitlines()[0].startswith("# ")
    assert text.splitlines()[1:] == ["OPENAI_API_KEY="]
