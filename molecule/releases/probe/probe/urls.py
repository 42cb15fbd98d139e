import os
import signal
import threading
import time

from config.urls import urlpatterns as site
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from probe.models import Visit

if seconds := os.environ.get("PROBE_CRASH_SECONDS"):
    # The server, not only this worker.
    threading.Timer(float(seconds), os.kill, (os.getppid(), signal.SIGKILL)).start()


@csrf_exempt
def visit(request):
    Visit.objects.create(token=request.headers["X-Request-ID"])
    return HttpResponse("counted")


def slow(request):
    time.sleep(10)
    return HttpResponse("at last")


def late(request):
    time.sleep(float(os.environ["PROBE_PAGE_SECONDS"]))
    return HttpResponse("late")


def stay(request):
    """As little of a websocket as shows whether the connection is held: WSGI has none, but this server hands its socket over."""
    connection = request.environ["gunicorn.socket"]
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    while True:
        connection.sendall(b".")
        time.sleep(1)


def broken(request):
    return HttpResponse("broken", status=500)


def unhealthy(request):
    return HttpResponse("never", status=503)


urlpatterns = [path("probe/visit", visit), path("probe/slow", slow), path("probe/socket", stay), *site]
if os.environ.get("PROBE_PAGE_SECONDS"):
    urlpatterns.insert(0, path("", late))
if os.environ.get("PROBE_BROKEN"):
    urlpatterns.insert(0, path("", broken))
if os.environ.get("PROBE_UNHEALTHY"):
    urlpatterns.insert(0, path("health/ready", unhealthy))
