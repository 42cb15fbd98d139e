from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.core.cache import cache
from django.urls import include, path
from django_query_profiler.chrome_plugin_helpers import redis_utils

from config.urls import urlpatterns


class CacheStore:
    """Keeps the query profiler's details in Django's cache, so that they need no Redis server."""

    def set(self, name, value, ex):
        cache.set(name, value, ex)

    def get(self, name):
        return cache.get(name)


redis_utils.REDIS_INSTANCE = CacheStore()

urlpatterns = [
    path("silk/", include("silk.urls", namespace="silk")),
    path("query-profile/", include("django_query_profiler.client.urls")),
    *urlpatterns,
    # As they are in the source, whatever server runs.
    *staticfiles_urlpatterns(),
]
