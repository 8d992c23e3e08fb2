#!/usr/bin/python3
"""Fails on an include that points up the layers or closes a circle between headers (docs/architecture.md)."""

import pathlib
import re
import sys

# From the top down; a file may include its own layer and those below it.
LAYERS = [
    "registrar/main.c",
    "registrar/registrar",
    "registrar/reload",
    "registrar/worker",
    "registrar/health",  # asks as a device would
    "registrar/snapshot",
    "registrar/file_marks",
    "registrar/renewal/",
    "registrar/downstream/",
    "registrar/exchange/",
    "registrar/translate/",
    "registrar/keygen/",
    "registrar/upstream/",
    "registrar/access_settings.c",  # likewise of operations and trust stores
    "registrar/settings.c",  # the reader asks which labels are valid (URI-4); the values in settings.h ask nobody
    "registrar/protocol/",
    "registrar/",  # settings, counters
    "joinproxy/main.c",
    "joinproxy/join_proxy",
    "joinproxy/join_port",
    "joinproxy/stateful",
    "joinproxy/stateless",
    "joinproxy/discovery_port",
    "joinproxy/registrar_search",
    "joinproxy/",  # what these are made of, none of which knows them
    "common/",
]
FOLDERS = ("common", "registrar", "joinproxy")
PROGRAMS = ("registrar/", "joinproxy/")  # each stands above common/ alone
# Neighbours of one level that may not know each other.
STRANGERS = [("registrar/translate/", "registrar/upstream/"), ("registrar/upstream/", "registrar/translate/")]
# The command line stands beside main and may use what the registrar is made of.
TOP = ("registrar/main.c", "registrar/health", "registrar/registrar", "registrar/worker")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def layer(path):
    return next((i for i, prefix in enumerate(LAYERS) if path.startswith(prefix)), None)


def includes(root, path):
    return INCLUDE.findall((root / path).read_text())


def points_up(source, target):
    if source.startswith("common/"):
        return not target.startswith("common/")
    if any(source.startswith(program) != target.startswith(program) for program in PROGRAMS) and not target.startswith("common/"):
        return True
    if source.startswith(TOP) and target.startswith(TOP):
        return False
    above, below = layer(source), layer(target)
    if below is None:
        return True
    return below < above or any(source.startswith(a) and target.startswith(b) for a, b in STRANGERS)


def find_circle(graph):
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node):] + [node]
        if node in done:
            return None
        path.append(node)
        for target in graph.get(node, []):
            if circle := visit(target):
                return circle
        path.pop()
        done.add(node)
        return None

    for node in graph:
        if circle := visit(node):
            return circle
    return None


def check(root):
    """Returns a line for each fault."""
    files = sorted(str(p.relative_to(root)) for d in FOLDERS for p in (root / d).rglob("*.[ch]"))
    graph = {name: includes(root, name) for name in files}
    faults = [f"{name}: includes {target}, which lies above it or is a stranger to it"
              for name, targets in graph.items() for target in targets if points_up(name, target)]
    faults += [f"{name}: includes {target}, which does not exist"
               for name, targets in graph.items() for target in targets if target not in graph]
    headers = {name: [t for t in targets if t != name] for name, targets in graph.items() if name.endswith(".h")}
    if circle := find_circle(headers):
        faults.append("circle: " + " -> ".join(circle))
    return faults, len(files)


def self_test(tmp):
    """The check itself can fail: each kind of fault is found in a tree made for it."""
    cases = {
        "up": {"common/a.c": '#include "registrar/b.h"', "registrar/b.h": ""},
        "up again": {"registrar/protocol/a.c": '#include "registrar/exchange/b.h"', "registrar/exchange/b.h": ""},
        "stranger": {"registrar/translate/a.c": '#include "registrar/upstream/b.h"', "registrar/upstream/b.h": ""},
        "stranger program": {"joinproxy/a.c": '#include "registrar/settings.h"', "registrar/settings.h": ""},
        "stranger program again": {"registrar/main.c": '#include "joinproxy/a.h"', "joinproxy/a.h": ""},
        "up in the join proxy": {"joinproxy/stateful.c": '#include "joinproxy/join_port.h"', "joinproxy/join_port.h": ""},
        "circle": {"common/a.h": '#include "common/b.h"', "common/b.h": '#include "common/a.h"'},
        "missing": {"common/a.c": '#include "common/none.h"'},
    }
    for name, tree in cases.items():
        root = tmp / name
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True)
        for path, text in tree.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        assert check(root)[0], f"the check does not find: {name}"


def main():
    import tempfile

    with tempfile.TemporaryDirectory() as tmp:
        self_test(pathlib.Path(tmp))
    faults, count = check(pathlib.Path(__file__).resolve().parent.parent)
    print("\n".join(faults) if faults else f"{count} files, every include points down")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
