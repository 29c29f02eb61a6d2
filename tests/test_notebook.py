"""open-me.ipynb is run as a reader would run it, and tried where the reader tries things."""

import copy
import re
import shutil
from ast import literal_eval

import helpers as h
import nbformat
import psutil
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

NOTEBOOK = nbformat.read(h.ROOT / "open-me.ipynb", as_version=4)
CELLS = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
TEXT = "\n".join(cell.source for cell in NOTEBOOK.cells if cell.cell_type == "markdown")
SOLUTIONS = re.findall(r"A solution</summary>\n\n```python\n(.+?)```", TEXT, re.DOTALL)


def cell(text: str) -> str:
    (found,) = [cell.source for cell in CELLS if text in cell.source]
    return found


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(each.get("text") or each["data"]["text/plain"] for each in cell.outputs)


OUTPUTS = [printed(cell) for cell in CELLS]


def run(sources: list[str], folder) -> list[str]:
    """Run cells in a kernel of their own. Per cell, what it printed."""

    def check(cell: nbformat.NotebookNode, **_: object) -> None:
        if cell.source.endswith("server.wait()"):  # by hand, it has ended: the kernel is left
            assert len(psutil.Process().children(recursive=True)) == 1

    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    options = {"timeout": 120, "resources": {"metadata": {"path": str(folder)}}}
    NotebookClient(notebook, on_cell_executed=check, **options).execute()
    return [printed(cell) for cell in notebook.cells]


def test_without_a_key_the_outputs_are_those_that_are_committed(clone):
    before = {path.name: path.read_bytes() for path in clone.iterdir()}
    assert run([cell.source for cell in CELLS], clone) == OUTPUTS
    shutil.rmtree(clone / "__pycache__", ignore_errors=True)
    assert {path.name: path.read_bytes() for path in clone.iterdir()} == before


def test_it_is_committed_as_run_once_from_the_first_cell_to_the_last():
    assert [cell.execution_count for cell in CELLS] == list(range(1, len(CELLS) + 1))
    # No path of this machine's: home folders hold user names.
    paths = r"(?<![\w:/])/(home|root|Users|tmp|usr|opt|work|var|private)\b|[A-Z]:\\|\bsk-"
    assert not re.search(paths, "".join(OUTPUTS))
    assert not any(cell.metadata for cell in NOTEBOOK.cells)


def test_by_hand_the_request_comes_inside_the_call():
    call = [cell.source for cell in CELLS].index(cell("send(id=2"))
    outputs = OUTPUTS[call : call + 6]
    assert outputs[0] == outputs[2] == ""  # sent, and nothing read
    asked, answered, again, refused = map(literal_eval, [outputs[1], *outputs[3:]])
    request = copy.deepcopy(h.REQUEST)
    request["params"]["messages"][0]["content"]["text"] = h.PROMPT + "Every star is a sun."
    assert asked == request  # the whole line, as README.md shows it
    words = {"type": "text", "text": "Summary:\nWords of mine, and of no model."}
    assert answered["id"] == 2 and answered["result"] == {"content": [words], "isError": False}
    assert again == ("sampling/createMessage", 1)
    assert refused["id"] == 3 and refused["result"]["isError"]


def test_with_a_key_the_model_is_called_and_no_server_gets_it(clone, httpserver, monkeypatch):
    monkeypatch.delenv("PYTHON_DOTENV_DISABLED")
    monkeypatch.setenv("ANOTHER_KEY", h.KEY)
    h.write_env(clone, **h.stand_in(httpserver, h.completion("A summary from the stand-in.")))
    show = "import os; print(os.environ, file=sys.stderr); mcp.run("
    h.edit(clone / "server.py", "mcp.run(", show)
    start = cell("Popen(").replace('"stderr": DEVNULL', '"stderr": open("log.txt", "wb")')
    by_hand = [start, cell('"initialize"'), cell("server.wait()")]
    sources = [cell("import ModelHint"), *by_hand, cell("def call_tool"), cell("(sampling_handler")]
    *_, answer = run(sources, clone)
    assert answer.endswith("\nis_error=False Summary:\nA summary from the stand-in.\n")
    ((request, _),) = httpserver.log
    assert request.headers["Authorization"] == f"Bearer {h.KEY}"
    log = (clone / "log.txt").read_text(encoding="utf-8")
    assert "'PATH'" in log and h.KEY not in log


STUB = 'return "nothing yet"  # change me'
RIGHT_HANDLER, RIGHT_TOOL = (solution.split(":\n    ", 1)[1] for solution in SOLUTIONS)
SUMMARY, TITLE = 's = await ctx.sample("Text: " + text)', 't = await ctx.sample("Title: " + s.text)'
ASKS, ENDS = f"{h.STEP_2}\n", f"{h.STEP_4}\n"
HANDLERS = {
    # what stands in place of the stub: what is printed
    RIGHT_HANDLER: f"Summary:\nStars are suns.\n{ASKS}is_error=True Sampling failed: this client",
    "return 'I refuse.'": f"Summary:\nI refuse.\n{ASKS}{ENDS}is_error=False Summary:\nI refuse.",
    "pass": "is_error=True Sampling failed: Invalid request parameters",
    "return messages.text": "is_error=True Sampling failed: 'list' object has no attribute 'text'",
}
TOOLS = {
    RIGHT_TOOL: "Stars are suns.\n[TextContent(type='text', text='Many suns\\nStars are suns.'",
    f"{SUMMARY}; {TITLE}": "\n[]\n",
    "s = ctx.sample(text); t = await ctx.sample(f'Title: {s}')": "request: Title: <coroutine obj",
    f"{SUMMARY}; t = await ctx.sample(f'Title: {{s}}')": "request: Title: SamplingResult(",
    "s = await ctx.sample(text).text": "'coroutine' object has no attribute 'text'",
}


def test_what_a_reader_tries_shows_what_is_right_and_what_is_not(clone):
    handlers = [cell("def careful").replace(STUB, attempt) for attempt in HANDLERS]
    tools = [cell("mine = FastMCP").replace(STUB, attempt) for attempt in TOOLS]
    typed = 'words = iter(["yes", "Suns.", "no", "well"]); input = lambda _: next(words)'
    persons = [cell("def ask_me").replace("# await", "await")] * 3
    sources = [cell("def call_tool"), *handlers, *tools, typed, *persons]
    _, *outputs = run(sources, clone)
    for attempt, words in [*HANDLERS.items(), *TOOLS.items()]:
        assert words in outputs.pop(0), attempt
    _, answered, refused, neither = outputs
    assert h.SYSTEM_PROMPT in answered and h.PROMPT + "Every star is a sun." in answered
    assert answered.endswith("is_error=False Summary:\nSuns.\n")
    assert refused.endswith("is_error=True Sampling failed: the user said no\n")
    assert neither == refused
