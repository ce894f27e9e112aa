"""What the tests of the command line's tools stand on."""

import os
import sys
from pathlib import Path

import pytest

from starlings.app.directory import DataDirectory
from starlings.app.first_start import ensure_credentials
from starlings.cli import main
from starlings.core.limits import OFF
from starlings.node.clock import SYSTEM_SOURCES
from starlings.settings import Settings
from starlings.storage.sqlite.store import SqliteStore
from tests.ops.in_process import Ended, Run


@pytest.fixture
def starlings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command in this process: starting one takes half a second."""

    def run(*arguments: str | Path, **environment: str) -> Ended:
        with monkeypatch.context() as patch:
            for name in os.environ:
                if name.startswith("STARLINGS_"):
                    patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["starlings", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, printed.out, printed.err)

    return run


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """What a first start leaves."""
    directory = DataDirectory(tmp_path / "data")
    directory.make()
    await (await SqliteStore.open(directory.path, OFF, SYSTEM_SOURCES.now)).close()
    sealer = directory.open_sealer(None, may_make_key=True)
    store = directory.open_credentials()
    ensure_credentials(directory, store, sealer, Settings(), SYSTEM_SOURCES.now())
    store.close()
    return directory.path
