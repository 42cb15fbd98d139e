import os

from config.settings.production import *
from config.settings.production import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "probe"]
ROOT_URLCONF = "probe.urls"
MIGRATION_MODULES = {"probe": "probe." + os.environ.get("PROBE_MIGRATIONS", "first")}
