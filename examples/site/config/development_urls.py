from django.urls import include, path

from config.urls import urlpatterns

urlpatterns = [
    path("silk/", include("silk.urls", namespace="silk")),
    path("query-profile/", include("django_query_profiler.client.urls")),
    *urlpatterns,
]
