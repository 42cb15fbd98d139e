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


def unhealthy(request):
    return HttpResponse("never", status=503)


urlpatterns = [path("probe/visit", visit), path("probe/slow", slow), *site]
if os.environ.get("PROBE_UNHEALTHY"):
    urlpatterns.insert(0, path("health/ready", unhealthy))
