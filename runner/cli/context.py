"""
What a person's commands remember from one to the next: the active transaction of each store.

It stands in a file of the person, not in the store, because it is theirs: others who use the same
store go on as usual.  PFS_CONFIG names the file; without it, `pfs/config.json` in the folder of
XDG_CONFIG_HOME, which is ~/.config unless set.  The environment is read here and nowhere else.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pfsfuse.errors import InvalidNameError
from pfsfuse.ids import CommitId, is_commit_id, parse_commit_id

CONFIG_VARIABLE = "PFS_CONFIG"


class Context(msgspec.Struct, omit_defaults=True):
    """What is remembered for one store."""

    active_transaction: str = ""


class Config(msgspec.Struct, omit_defaults=True):
    """The whole file."""

    contexts: dict[str, Context] = {}
    """By the folder of the store."""


def config_path() -> Path:
    """Return the file, which may not exist."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "pfs/config.json"


def active_transaction(root: Path) -> CommitId | None:
    """Return the transaction that commands on the store at *root* are part of, or None."""
    found = _read().contexts.get(os.fspath(root), Context()).active_transaction
    return parse_commit_id(found) if is_commit_id(found) else None


def set_active_transaction(root: Path, transaction_id: CommitId | None) -> None:
    """Have the commands on a store be part of a transaction, or of none."""
    config = _read()
    if transaction_id is None:
        config.contexts.pop(os.fspath(root), None)
    else:
        config.contexts[os.fspath(root)] = Context(transaction_id.hex())
    _write(config)


def _read() -> Config:
    path = config_path()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Config)
    except FileNotFoundError:
        return Config()
    except msgspec.DecodeError as error:
        raise InvalidNameError(f"{path} cannot be read: {error}; mend or remove it") from error


def _write(config: Config) -> None:
    path = config_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(config)) + b"\n")
    draft.replace(path)
