"""The pages of the manual against the programs."""

import re

import pytest

import programs

PROGRAMS = {"est-registrar": programs.REGISTRAR, "est-join-proxy": programs.BUILD / "joinproxy" / "est-join-proxy"}


@pytest.fixture(params=PROGRAMS)
def program(request):
    return request.param


def page(program):
    return (programs.ROOT / "docs" / f"{program}.8").read_text().replace("\\-", "-")


def test_options(program):
    """Every option of --help has its paragraph, and no other has."""
    usage = programs.run([PROGRAMS[program], "--help"]).stdout.decode()
    options = re.search(r"\.SH OPTIONS\n(.*?)\.SH", page(program), re.DOTALL)[1]
    offered = set(re.findall(r"^  (--[a-z-]+)", usage, re.MULTILINE))
    assert "--config" in offered
    assert set(re.findall(r"^\.TP\n\.BI? (--[a-z-]+)", options, re.MULTILINE)) == offered
    assert re.search(r"Exit status: (.*)", usage)[1] in page(program)


def test_configuration(program, tmp_path):
    """The example is one that the program takes."""
    example = re.search(r"\.SH CONFIGURATION\n.*?\.nf\n(.*?)\.fi", page(program), re.DOTALL)[1]
    (tmp_path / "example.json").write_text(example)
    programs.run([PROGRAMS[program], "--config", tmp_path / "example.json", "--print-config"])
