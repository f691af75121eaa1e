"""What a release is made with: workflows that call the Makefile, one version, metadata."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.M))


def files(folder):
    return sorted((ROOT / ".github" / folder).glob("*.yml"))


def test_workflows_call_targets_there_are():
    called = {}
    for path in files("workflows"):
        jobs = yaml.safe_load(path.read_text())["jobs"]
        steps = [step for job in jobs.values() for step in job["steps"]]
        runs = [step["run"] for step in steps if "run" in step]
        assert all(run.startswith("make ") for run in runs), path
        called[path.stem] = {target for run in runs for target in run.split()[1:]}
    assert set().union(*called.values()) <= TARGETS
    assert called["tests"] == {"check", "test"}
    assert "report" in called["docs"]
    assert called["publish"] == {"dist"}


def test_issue_forms_say_what_they_ask():
    assert len(files("ISSUE_TEMPLATE")) == 3
    for path in files("ISSUE_TEMPLATE"):
        form = yaml.safe_load(path.read_text())
        assert form["name"]
        assert form["description"]
        assert any(part.get("validations", {}).get("required") for part in form["body"]), path


def test_one_version_and_the_pythons_that_are_supported():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()
    named = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c}
    matrix = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]["check"]
    assert named == set(matrix["strategy"]["matrix"]["python"])
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    assert named == {f"3.{minor}" for minor in range(int(low), int(high))}
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert (ROOT / "fsb" / "py.typed").exists()


def test_hooks_run_what_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    tools = {re.search(r"-m (\w+)", hook["entry"])[1] for hook in hooks}
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    assert tools == set(re.findall(r"-m (\w+)", lint))
