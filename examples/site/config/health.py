import logging

from django.db import DatabaseError, connections
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

logger = logging.getLogger("site.health")


@never_cache
@require_safe
def live(request):
    """The process answers. Touches nothing else, so that a database's failure never restarts a container."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def ready(request):
    """Every configured database answers. Says which one does not; why is in the log."""
    databases = {alias: "ok" if answers(alias) else "failed" for alias in connections}
    ok = all(state == "ok" for state in databases.values())
    return JsonResponse(
        {"status": "ok" if ok else "failed", "databases": databases},
        status=200 if ok else 503,
    )


def answers(alias):
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.warning("Database %s does not answer: %s", alias, error)
        return False
    return True


urlpatterns = [path("live", live, name="live"), path("ready", ready, name="ready")]
