"""Calls a function with a module when the module is imported. Does not import it."""

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable


class Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: str, then: Callable):
        self.module, self.then = module, then

    def find_spec(self, name, path, target=None):
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            self.then(module)

        spec.loader.exec_module = exec_module
        return spec


def after_import(module: str, then: Callable) -> None:
    sys.meta_path.insert(0, Finder(module, then))
