"""JupyterHub for a class on one machine: local users, one server each. docs/teaching.md says how to begin.

    ZTH_CLASS=class1 ZTH_EXCHANGE=/srv/exchange jupyterhub -f tools/class_hub/jupyterhub_config.py

Students log in with their account on the machine (PAM) and work as that user (LocalProcessSpawner), so that
none can read what is another's. It listens on this machine only: put a web server with TLS before it.
ZTH_GROUPS=students lets in the members of that group alone.
"""

import os
import sys
from pathlib import Path

c = get_config()  # type: ignore[name-defined]  # noqa: F821
here = Path(__file__).resolve().parent
c.JupyterHub.bind_url = os.environ.get("ZTH_HUB", "http://127.0.0.1:8000")
c.JupyterHub.authenticator_class = "pam"
c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"
c.Authenticator.allow_all = True  # every account of the machine
c.LocalAuthenticator.allowed_groups = set(filter(None, os.environ.get("ZTH_GROUPS", "").split(",")))
if c.LocalAuthenticator.allowed_groups:
    c.Authenticator.allow_all = False
c.PAMAuthenticator.open_sessions = False
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.default_url = "/lab"
c.Spawner.start_timeout = 180
c.Spawner.http_timeout = 180
c.Spawner.environment = {
    "JUPYTER_CONFIG_PATH": str(here),  # nbgrader_config.py beside this file
    "ZTH_CLASS": os.environ["ZTH_CLASS"],
    "ZTH_EXCHANGE": os.environ["ZTH_EXCHANGE"],
    "ZTH_NAMES": "shipped",
    "OMP_NUM_THREADS": "1",  # a hundred students share the processors
}
