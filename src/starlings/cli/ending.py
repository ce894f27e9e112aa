"""How a command ends: its exit status, and one line on stderr when it can't do its work.

0 is done and 1 is damage that ``check`` found. Whatever else goes wrong must not look like one of
these, so nothing that is raised is left to the interpreter, whose status for it is 1.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TextIO

from cyclopts import CycloptsError, UnusedCliTokensError

from starlings.app import OperatorError
from starlings.settings import SettingsError

__all__ = ["CANNOT", "DEFECT", "run_to_end"]

CANNOT = 2
"""Exit status when a command can't do its work, for a reason that an operator can mend."""
DEFECT = 70
"""Exit status after a failure that nobody foresaw; ``EX_SOFTWARE`` of sysexits.h."""
_INTERRUPTED = 130
_OUTPUT_ERRORS = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""What writing stdout fails with. Files have names, and what fails on them is told where it is
known what they are for."""


def run_to_end(run: Callable[[Sequence[str]], object], arguments: Sequence[str]) -> int:
    """Run a command and say on stderr what it could not do; the exit status."""
    _prepare_streams()
    try:
        _check_encoding(arguments)
        status = run(arguments)
        sys.stdout.flush()
    except (OperatorError, SettingsError) as error:
        return _refuse(str(error))
    except CycloptsError as error:
        return _refuse(_format(error))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        if error.filename is not None:
            return _refuse(f"{error.filename}: {error.strerror}")
        if error.errno not in _OUTPUT_ERRORS:
            return _report()
        _give_up(sys.stdout)
        # A broken pipe: whoever read the answer has seen enough.
        is_told = isinstance(error, BrokenPipeError)
        return CANNOT if is_told else _refuse(f"The answer can't be written: {error.strerror}")
    except SystemExit:
        return CANNOT  # rich, when nobody reads a page of help to its end
    except Exception:
        return _report()
    return status if isinstance(status, int) else 0


def _check_encoding(arguments: Sequence[str]) -> None:
    """Raises OperatorError for an argument that could be stored nowhere and be part of no token."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise OperatorError(f"{os.fsencode(argument)!r} isn't UTF-8") from error


def _prepare_streams() -> None:
    """Standard streams that can be written, whatever they are and whatever is written.

    Where one was closed /dev/null takes its place, or the database would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                stream = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
                setattr(sys, name, os.fdopen(stream, "r" if number == 0 else "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that can't show a name shows its code rather than nothing at all.
        sys.stdout.reconfigure(errors="backslashreplace")


def _give_up(stream: TextIO) -> None:
    """Drop what a stream still holds, or the interpreter would try to write it at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _format(error: CycloptsError) -> str:
    """What is wrong with the arguments, in one line."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"Unknown argument: {error.unused_tokens[0]}"
    sentence = " ".join(str(error).split())
    return sentence if sentence.endswith("...") else sentence.removesuffix(".")


def _refuse(sentence: str) -> int:
    _tell(f"starlings: {sentence}\n")
    return CANNOT


def _report() -> int:
    """Print the traceback of what was raised: a report of the defect needs it."""
    _tell(traceback.format_exc())
    return DEFECT


def _tell(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _give_up(sys.stderr)
