"""Contents of files, from the addresses that W&B's API hands out."""

from __future__ import annotations

import base64
import hashlib
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import SweepkitError, Unreachable
from .wandb_records import File

if TYPE_CHECKING:
    import requests

_PIECE = 2**20


@dataclass(frozen=True)
class Download:
    """How to get a content: the key goes to the backend only; W&B's addresses lead to other hosts and are signed."""

    session: requests.Session
    backend: str
    patience: float
    timeout: float

    def to(self, file: File, target: Path) -> None:
        """Write the content to ``target``; a download that breaks off, 429 or 5xx is begun again.

        Raises Unreachable after ``patience`` seconds of that, and SweepkitError where the MD5 is another.
        """
        import requests

        deadline, pause = time.monotonic() + self.patience, 0.1
        while True:
            try:
                md5 = self._fetch(file, target)
                break
            except requests.RequestException as error:
                status = error.response.status_code if error.response is not None else None
                known = status is not None and status != 429 and status < 500
                if known or time.monotonic() + pause > deadline:
                    why = f"HTTP {status}" if status else type(error).__name__
                    hint = "try again; a file that was deleted meanwhile is not listed then"
                    raise Unreachable(f"the file {file.name!r} cannot be got: {why}", hint) from error
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, 5.0)
        if file.md5 and md5 != file.md5:
            raise SweepkitError(f"the file {file.name!r} is damaged: its MD5 is {md5}, {file.md5} is told", "try again")

    def _fetch(self, file: File, target: Path) -> str:
        import requests

        md5 = hashlib.md5(usedforsecurity=False)
        own = urlsplit(file.url)[:2] == urlsplit(self.backend)[:2]
        get = self.session.get if own else requests.get
        with get(file.url, stream=True, timeout=self.timeout) as answer, target.open("wb") as out:
            answer.raise_for_status()
            for piece in answer.iter_content(_PIECE):
                md5.update(piece)
                out.write(piece)
        return base64.b64encode(md5.digest()).decode()
