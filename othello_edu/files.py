"""Writing files so that a reader never meets half of one, and folders that one run at a time writes to."""

import json
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from .errors import OthelloEduError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # what is not there is None

FilePath = str | os.PathLike[str]

LOCK = "lock.json"
_TEMPORARY = re.compile(r"\.(.*)\.[0-9a-f]{8}\.tmp", re.DOTALL)
_KEPT_OF_A_NAME = 100  # bytes: a temporary name is longer than its file's, and 255 bytes are the most


@contextmanager
def atomic_write(path: FilePath, mode: str = "wb") -> Iterator[IO]:
    """Open a file that takes the name `path` only once everything in it has reached the disk.

    If the block raises or the machine stops, `path` still holds what it held before. A symbolic link keeps
    pointing at the file that is replaced; what is no regular file (a pipe, /dev/null) is written to, not
    replaced.

    Args:
        path: the name that the file will have.
        mode: "wb", or "w" (UTF-8, lines end in `\\n`).

    Yields:
        The file, open for writing.

    Raises:
        OSError: where the folder cannot be written.
    """
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    if not _is_file_or_nothing(path):
        with open(path, mode, **text) as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    # In the same folder: os.replace is atomic only within one file system.
    temporary = path.with_name(f".{_shortened(path.name)}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, mode.replace("w", "x"), **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _is_file_or_nothing(path: FilePath) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def _shortened(name: str) -> str:
    return os.fsencode(name)[:_KEPT_OF_A_NAME].decode(errors="ignore")


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where a folder can be opened (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_temporaries(folder: Path, *names: str) -> None:
    """Remove what killed runs have left half-written in a folder.

    Only while nobody writes there: in a folder that is `locked`.

    Args:
        folder: may be missing.
        *names: of the files whose leavings are removed; without any, those of all files.
    """
    prefixes = {_shortened(name) for name in names}
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _TEMPORARY.fullmatch(path.name)
        if match and (not names or match[1] in prefixes):
            path.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """What a JSON file, `path`, holds.

    Raises:
        OSError: where it cannot be read.
        ValueError: whatever else is wrong with it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def make_folder(folder: FilePath, *names: str) -> Path:
    """Make a folder, and try whether files of these names can be written there: before long work, not after.

    Args:
        folder: made with those above it, if it is not there.
        *names: of files that will be written into it.

    Returns:
        The folder.

    Raises:
        OthelloEduError: for an empty name, which would be the current folder.
        OSError: where no folder can be made, or no such file be written there.
    """
    if not os.fspath(folder):
        raise OthelloEduError("the folder to write to has an empty name; the current one is called .")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (folder / name).is_dir():
            raise IsADirectoryError(f"{folder / name} is a folder, where a file is to be written")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"?")
    except OSError as error:
        raise OSError(error.errno, f"no file can be written there: {error.strerror}", str(folder)) from error
    return folder


# One run at a time ----------------------------------------------------------------------------------------


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this run: a file in it says by whom, and is gone afterwards.

    The lock of a process of this machine that is dead is taken over. Where the system locks files, it
    knows which are; elsewhere the process is looked for by its number.

    Args:
        folder: must be there.

    Raises:
        OthelloEduError: says who holds the folder.
        OSError: where the file cannot be written.
    """
    path = folder / LOCK
    descriptor = _take(path)
    try:
        yield
    finally:
        if fcntl is None:  # Windows deletes no file that is open; elsewhere the name goes before the lock
            os.close(descriptor)
        with suppress(OSError):
            if fcntl is None or _is_named(path, descriptor):  # or else it was deleted, and is another's now
                path.unlink()
        if fcntl is not None:
            os.close(descriptor)


def _take(path: Path) -> int:
    """The lock file, open, once it is ours."""
    while True:
        try:
            descriptor, new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            try:
                descriptor, new = os.open(path, os.O_RDWR), False
            except FileNotFoundError:  # its holder has just gone
                continue
        try:
            holder, got = _holder(descriptor), _system_lock(descriptor)
            free = got if got is not None else new or not _lives(holder)
            if not free or holder.get("host") not in (None, socket.gethostname()):
                raise OthelloEduError(_in_use(path, holder))
            if (got or new) and _is_named(path, descriptor):
                about = {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": datetime.now().astimezone().isoformat(timespec="seconds"),
                }
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, json.dumps(about).encode() + b"\n")
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if got is None and not new:  # of several that find it dead, the one goes on that makes it anew
            try:
                path.unlink(missing_ok=True)
            except PermissionError as error:  # Windows: a process holds it open
                raise OthelloEduError(_in_use(path, holder)) from error


def _system_lock(descriptor: int) -> bool | None:
    """Whether the system gave us the lock, which ends with the process; None where it has none to give."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network folder without locks
        return None
    return True


def _holder(descriptor: int) -> dict:
    """What a lock file says; {} where it says nothing, as before its holder has written to it."""
    try:
        about = json.loads(os.read(descriptor, 1000))
        return {"pid": int(about["pid"]), "host": str(about["host"]), "since": str(about["since"])}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def _lives(holder: dict) -> bool:
    """Whether a process of this machine may be alive; one that has not said who it is may."""
    if os.name == "nt":
        return False  # to ask would be to end it; `_take` finds out when it deletes the file
    try:
        os.kill(holder["pid"], 0)
    except (ProcessLookupError, OverflowError):
        return False
    except (KeyError, PermissionError):
        return True
    return True


def _is_named(path: Path, descriptor: int) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _in_use(path: Path, holder: dict) -> str:
    who = "process {pid} on {host}, since {since}".format(**holder) if holder else "a process"
    return (
        f"another run writes to {path.parent}: {who}. Wait for it or choose another folder; if that process "
        f"is gone, delete {path}"
    )
