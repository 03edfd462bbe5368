"""`python3 -m tradewind_host.parse`: one DAG file to one JSON file. Never writes to stdout."""

from __future__ import annotations

import argparse
import json
import os
import sys

from tradewind_host import checks, errors, loader, paths, serialize
from tradewind_host.errors import SpecError


def parse_file(dags_folder: str, fileloc: str) -> dict:
    """A file as `proto::dag::ParsedFile`; never raises because of what the file does."""
    outer, _ = paths.split_archive(fileloc)
    path = os.path.join(dags_folder, *outer.split("/"))
    try:
        digest = paths.source_hash(path)
        modules = loader.load(dags_folder, fileloc)
    except Exception as error:  # unreadable file, broken archive
        return {"dags": [], "error": errors.describe(error, path), "warnings": []}
    found: list[dict] = [module.error for module in modules if module.error]
    twice = checks.duplicates([dag for module in modules for dag in module.dags])
    found.extend(errors.describe(error, path) for error in twice.values())
    specs = []
    for module in modules:
        for dag in module.dags:
            if dag.dag_id in twice:
                continue
            try:
                specs.append(_spec(dag, module, digest))
            except SpecError as error:
                found.append(errors.describe(error, module.file))
    warnings = [text for module in modules for text in module.warnings]
    return {"dags": specs, "error": errors.merge(found), "warnings": warnings}


def _spec(dag, module, digest: str) -> dict:
    """A spec that is sure to be JSON."""
    # Attributes that authors set after construction were not checked by constructors.
    try:
        spec = serialize.dag_spec(dag, module, digest)
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(f"DAG {dag.dag_id!r}: {error}", dag.line, type(error).__name__) from error
    return serialize.json_value(spec, f"DAG {dag.dag_id!r}", dag.line)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tradewind_host.parse")
    parser.add_argument("--dags-folder", required=True)
    parser.add_argument("--file", required=True, help="path relative to the DAGs folder")
    parser.add_argument("--out", required=True, help="where the JSON goes")
    options = parser.parse_args(arguments)
    dags_folder = os.path.abspath(options.dags_folder)
    out = os.path.abspath(options.out)
    paths.set_up(dags_folder)
    parsed = parse_file(dags_folder, options.file)
    with open(out, "w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(parsed, file)
    return 0


if __name__ == "__main__":
    code = main()
    # Threads and exit handlers of the file under parse must not hold the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
