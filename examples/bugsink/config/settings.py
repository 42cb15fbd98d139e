"""Bugsink with SQLite in /data or, where the environment names a server, with PostgreSQL. An event is digested while its sender,
who does not wait, hands it in."""

from bugsink.settings.default import *

from config.environment import read

DEBUG = False
SECRET_KEY = read("SECRET_KEY")
ALLOWED_HOSTS = read("ALLOWED_HOSTS").split(",")
INSTALLED_APPS += ["provision"]
TIME_ZONE = read("TIME_ZONE", "UTC")

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
USE_X_REAL_IP = True

if host := read("DATABASE_HOST"):
    INGEST_FOLDER = "/tmp/ingest"
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": host,
        "PORT": read("DATABASE_PORT"),
        "NAME": read("DATABASE_NAME"),
        "USER": read("DATABASE_USER"),
        "PASSWORD": read("DATABASE_PASSWORD"),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        # A transaction may be on another session than the one before.
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }
else:
    INGEST_FOLDER = "/data/ingest"
    DATABASES["default"]["NAME"] = "/data/db.sqlite3"
DATABASES["snappea"]["NAME"] = "/tmp/snappea.sqlite3"
SNAPPEA = {"TASK_ALWAYS_EAGER": True}

EMAIL_HOST = read("EMAIL_HOST")
EMAIL_HOST_USER = read("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = read("EMAIL_HOST_PASSWORD")
EMAIL_PORT = int(read("EMAIL_PORT", "587"))
EMAIL_USE_TLS = EMAIL_PORT == 587
EMAIL_TIMEOUT = 10
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend" if EMAIL_HOST else "bugsink.email_backends.QuietConsoleEmailBackend"
SERVER_EMAIL = DEFAULT_FROM_EMAIL = read("DEFAULT_FROM_EMAIL", f"bugsink@{ALLOWED_HOSTS[0]}")

BUGSINK = {
    "BASE_URL": f"https://{ALLOWED_HOSTS[0]}",
    "INGEST_STORE_BASE_DIR": INGEST_FOLDER,
    "USER_REGISTRATION": "CB_ADMINS",
    "TEAM_CREATION": "CB_ADMINS",
    "SINGLE_TEAM": True,
    # Tells its makers nothing.
    "PHONEHOME": False,
}
