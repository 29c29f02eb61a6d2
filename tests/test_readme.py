"""What can rot in README.md, held to the code. A test a claim."""

import json
import re
import shutil
import socket
from pathlib import Path

import helpers as h
import pytest


async def test_the_commands_that_need_no_key(clone: Path, tmp_path: Path):
    run_client, copy_env = "".join(h.readme_blocks("sh")).splitlines()
    assert run_client == "uv run client.py"  # it is run in test_run.py
    command, *paths = copy_env.split()
    assert command == "cp"
    shutil.copy(*(clone / path for path in paths))
    (clone / "my-document.txt").write_text("Every star is a sun.", encoding="utf-8")
    (own,) = re.findall(r"`(uv run client\.py .+?)`", h.README)
    stand_in = h.STAND_IN.format(len(h.SYSTEM_PROMPT + h.PROMPT) + 20)
    assert stand_in in h.run(own.split(), clone).stdout
    (elsewhere,) = re.findall(r"`(uv run --directory .+?)`", h.README)
    command, *args = elsewhere.replace("/path/to/this/folder", str(clone)).split()
    await h.greet(command, args, tmp_path, **h.UV)
    (tests,) = re.findall(r"`(uv run pytest)`", h.README)
    assert f"\n{tests}\n" in (h.ROOT / ".ci" / "run").read_text(encoding="utf-8")


async def test_the_entry_for_vs_code_starts_a_server_that_needs_no_model(clone, tmp_path):
    text = (h.ROOT / ".vscode" / "mcp.json").read_text(encoding="utf-8")
    (entry,) = json.loads(text)["servers"].values()
    watch, log = h.watch(tmp_path)
    env = {**h.UV, **watch, "COLUMNS": "200"}
    start, *steps = (await h.greet(entry["command"], entry["args"], clone, **env)).splitlines()
    assert "Starting MCP server 'Document Assistant' with transport 'stdio'" in start  # no banner
    assert steps == [h.STEPS[1], h.STEPS[3]]
    assert log.read_text(encoding="utf-8") == ""  # it connects to nothing, and imports no LiteLLM


def test_each_link_leads_to_what_it_names():
    links = re.findall(r"^\| \[`(.+)`\]\((\w+\.py)#L(\d+)\) \|", h.README, re.MULTILINE)
    assert len(links) == h.README.count(".py#L") == 5
    assert "](#where-sampling-stands)" in h.README and "\n## Where sampling stands\n" in h.README
    for name, script, number in links:
        line = (h.ROOT / script).read_text(encoding="utf-8").splitlines()[int(number) - 1]
        assert re.match(rf"\s*(async )?(def )?(completion = await )?{re.escape(name)}\(", line)


CAUSES = {
    # message: what is edited, and what the provider does
    "Connection error": (None, None),
    "LLM Provider NOT provided": (("client.py", h.MODELS, 'MODELS = ["llama3.2"]'), None),
    "(length)": (None, h.completion(None, "length")),
    "Timed out": (("client.py", "TIMEOUT = 300 ", "TIMEOUT = 4 "), "nothing"),
    "Connection closed": (("server.py", "import sys\n", "import sys,\n"), None),
}


@pytest.mark.parametrize("message", CAUSES)
def test_each_failure_of_the_table_ends_in_one_line(message, clone, httpserver, run_here, request):
    assert re.findall(r"^\| `([^`]+)` \|", h.README, re.MULTILINE) == list(CAUSES)
    edit, answer = CAUSES[message]
    env = h.with_key(httpserver)
    if edit:
        h.edit(clone / edit[0], *edit[1:])
    if answer == "nothing":
        asked = request.getfixturevalue("hanging")
    elif answer:
        h.respond(httpserver, answer)
    else:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            env["OPENAI_BASE_URL"] = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    run = run_here(**env)
    h.check_failure(run, clone, ".+")
    assert message in run.stderr
    assert message != "Timed out" or asked.is_set()
    assert message != "Connection closed" or ("SyntaxError: " in run.stderr and not run.stdout)


def test_two_edits_lead_to_another_provider(clone: Path, httpserver, run_here):
    """And OpenAI's key, which is set as well, goes nowhere."""
    models, name = h.readme_blocks("python")[0].splitlines()
    h.edit(clone / "client.py", h.MODELS, models)
    h.edit(clone / "client.py", 'KEY = "OPENAI_API_KEY"', name)
    answer = {"id": "1", "type": "message", "role": "assistant", "model": "claude"}
    answer["content"] = [{"type": "text", "text": "Another summary."}]
    answer |= {"stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}
    httpserver.expect_request("/v1/messages").respond_with_json(answer)
    env = {"OPENAI_API_KEY": "sk-of-openai", "ANTHROPIC_API_BASE": httpserver.url_for("/")}
    (variable,) = re.findall(r"`(\w+)=\.\.\.`", h.README)
    run = run_here(**env, **{variable: h.KEY})
    assert "\nSummary:\nAnother summary.\n" in run.stdout
    ((request, _),) = httpserver.log
    assert request.headers["x-api-key"] == h.KEY
    assert request.json["model"] == "claude-sonnet-5"
    assert "temperature" not in request.json  # which this model does not take
    assert "sk-of-openai" not in str(request.headers)


def test_two_lines_and_a_prefix_lead_to_a_model_on_this_machine(clone, httpserver, run_here):
    models, name = h.readme_blocks("python")[1].splitlines()
    h.edit(clone / "client.py", h.MODELS, models)
    h.edit(clone / "client.py", name, name)  # as it stands
    h.respond(httpserver, h.completion("From here."))
    lines = dict(line.split("=", 1) for line in h.readme_blocks("ini")[0].splitlines())
    assert lines["OPENAI_BASE_URL"] == "http://localhost:11434/v1"
    lines["OPENAI_BASE_URL"] = httpserver.url_for("/v1")
    assert "\nSummary:\nFrom here.\n" in run_here(**lines).stdout
    ((request, _),) = httpserver.log
    assert request.json["model"] == "llama3.2"
