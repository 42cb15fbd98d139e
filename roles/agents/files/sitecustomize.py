"""Python runs this at the start of each process, because the folder is on PYTHONPATH. It waits for Django to be started, and wakes
the agents before: once in each worker, after it was forked, and in no process that does nothing for the site."""

import importlib
import importlib.util
import os
import sys
from importlib.machinery import PathFinder

# What a server's worker and a management command import first. Other parts of Django may be imported long before, by a server's
# master process too, and most of them are to be imported after the agents.
ENTRANCES = {"django.core.asgi", "django.core.management", "django.core.wsgi"}
# Not by the link that led here: a process stays with the folder that it was started from.
HERE = os.path.dirname(os.path.realpath(__file__))


class Waker:
    """Stands first among those who are asked for a module, and finds none: it only hears what is asked for."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in ENTRANCES and cls in sys.meta_path:
            sys.meta_path.remove(cls)
            wake()


def wake():
    """No failure of an agent is the application's."""
    try:
        sys.path.append(HERE)
        importlib.import_module("fairlead_agents").wake()
    except Exception as error:
        print(f"agents: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


sys.meta_path.insert(0, Waker)

# The image's own, which this one stands before.
sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != HERE]
own = PathFinder.find_spec("sitecustomize", sys.path)
if own is not None and own.loader is not None:
    own.loader.exec_module(importlib.util.module_from_spec(own))
