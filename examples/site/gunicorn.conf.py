"""What holds however the server is started; sockets, workers and threads come from the command line."""

from config.environment import read
from config.logs import logging_config

logconfig_dict = logging_config(
    level=read("LOG_LEVEL", "INFO"),
    environment=read("ENVIRONMENT", "production"),
    release=read("RELEASE", ""),
)
