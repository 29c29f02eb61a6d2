"""open-me.ipynb is run as a reader would run it, and tried where the reader tries things."""

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import helpers as h
import nbformat
import psutil
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from pytest_httpserver import HTTPServer

NOTEBOOK = nbformat.read(h.ROOT / "open-me.ipynb", as_version=4)
CELLS = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
SOLUTIONS = [
    cell.source.partition("```python\n")[2].partition("```")[0]
    for cell in NOTEBOOK.cells
    if "<summary>A solution" in cell.source
]

# The date and the place in FastMCP's own line: all that may differ from run to run.
DATED = re.compile(r"^\[\d\d/\d\d/\d\d \d\d:\d\d:\d\d\](.*)transport\.py:\d+", re.MULTILINE)


def cell(text: str, edits: dict[str, str] | None = None) -> nbformat.NotebookNode:
    """The code cell in which text stands, with what a reader may edit there."""
    (found,) = [cell for cell in CELLS if text in cell.source]
    source = found.source
    for old, new in (edits or {}).items():
        assert old in source
        source = source.replace(old, new)
    return new_code_cell(source, outputs=found.outputs)


def run(cells: list[nbformat.NotebookNode], folder: Path) -> list[str]:
    """Run cells in a kernel of their own. Per code cell, what it printed."""
    notebook = new_notebook(cells=cells)
    options = {"timeout": 60, "resources": {"metadata": {"path": str(folder)}}}
    NotebookClient(notebook, on_cell_executed=check_nothing_is_left, **options).execute()
    return printed(notebook.cells)


def check_nothing_is_left(**cell: object) -> None:
    """After each cell: the kernel runs on, but nothing that it started."""
    h.wait_until(lambda: len(psutil.Process().children(recursive=True)) == 1)


def printed(cells: Iterable[nbformat.NotebookNode]) -> list[str]:
    cells = list(cells)
    assert {output.get("name") for cell in cells for output in cell.outputs} <= {"stdout"}
    return [DATED.sub(r"\1", "".join(each.text for each in cell.outputs)) for cell in cells]


START = [cell("from client import"), cell("source.index"), cell("def send")]
FASTMCP = cell("async def look", {'await call_the_tool("Every star is a sun.", look)': ""})


def test_without_a_key_the_outputs_are_those_that_are_committed(clone: Path):
    before = {path.name: path.read_bytes() for path in clone.iterdir()}
    assert run([new_code_cell(cell.source) for cell in CELLS], clone) == printed(CELLS)
    shutil.rmtree(clone / "__pycache__", ignore_errors=True)
    assert {path.name: path.read_bytes() for path in clone.iterdir()} == before


def test_by_hand_the_request_comes_inside_the_call():
    """In the outputs that are committed, and so in those of a run."""
    answered, undeclared, refused = printed(map(cell, ["def by_hand", "by_hand({})", "refusal"]))
    inside = r'--> .+"id": 2, .+\n<-- .+"id":0}\n--> .+"id": 0, "%s".+\n<-- .+:2,.+"isError":%s}}'
    assert re.search(inside % ("result", "false"), answered)
    assert re.search(inside % ("error", "true"), refused)
    assert "createMessage" not in undeclared and '"isError":true' in undeclared


def test_with_a_key_the_model_is_called_and_no_server_has_the_key(
    clone: Path, httpserver: HTTPServer, monkeypatch, tmp_path: Path
):
    """Nor any other variable of the reader's. The kernel's stderr has no file, as on Windows."""
    monkeypatch.delenv("PYTHON_DOTENV_DISABLED")
    monkeypatch.setenv("ANOTHER_KEY", h.KEY)
    log = tmp_path / "environments.txt"
    dump = f"""import json, os, sys
with open({str(log)!r}, "a", encoding="utf-8") as log:
    print(json.dumps(dict(os.environ)), file=log)
"""
    h.edit(clone / "server.py", "import sys\n", dump)
    h.respond(httpserver, h.completion("A summary from the stand-in."))
    h.write_env(clone, **h.with_key(httpserver))
    no_file = new_code_cell("import io, sys; sys.stderr.fileno = io.StringIO().fileno")
    document = new_code_cell('document = "Every star is a sun."')
    cells = [no_file, *START, cell("def by_hand"), FASTMCP, document, cell("server's file")]
    _, start, *_, answer, spy = run([*cells, cell("spy")], clone)
    assert "OPENAI_API_KEY is set\n" in start
    ((request, _),) = httpserver.log
    assert request.headers["Authorization"] == f"Bearer {h.KEY}"
    assert "\nSummary:\nA summary from the stand-in.\n" in answer
    assert spy == "variable: None, file: seen\n"
    environments = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(environments) == 2  # by hand, and in step 8
    for environment in environments:
        assert "PATH" in environment and h.KEY not in environment.values()


NOTHING_YET = 'return "nothing yet"'
POLICIES = {
    SOLUTIONS[0]: "Right. The server would be told: this client passes on no secrets",
    NOTHING_YET: "Not yet: two different requests get the same answer.+",
    "return None": "Not yet: it should return a text, and returned None.",
    "return messages.text": "Not yet: on a harmless request it fails: 'list' object has no.+",
    "return str(params)": "Not yet: it should refuse a request that holds the word secret.",
    "if 'secret' in str(params): raise RuntimeError\n    return str(params)": "Not yet: it.+words.",
    "if 'secret' in str(params): Error\n    return str(params)": "Not yet: it should raise.+",
}
SUMMARY, TITLE = 's = await ctx.sample("Text: " + text)', "t = await ctx.sample(s.text)"
RETURN = 'return t.text + "\\n" + s.text'
TOOLS = {
    SOLUTIONS[1]: "Right: .+",
    f'{SUMMARY}; t = await ctx.sample([s.text, "A title?"]); {RETURN}': "Right: .+",
    f'{SUMMARY}; t = await ctx.sample("?", system_prompt=s.text); {RETURN}': "Right: .+",
    NOTHING_YET: "Not yet: the tool should sample twice. Requests sent: 0.",
    f"s = await ctx.sample(text).text; {TITLE}; {RETURN}": "Not yet: .+no attribute 'text'",
    f"s = ctx.sample(text); {TITLE}; {RETURN}": "Not yet: .+no attribute 'text'",
    f"{SUMMARY}; {TITLE}": "Not yet: it should return title and summary, and returned ''.",
    f"{SUMMARY}; t = await ctx.sample(str(s)); {RETURN}": "Not yet: the second request.+",
    f'{SUMMARY}; t = await ctx.sample("A title?"); {RETURN}': "Not yet: the second request.+",
    f's = await ctx.sample("?"); {TITLE}; {RETURN}': "Not yet: the first request should hold.+",
    'raise ValueError("x" * 1000 + "\\n" * 9)': "Not yet: .{200}",
}
TRIES = [
    *[(*pair, "async def policy", "def check_policy") for pair in POLICIES.items()],
    *[(*pair, "mine = FastMCP", "async def check():") for pair in TOOLS.items()],
]


def test_what_a_reader_tries_ends_as_it_should_and_leaves_nothing_behind(clone: Path):
    typed = new_code_cell('words = iter(["yes", "Suns.", "no"]); input = lambda _: next(words)')
    persons = [cell("async def ask_me", {"# await": "await"}) for _ in range(2)]
    dead = cell("def by_hand", {'"server.py"': '"-c", ""'})
    silent = {'"server.py"': '"-c", "import time; time.sleep(60)"', "Timer(30,": "Timer(1,"}
    cells = [*START, FASTMCP, dead, cell("def by_hand", silent), typed, *persons]
    for attempt, _, exercise, check in TRIES:
        edited = cell(exercise, {NOTHING_YET: attempt})
        cells += [new_code_cell(attempt) if attempt in SOLUTIONS else edited, cell(check)]
    by_hand, by_hand_too, _, answered, refused, *checks = run(cells, clone)[4:]
    assert re.fullmatch("--> .+\nThe server has ended.\n", by_hand)
    assert by_hand_too == by_hand
    assert "Every star is a sun." in answered and answered.endswith("Summary:\nSuns.\n")
    assert refused.endswith("ToolError: Sampling failed: the user said no\n")
    assert not any(checks[::2])
    for (attempt, outcome, *_), output in zip(TRIES, checks[1::2], strict=True):
        assert re.fullmatch(f"{outcome}\n", output), attempt


def test_it_is_committed_as_run_once_from_the_first_cell_to_the_last():
    assert [cell.execution_count for cell in CELLS] == list(range(1, len(CELLS) + 1))
    # No path of this machine's: home folders hold user names.
    paths = r"(?<![\w:/])/(home|root|Users|tmp|usr|opt|work|var|private)\b|[A-Z]:\\|\bsk-"
    assert not re.search(paths, "".join(printed(CELLS)))
    assert not any(cell.metadata for cell in NOTEBOOK.cells)
