"""Behind a proxy that ends TLS. DEBUG is a constant here: no environment can turn it on."""

from config.errors import report_errors
from config.settings.base import *

DEBUG = False

# Only the proxy reaches the server's socket, and it always sets this header itself.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
# A health check asks the server directly, without the proxy's headers.
SECURE_REDIRECT_EXEMPT = [r"^health/"]
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True

report_errors(ENVIRONMENT, RELEASE)
