"""What a release needs: one version, a changelog that names it, and a test of every Python that is claimed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import convfuzz

ROOT = Path(__file__).parent.parent
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-11-29\n\n## [1.1.0] - 2026-01-01\n"


@pytest.fixture(scope="module")
def release() -> ModuleType:
    """The script that builds and checks a release."""
    spec = spec_from_file_location("release", ROOT / ".ci" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def project() -> dict[str, Any]:
    """Read the project's table."""
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def claimed() -> set[str]:
    """Return the versions of Python that the classifiers name."""
    return {found[1] for one in project()["classifiers"] if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", one))}


def tox() -> ConfigParser:
    """Read tox's configuration."""
    read = ConfigParser(interpolation=None)
    read.read(ROOT / "tox.ini")
    return read


def workflow(name: str) -> dict[Any, Any]:
    """Read a workflow."""
    read: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    return read


def test_version_stands_in_one_place(release: ModuleType) -> None:
    """What the package says is what is built, and nothing else names a version of its own."""
    assert release.version_of((ROOT / "convfuzz" / "__init__.py").read_text()) == convfuzz.__version__
    assert "version" not in project()
    assert "version" in project()["dynamic"]


def test_version_is_in_the_changelog(release: ModuleType) -> None:
    """The version of the package could be tagged: it is the latest that the changelog names, with its date."""
    release.check_tag(f"v{convfuzz.__version__}", convfuzz.__version__, (ROOT / "CHANGELOG.md").read_text())


@pytest.mark.parametrize(
    ("tag", "version", "changelog", "message"),
    [
        ("v1.2.1", "1.2.0", CHANGELOG, "the tag v1.2.1 is not v1.2.0"),
        ("1.2.0", "1.2.0", CHANGELOG, "the tag 1.2.0 is not v1.2.0"),
        ("v1.2.0", "1.2.0", CHANGELOG.replace(" - 2026-11-29", ""), "no heading"),
        ("v1.1.0", "1.1.0", CHANGELOG, "no heading"),
        ("v1.3.0", "1.3.0", CHANGELOG, "no heading"),
        ("v1.2.0", "1.2.0", "# Changelog\n", "no heading"),
    ],
)
def test_tag_that_is_not_of_this_version_is_refused(release: ModuleType, tag: str, version: str, changelog: str, message: str) -> None:
    """Nothing is published under another version than the package's, or one that the changelog does not have on top."""
    with pytest.raises(release.NotReadyError, match=message):
        release.check_tag(tag, version, changelog)


def test_every_python_that_is_claimed_is_tested() -> None:
    """The classifiers, tox and CI name the same versions, and the lowest is the one that the package requires."""
    assert claimed()
    (environments,) = [
        re.fullmatch(r"testenv:py3\{([\d,]+)\}", section) for section in tox().sections() if section.startswith("testenv:py")
    ]
    assert environments is not None
    assert {f"3.{minor}" for minor in environments[1].split(",")} == claimed()
    matrix = workflow("ci.yml")["jobs"]["versions"]["strategy"]["matrix"]["include"]
    for one in matrix:
        assert one["environment"] in {f"py{one['python'].replace('.', '')}", "lowest"}
    assert {one["python"] for one in matrix if one["environment"] != "lowest"} == claimed()
    lowest = min(claimed(), key=lambda version: int(version.partition(".")[2]))
    assert project()["requires-python"] == f">={lowest}"
    assert tox()["testenv:lowest"]["base_python"] == f"python{lowest}"
    assert [one["python"] for one in matrix if one["environment"] == "lowest"] == [lowest]


def test_missing_python_is_an_error() -> None:
    """An interpreter that is not there is named by tox, and fails the run."""
    assert tox()["tox"]["skip_missing_interpreters"] == "false"


def test_every_dependency_has_a_lowest_version() -> None:
    """What the lowest versions are tested with is what is claimed: no requirement is without a lower bound."""
    extras = {name: wanted for name, wanted in project()["optional-dependencies"].items() if name != "all"}
    for requirement in [*project()["dependencies"], *(one for wanted in extras.values() for one in wanted)]:
        assert ">=" in requirement
    tested = tox()["testenv:lowest"]["commands_pre"]
    assert {"--resolution lowest-direct", "--extra all", "--extra dask"} <= set(re.findall(r"--\w+ [\w-]+", tested))


def test_site_is_built_with_every_link_counted() -> None:
    """A dead link fails the lint environment: MkDocs counts warnings, unless it is told to be quiet."""
    (built,) = [line for line in tox()["testenv:lint"]["commands"].splitlines() if line.startswith("mkdocs ")]
    assert "--strict" in built
    assert "-q" not in built.replace("--quiet", "-q")
    for wanted in ("omitted_files: warn", "not_found: warn", "anchors: warn"):
        assert wanted in (ROOT / "mkdocs.yml").read_text()


def test_publishing_waits_for_what_is_built_and_tested() -> None:
    """A tag is built by the checked script and tested before anything is published, from what was built."""
    jobs = workflow("release.yml")["jobs"]
    assert workflow("release.yml")[True] == {"push": {"tags": ["v*"]}}
    commands = [step["run"] for step in jobs["build"]["steps"] if "run" in step]
    assert commands == ['.ci/run -e dist -- "$GITHUB_REF_NAME"', ".ci/run -e lint,tests"]
    (handed_on,) = [step["with"] for step in jobs["build"]["steps"] if "upload-artifact@" in step.get("uses", "")]
    (taken,) = [step["with"] for step in jobs["publish"]["steps"] if "download-artifact@" in step.get("uses", "")]
    assert handed_on["name"] == taken["name"]
    assert handed_on["if-no-files-found"] == "error"
    assert jobs["publish"]["needs"] == "build"
    assert "if" not in jobs["publish"]


def test_programs_that_tests_start_run_what_the_tests_import() -> None:
    """With the wheel installed, a child process runs the wheel and not the package's folder in the checkout."""
    code = "import convfuzz; print(convfuzz.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == convfuzz.__file__
    assert not (Path.cwd() / "convfuzz").exists()


@pytest.mark.parametrize("name", ["ci.yml", "versions.yml", "release.yml", "nightly.yml"])
def test_ci_installs_pytorch_s_builds_for_the_cpu(name: str) -> None:
    """Every workflow that installs PyTorch tells pip of its index of CPU builds, and uv where tox runs it, to which tox passes that on."""
    said = workflow(name)["env"]
    assert said["PIP_EXTRA_INDEX_URL"] == "https://download.pytorch.org/whl/cpu"
    assert said["PIP_EXTRA_INDEX_URL"] in (ROOT / "CONTRIBUTING.md").read_text()
    if ".ci/run" in (ROOT / ".github" / "workflows" / name).read_text():
        assert said["UV_TORCH_BACKEND"] == "cpu"
    assert "UV_*" in tox()["testenv"]["pass_env"].split()
