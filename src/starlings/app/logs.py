"""Log lines on stderr: for people on a terminal, one JSON object a line for machines.

Our messages are a fixed sentence followed by ``key=value``, in both forms alike. Lines of uvicorn
and asyncio take the same way; nothing but the command line's own answer is written on stdout.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Literal, TextIO

from rich.console import Console
from rich.highlighter import RegexHighlighter
from rich.logging import RichHandler

__all__ = ["JsonFormatter", "configure_logging"]

# uvicorn tells at INFO what we tell ourselves: that it starts and stops. httpx tells the whole URL
# of each request, and webhooks' may hold passwords; httpcore tells the headers of answers.
_QUIETER = {
    "uvicorn": logging.WARNING,
    "asyncio": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
}


def configure_logging(
    form: Literal["auto", "human", "json"], level: str, stream: TextIO | None = None
) -> None:
    """Send all log lines to ``stream`` (None: stderr); replaces what was configured before.

    Args:
        form: ``auto`` is human on a terminal and json elsewhere.
        level: The name of a level, in either case.
    """
    stream = sys.stderr if stream is None else stream
    is_terminal = stream.isatty()
    handler: logging.Handler
    if form == "json" or (form == "auto" and not is_terminal):
        handler = logging.StreamHandler(stream)
        handler.setFormatter(JsonFormatter())
    elif is_terminal:
        handler = RichHandler(
            console=Console(file=stream, soft_wrap=True),
            show_path=False,
            highlighter=_KeyValueHighlighter(),
            log_time_format="%X",
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in _QUIETER.items():
        logging.getLogger(name).setLevel(max(least, root.level))


class JsonFormatter(logging.Formatter):
    """One line, one object: ``time`` (UTC), ``level``, ``logger``, ``message``, and ``exception``
    if there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _KeyValueHighlighter(RegexHighlighter):
    base_style = "repr."
    highlights = [r"(?P<attrib_name>\w+)(?P<attrib_equal>=)(?P<attrib_value>\S+)"]  # noqa: RUF012
