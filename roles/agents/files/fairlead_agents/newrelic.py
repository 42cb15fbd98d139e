"""New Relic's agent, by its own NEW_RELIC_* variables, and with the licence key from a file."""

import os
import sys
import time
from threading import Thread

from fairlead_agents import lent, value


def start():
    key = value("NEW_RELIC_LICENSE_KEY")
    if not key:
        return
    os.environ["NEW_RELIC_METADATA_RELEASE_TAG"] = os.environ.get("RELEASE", "")
    os.environ["NEW_RELIC_PROCESS_HOST_DISPLAY_NAME"] = value("NEW_RELIC_PROCESS_HOST_DISPLAY_NAME")
    # The agent reads its key as it is imported, and never again.
    with lent(NEW_RELIC_LICENSE_KEY=key):
        import newrelic.agent

        newrelic.agent.initialize()
    Thread(target=tell, args=[newrelic.agent.application()], daemon=True).start()


def tell(application):
    """The agent registers with a worker's first request, and says nothing of it. A deployment looks for this line."""
    while not application.active:
        time.sleep(1)
    print(f"agents: newrelic has registered as {application.name}", file=sys.stderr, flush=True)
