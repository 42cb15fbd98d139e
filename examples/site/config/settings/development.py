"""Production's apps and database, plain HTTP, and the tools that look inside a request."""

from django_query_profiler.settings import *

from config.settings.base import *

DEBUG = True

# The server starts again for changed code, but not for a changed template: none is kept.
TEMPLATES[0] |= {"APP_DIRS": False}
TEMPLATES[0]["OPTIONS"]["loaders"] = [
    "django.template.loaders.filesystem.Loader",
    "django.template.loaders.app_directories.Loader",
]

INSTALLED_APPS += ["django_extensions", "django_query_profiler", "silk"]
MIDDLEWARE += [
    "silk.middleware.SilkyMiddleware",
    # Inside silk's, so that it counts the site's queries only.
    "django_query_profiler.client.middleware.QueryProfilerMiddleware",
]
ROOT_URLCONF = "config.development_urls"

for options in DATABASES.values():
    options["ENGINE"] = "django_query_profiler.django.db.backends.postgresql"

# silk's pages have inline scripts, so a violation is reported and not stopped.
SECURE_CSP_REPORT_ONLY = SECURE_CSP
SECURE_CSP = {}
