"""Renders the nodes' files as a bare Jinja2 loop does: parse with libyaml, render each, write it; nothing is checked.

Every string that differs between nodes is given ready-made (`strings` and `templates`, pickled), so that the loop has
less to do than anybody's.
"""

import os
import pickle
import sys

import yaml
from jinja2 import Environment


def main(spec: str, given: str, target: str) -> None:
    with open(spec, "rb") as file:
        nodes = yaml.load(file, Loader=yaml.CSafeLoader)["nodes"]
    with open(given, "rb") as file:
        kinds, strings = pickle.load(file)  # noqa: S301 - made by the benchmark
    environment = Environment(autoescape=False, keep_trailing_newline=True)  # noqa: S701 - scripts
    templates = [[(name, environment.from_string(text)) for name, text in kind] for kind in kinds]
    assert nodes
    for name, kind, values in strings:
        os.makedirs(f"{target}/{name}")
        for file_name, template in templates[kind]:
            with open(f"{target}/{name}/{file_name}", "w", encoding="utf-8") as file:
                file.write(template.render(v=values))


main(*sys.argv[1:])
