"""An S3 server on loopback, and a results root on it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from orchestrator.places import results_root

BUCKET = "bucket"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """The environment in which S3 clients, also those of other processes, reach a new server with one bucket."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        import botocore.session
        from s3fs import S3FileSystem

        S3FileSystem.clear_instance_cache()  # else a client of an earlier server is taken again

        client = botocore.session.Session().create_client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield environment
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        server.stop()


def new_root() -> Path:
    """A results root of its own on the server."""
    return results_root(f"s3://{BUCKET}/{uuid4().hex}")
