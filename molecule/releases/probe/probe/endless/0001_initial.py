from importlib import import_module

Migration = import_module("probe.first.0001_initial").Migration
