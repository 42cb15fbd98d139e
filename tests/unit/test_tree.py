"""fairlead.site.tree as a playbook's user meets it: real files, real ansible, this machine as the host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT


class Tree:
    def __init__(self, top: Path) -> None:
        self.top = top
        self.role = top / "roles" / "sample"
        self.host = top / "host"
        (self.role / "tasks").mkdir(parents=True)
        self.host.mkdir()

    def template(self, path: str, text: str) -> None:
        file = self.role / "templates" / str(self.host).lstrip("/") / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def run(self, *flags: str, variables: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        owner = {"owner": str(os.getuid()), "group": str(os.getgid())}
        tasks = [{"fairlead.site.tree": owner | options, "register": "sample_result"}]
        (self.role / "tasks" / "main.yml").write_text(json.dumps(tasks))
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": sys.executable, **(variables or {})},
            "roles": ["sample"],
        }
        (self.top / "play.yml").write_text(json.dumps([play]))
        done = subprocess.run(
            ["ansible-playbook", "-c", "local", "-i", "localhost,", "play.yml", *flags],
            cwd=self.top,
            env=os.environ
            | {
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
                "ANSIBLE_STDOUT_CALLBACK": "json",
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            capture_output=True,
            text=True,
        )
        assert done.stdout, done.stderr
        report = json.loads(done.stdout[done.stdout.index("{") :])
        result = report["plays"][0]["tasks"][-1]["hosts"]["localhost"]
        result["output"] = done.stdout
        return result


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_renders_copies_and_leaves_out(tree: Tree) -> None:
    tree.template("a/rendered.conf.j2", "{% include '_part.j2' %} {{ word }}\n")
    tree.template("a/plain.conf", "{{ word }}\n")
    tree.template("a/gone.conf.j2", "{% if false %}text{% endif %}\n")
    (tree.role / "templates" / "_part.j2").write_text("part")
    (tree.host / "a").mkdir()
    (tree.host / "a" / "gone.conf").write_text("old")
    result = tree.run(variables={"word": "hello"})
    assert not result.get("failed"), result["msg"]
    assert (tree.host / "a/rendered.conf").read_text() == "part hello\n"
    assert (tree.host / "a/plain.conf").read_text() == "{{ word }}\n"
    assert sorted(path.name for path in (tree.host / "a").iterdir()) == ["plain.conf", "rendered.conf"]
    assert len(result["paths"]) == 3
    assert tree.run(variables={"word": "hello"})["changed"] is False


def test_check_mode_predicts_and_changes_nothing(tree: Tree) -> None:
    tree.template("a.conf", "new\n")
    result = tree.run("--check", "--diff")
    assert result["changed"] and result["diff"][0]["after"] == "new\n"
    assert list(tree.host.iterdir()) == []


def test_mode_drift_is_found_and_mended(tree: Tree) -> None:
    tree.template("a.conf", "text\n")
    rules = [{"path": "*/a.conf", "mode": "0600"}]
    tree.run(modes=rules)
    (tree.host / "a.conf").chmod(0o666)
    result = tree.run("--diff", modes=rules)
    assert result["paths"] == [f"{tree.host}/a.conf"] and "mode 0666" in result["diff"][0]["before"]
    assert (tree.host / "a.conf").stat().st_mode & 0o777 == 0o600


def test_a_refused_tree_changes_nothing(tree: Tree) -> None:
    tree.run(src=None, files=[{"path": f"{tree.host}/a.conf", "content": "good"}])
    result = tree.run(
        src=None,
        files=[{"path": f"{tree.host}/a.conf", "content": "bad"}, {"path": f"{tree.host}/b.conf", "content": "more"}],
        stage=str(tree.host),
        validate="grep -q good %s/a.conf",
    )
    assert result["failed"] and "nothing was changed" in result["msg"]
    assert (tree.host / "a.conf").read_text() == "good\n"
    assert not (tree.host / "b.conf").exists()


def test_validation_sees_removed_and_unmanaged_files(tree: Tree) -> None:
    (tree.host / "theirs.conf").write_text("theirs")
    (tree.host / "ours-old.conf").write_text("old")
    result = tree.run(
        src=None,
        files=[{"path": f"{tree.host}/ours-new.conf", "content": "new"}],
        prune=[f"{tree.host}/ours-*.conf"],
        stage=str(tree.host),
        validate="sh -c 'test -e %s/theirs.conf && test -e %s/ours-new.conf && test ! -e %s/ours-old.conf'",
    )
    assert not result.get("failed"), result["msg"]
    assert sorted(path.name for path in tree.host.iterdir()) == ["ours-new.conf", "theirs.conf"]


def test_a_secret_is_nowhere_in_the_output(tree: Tree) -> None:
    secret = "correct-horse-battery"
    item = {"path": f"{tree.host}/key", "content": secret, "mode": "0600", "secret": True}
    result = tree.run("--diff", "-vvv", src=None, files=[item], variables={})
    assert (tree.host / "key").read_text() == secret + "\n"
    assert secret not in result["output"]
    assert secret[::-1] not in tree.run("--diff", "-vvv", src=None, files=[item | {"content": secret[::-1]}])["output"]


def test_a_folder_in_the_way_is_named(tree: Tree) -> None:
    (tree.host / "a.conf").mkdir()
    result = tree.run(src=None, files=[{"path": f"{tree.host}/a.conf", "content": "x"}])
    assert result["failed"] and "is a folder where a file is expected" in result["msg"]


def test_an_unknown_owner_is_named(tree: Tree) -> None:
    result = tree.run(src=None, files=[{"path": f"{tree.host}/a.conf", "content": "x", "owner": "nosuchuser"}])
    assert result["failed"] and "nosuchuser" in result["msg"]
    assert list(tree.host.iterdir()) == []


def test_an_unknown_option_is_refused(tree: Tree) -> None:
    result = tree.run(prun=[])
    assert result["failed"] and "no option prun" in result["msg"]
