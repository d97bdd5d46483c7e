"""wandb for the length of one call: its environment, its settings, and nothing left behind outside the run's folder."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import wandb

ACCESS = (
    "WANDB_API_KEY",
    "WANDB_APP_URL",
    "WANDB_BASE_URL",
    "WANDB_CONFIG_DIR",
    "WANDB_CREDENTIALS_FILE",
    "WANDB_ERROR_REPORTING",
    "WANDB_HTTPS_PROXY",
    "WANDB_HTTP_PROXY",
    "WANDB_HTTP_TIMEOUT",
    "WANDB_IDENTITY_TOKEN_FILE",
    "WANDB_INSECURE_DISABLE_SSL",
    "WANDB_X_EXTRA_HTTP_HEADERS",
)
"""The user's variables that count: where the server is, who asks, and whether errors are reported to a third party."""

INIT_TIMEOUT = 10.0
"""Seconds to wait for the server before the run is written offline."""


@contextmanager
def session() -> Iterator[None]:
    """Start wandb anew in a clean environment; afterwards its service is stopped and the environment as it was.

    wandb reads its variables once a process, and takes some from nowhere else. So for the length of the block those
    that would change the run (WANDB_MODE, WANDB_PROJECT, WANDB_TAGS, ...) are gone, and only `ACCESS` is left. The
    cache, where wandb would keep a second copy of every artifact and its logs, is thrown away.
    """
    before = dict(os.environ)
    try:
        with tempfile.TemporaryDirectory(prefix="reprolens-wandb-") as scratch:
            for name in [name for name in os.environ if name.startswith("WANDB_") and name not in ACCESS]:
                del os.environ[name]
            os.environ |= {"WANDB_CACHE_DIR": scratch, "WANDB_DATA_DIR": scratch, "WANDB_SILENT": "true"}
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            _teardown()
            try:
                yield
            finally:
                _teardown()
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ |= before


def stage_artifacts_in(run: "wandb.Run") -> Path:
    """Let the run's artifacts be copied into its own folder, which is returned, so that the folder is complete."""
    folder = Path(run.dir).parent
    os.environ["WANDB_DATA_DIR"] = str(folder)
    return folder


def settings(timeout: float, watched: int | None = None) -> "wandb.Settings":
    """Return settings that write what we log and nothing else: no output, code, packages or host.

    `timeout` is how many seconds to wait at the end for uploads, `watched` a process whose load is shown.
    """
    import wandb

    return wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        finish_timeout=timeout,
        finish_timeout_raises=True,
        host="",
        init_timeout=INIT_TIMEOUT,
        reinit="finish_previous",
        save_code=False,
        silent=True,
        symlink=False,
        use_dot_wandb=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=watched is None,
        x_save_requirements=False,
        x_stats_pid=watched or os.getpid(),
    )


def _teardown() -> None:
    if "wandb" in sys.modules:
        import wandb

        wandb.teardown()
