"""Python runs this at the start of each process, because the folder is on PYTHONPATH. It waits for Django to be set up, and wakes
the agents then: once in each worker, after it was forked, and in no process that does nothing for the site."""

import importlib
import importlib.util
import os
import sys
from importlib.machinery import PathFinder

# What django.setup() imports first. Server and settings may import other parts of Django long before.
AWAITED = "django.apps"
# Not by the link that led here: a process stays with the folder that it was started from.
HERE = os.path.dirname(os.path.realpath(__file__))


class Waker:
    """Finds the awaited module as Python would, and has the agents woken once it is there."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != AWAITED or cls not in sys.meta_path:
            return None
        sys.meta_path.remove(cls)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                wake()

            spec.loader.exec_module = exec_module
        return spec


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
