"""What README and docs/ tell a reader to type is there, and works where it can run here. docs/replay.md has its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jitspan
import pytest
from support.pages import PAGES, ROOT, blocks, script

BIN = Path(sys.executable).parent
BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in BLOCKS if block.language == "sh"]
RUN = [page for page in PAGES if script(page) and page.name != "replay.md"]
WITH_COMMANDS = [ROOT / "examples" / "image" / "Dockerfile", ROOT / "examples" / "kubernetes" / "deployment.yaml"]
# What engines are started with, which stands in the tests that start the real ones, or in our code that reads it.
ENGINES = [*(ROOT / "tests" / "engines").glob("*.py"), *(ROOT / "src" / "python" / "engines").rglob("*.rs")]
OTHERS_OPTIONS = {
    "--model-path": "SGLang's, whose whole server is started nowhere here",
    "--enable-trace": "SGLang's",
    "--otlp-traces-endpoint": "vLLM's and SGLang's",
}


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_every_command_of_a_page_works_as_it_stands(page, scripts, receiver, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("needs curl, as a reader does")
    server, grpc, http = map(str, free_ports(3))
    commands = script(page).replace("8000", server).replace("4318", http)
    commands = commands.replace("jitspan view ", f"jitspan view --grpc-port {grpc} --http-port {http} ")
    # A checkout of its own, as far as the commands look.
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = scripts.environment | receiver.environment("http/protobuf")
    environment["PATH"] = os.pathsep.join([str(BIN), os.environ["PATH"]])
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", 'trap "kill \\$(jobs -p) 2>/dev/null || true" EXIT\n' + commands],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_there_are_pages_that_run():
    assert {page.name for page in RUN} >= {"own-server.md", "troubleshooting.md", "doctor.md"}


@pytest.mark.parametrize("language", ["sh", "python", "yaml", "text", ""])
def test_no_block_is_of_a_language_that_nobody_looks_at(language):
    assert {block.language for block in BLOCKS} <= {"sh", "python", "yaml", "text", ""}
    if language in ("python", "sh"):
        assert any(block.language == language for block in BLOCKS)


def test_every_option_of_jitspans_that_a_page_names_exists():
    named = set()
    for text in [*(block.text for block in SHELL), *map(Path.read_text, WITH_COMMANDS)]:
        for line in re.sub(r"#.*", "", text.replace("\\\n", " ")).splitlines():
            for command, arguments in re.findall(r"(?<![\w-])jitspan (\w+)([^|>&;#]*)", line):
                ours = arguments.split(" -- ")[0]
                named |= {(command, option) for option in ["", *re.findall(r"(?<!\S)--[a-z-]+", ours)]}
    helps = {command: help_of(command) for command, _ in named}
    missing = {(command, option) for command, option in named if option and option not in helps[command]}
    assert missing == set()
    assert len(named) > 10


def help_of(command: str) -> set[str]:
    done = subprocess.run([str(BIN / "jitspan"), command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"--[a-z-]+", done.stdout))


@pytest.mark.parametrize("file", sorted((ROOT / "examples" / "kubernetes").glob("*.yaml")), ids=lambda file: file.name)
def test_a_manifest_of_kubernetes_is_what_its_schema_says(file):
    done = subprocess.run([str(BIN / "kubernetes-validate"), "--strict", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_target_of_make_that_a_page_names_exists():
    named = {target for page in PAGES for target in re.findall(r"`?\bmake ([a-z][a-z-]+)`", page.read_text())}
    named |= {target for block in SHELL for target in re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE)}
    makefiles = [ROOT / "Makefile", *(ROOT / "make").glob("*.mk")]
    rules = {
        target
        for file in makefiles
        for line in re.findall(r"^([a-zA-Z][^:=\n]*):(?!=)", file.read_text(), re.MULTILINE)
        for target in line.split()
    }
    assert named - rules == set()
    assert len(named) > 10


def test_every_variable_that_a_page_names_is_read():
    done = subprocess.run(
        [str(BIN / "jitspan"), "doctor", "--json", "--offline"], capture_output=True, text=True, check=False
    )
    read = {row["variable"] for row in json.loads(done.stdout)["settings"]}
    named = {name for page in PAGES for name in re.findall(r"\bJITSPAN_[A-Z_]+\b(?!\*)", page.read_text())}
    assert named - read == {name for name in named if name.endswith("_")}


def test_every_option_of_a_server_that_a_page_names_is_known_where_that_server_is_tested():
    known = " ".join(file.read_text() for file in ENGINES)
    named = {
        option
        for block in SHELL
        for line in block.text.splitlines()
        if re.search(r"\b(vllm|sglang)\b", line)
        for option in re.findall(r"(?<!\S)--[a-z-]+", line)
    }
    assert {option for option in named if option not in known} <= set(OTHERS_OPTIONS)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=lambda block: block.page.name)
def test_every_python_block_is_python_and_names_what_jitspan_has(block):
    compile(block.text, block.page.name, "exec")
    assert {name for name in re.findall(r"\bjitspan\.(\w+)", block.text) if not hasattr(jitspan, name)} == set()


def test_every_file_that_a_page_links_to_is_there():
    broken = [
        (page.name, target)
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []
