"""Token authentication of Ray: nobody else on this machine or network may run code in a cluster of ours.

Ray takes the token from RAY_AUTH_TOKEN, from the file that RAY_AUTH_TOKEN_PATH names, or from ~/.ray/auth_token. That
last file Ray makes readable for everyone; here it is made before Ray does, for its owner alone. A token is never shown.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import ClusterError
from orchestrator.tuning.ray_environment import AuthenticationTokenLoader, Config, GcsClient, ray

MODE = "RAY_AUTH_MODE"
OWNER_ONLY = 0o600
SECONDS_TO_ANSWER = 10


def default_token_file() -> Path:
    return Path.home() / ".ray" / "auth_token"


def use_token(*, is_on: bool) -> None:
    """Let this process, and those it starts, show the token, or none."""
    os.environ[MODE] = "token" if is_on else "disabled"
    Config.initialize("")  # Ray keeps the mode it read first
    AuthenticationTokenLoader.instance().reset_cache()


def protect_token() -> None:
    """Make the token file readable for its owner alone.

    Raises:
        ClusterError: the file's mode cannot be changed.
    """
    path = default_token_file()
    try:
        if path.exists() and path.stat().st_mode & 0o777 != OWNER_ONLY:
            path.chmod(OWNER_ONLY)
    except OSError as error:
        raise ClusterError(
            f"Ray's token file {path} is readable for others, and its mode cannot be changed ({error}); "
            f"run `chmod 600 {path}`, or name another file in RAY_AUTH_TOKEN_PATH"
        ) from error


def has_token() -> bool:
    """Whether the environment or a file gives one."""
    return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))


def ensure_token() -> None:
    """Make a token where there is none, for a cluster that starts on this machine.

    Raises:
        ClusterError: the file cannot be written.
    """
    protect_token()
    if has_token():
        return
    path = default_token_file()
    draft = path.with_name(f".auth_token-{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "w") as stream:
            stream.write(secrets.token_hex(32))
        if path.exists() and not path.read_text().strip():
            path.unlink()  # an empty one is none
        _take_place(draft, path)
    except OSError as error:
        raise ClusterError(
            f"Ray's token file {path} cannot be written ({error}); name a writable one in RAY_AUTH_TOKEN_PATH"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    AuthenticationTokenLoader.instance().reset_cache()


def _take_place(draft: Path, path: Path) -> None:
    with contextlib.suppress(FileExistsError):  # another run was faster, and its token is as good
        os.link(draft, path)


def asks_for_token(address: str) -> bool:
    """Whether the cluster at HOST:PORT refuses who shows no token. Shows none, so an impostor learns none.

    Raises:
        ClusterError: what listens there is no Ray cluster.
    """
    use_token(is_on=False)
    try:
        return refuses(address)
    finally:
        use_token(is_on=True)


def refuses(address: str) -> bool:
    """Whether the cluster at HOST:PORT refuses what this process shows now, a token or none.

    Raises:
        ClusterError: what listens there is no Ray cluster.
    """
    try:
        with _native_words_unsaid():
            client = GcsClient(address=address)
            client.internal_kv_keys(b"", namespace=None, timeout=SECONDS_TO_ANSWER)
    except Exception as error:
        if is_refusal(error):
            return True
        raise ClusterError(f"no Ray cluster of this version answers at {address}: {error}") from error
    return False


@contextlib.contextmanager
def _native_words_unsaid() -> Iterator[None]:
    """Ray's native code warns on the terminal of a refusal, which is the answer that is hoped for here."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def is_refusal(error: Exception) -> bool:
    """Whether Ray refused a missing or wrong token."""
    return isinstance(error, ray.exceptions.AuthenticationError) or "nauthenticated" in str(error)


def check_secured(address: str, *, is_insecure: bool) -> None:
    """Refuse a cluster in which anyone on its network may run code, unless that is meant.

    Raises:
        ClusterError: naming what to do on the cluster's side or here.
    """
    if not asks_for_token(address):
        if not is_insecure:
            raise ClusterError(
                f"the Ray cluster at {address} asks for no token, so whoever reaches it runs code as its user and "
                "reads what trials read; start its nodes with RAY_AUTH_MODE set to token, and one token on all of them "
                "(`ray get-auth-token --generate` makes it), or pass --insecure on a network that you trust"
            )
        use_token(is_on=False)
    elif not has_token():
        raise ClusterError(
            f"the Ray cluster at {address} asks for a token and there is none here; "
            f"put the token of its nodes into {default_token_file()} (mode 600) or name its file in RAY_AUTH_TOKEN_PATH"
        )
    elif refuses(address):  # Ray itself would try for 20 s and say that it cannot connect
        raise ClusterError(
            f"the Ray cluster at {address} refuses the token shown here; put the token of its nodes into "
            f"{default_token_file()} (mode 600), or name its file in RAY_AUTH_TOKEN_PATH"
        )
    protect_token()
