"""`orch init`, `schema` and `completion`: what a person needs before the first run."""

from __future__ import annotations

import json
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from orchestrator import durable
from orchestrator.errors import UsageError

STARTER, SCHEMA = "sweep.yaml", "sweep.schema.json"


def write_starter(folder: Path, as_json: bool) -> None:
    """Write the starter spec and its schema into `folder`; nothing that is there is replaced."""
    from orchestrator.grids.schema import json_schema
    from orchestrator.grids.starter import starter_spec

    spec, schema = folder / STARTER, folder / SCHEMA
    for path in (spec, schema):
        if path.exists():
            raise UsageError(f"{path} is already there and is left as it is; name another folder: orch init DIR")
    durable.write_text(spec, starter_spec())
    durable.write_json(schema, json_schema())
    if as_json:
        click.echo(json.dumps({"spec": str(spec), "schema": str(schema)}))
    else:
        click.echo(f"wrote {spec} and {schema}\nnext: orch plan {spec}, then orch run {spec}")


def print_schema() -> None:
    """Print the JSON Schema of a spec."""
    from orchestrator.grids.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def print_completion(cli: click.Command, shell: str, as_json: bool) -> None:
    """Print the script that makes `shell` complete orch's words."""
    completion = get_completion_class(shell)
    assert completion is not None
    script = completion(cli, {}, "orch", "_ORCH_COMPLETE").source()
    click.echo(json.dumps({"shell": shell, "script": script}) if as_json else script)
