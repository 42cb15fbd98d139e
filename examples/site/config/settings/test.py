"""Production's settings, with a password hash that costs nothing."""

from config.settings.production import *

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
