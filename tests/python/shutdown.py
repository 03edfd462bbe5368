"""Asks the node to end, as `celery control shutdown` does."""

import json

from checks_control import NODE
from fleet_app import app

app.control.shutdown(destination=[NODE])
print(json.dumps(True))
