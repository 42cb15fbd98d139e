import logging
import re
import time
import uuid
from contextlib import ExitStack

from django.conf import settings
from django.core.signals import request_finished
from django.db import connections, transaction
from django.dispatch import receiver
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import has_vary_header

from config.logs import request_id

logger = logging.getLogger("site.request")

# What may stand in a log line and in a header; anything else is replaced.
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestLogMiddleware:
    """Gives each request an id (the proxy's if it sent one), returns it to the client and logs one line."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        started = time.perf_counter()
        given = request.headers.get("X-Request-ID", "")
        identifier = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        request_id.set(identifier)
        response = self.get_response(request)
        response["X-Request-ID"] = identifier
        logger.log(
            # The container's own health check must not fill the log.
            logging.DEBUG if request.path.startswith("/health/") else logging.INFO,
            "%s %s",
            request.method,
            request.path,
            extra={
                "fields": {
                    "method": request.method,
                    "path": request.path,
                    "status": response.status_code,
                    "duration_ms": round((time.perf_counter() - started) * 1000, 1),
                }
            },
        )
        return response


@receiver(request_finished)
def forget_request_id(**kwargs):
    """Not earlier: Django logs a refused request after the last middleware."""
    request_id.set(None)


class ReadOwnWritesMiddleware:
    """
    For a while after a visitor's write, all that he reads comes from the primary, whichever host answers.

    The pooler that took the write sends the next reads home by itself; another host's knows nothing of it. What runs in
    a transaction is read at home. Outermost of all that asks the database, the session included.
    """

    # No replica that is further behind gets reads: the pooler's routing_max_lag, and until it notices.
    seconds = 15

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        with ExitStack() as stack:
            for alias in connections if "wrote" in request.COOKIES else ():
                stack.enter_context(transaction.atomic(using=alias))
            response = self.get_response(request)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            response.set_cookie(
                "wrote", "1", max_age=self.seconds, secure=settings.SESSION_COOKIE_SECURE, httponly=True, samesite="Lax"
            )
        return response


class PrivateGZipMiddleware(GZipMiddleware):
    """
    Compresses, with Django's random padding, the pages whose size could betray a secret (BREACH).

    A secret can only be in a page that depends on the visitor's cookies: a CSRF token, a session's data. Django marks
    each of those with `Vary: Cookie`. Every other page is left for the proxy, which compresses it more cheaply.
    A proxy does not compress what already names an encoding, so a private page always names one, even where the
    client takes no gzip.
    """

    def process_response(self, request, response):
        if not has_vary_header(response, "Cookie"):
            return response
        response = super().process_response(request, response)
        response.headers.setdefault("Content-Encoding", "identity")
        return response
