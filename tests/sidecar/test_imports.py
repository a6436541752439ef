"""The sidecar's image has neither torch nor the model server nor kopf."""

import pkgutil
import subprocess
import sys

import dormouse_sidecar

_CHECK = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
unwanted = {"torch", "dormouse_modelserver", "dormouse_operator", "kopf", "kubernetes", "fastapi", "uvicorn"}
print(sorted(unwanted & set(sys.modules)))
"""


def test_no_module_imports_what_the_image_does_not_have() -> None:
    modules = [f"dormouse_sidecar.{module.name}" for module in pkgutil.iter_modules(dormouse_sidecar.__path__)]
    assert len(modules) > 10
    loaded = subprocess.run(
        [sys.executable, "-c", _CHECK, *modules], capture_output=True, text=True, timeout=60, check=True
    )
    assert loaded.stdout.strip() == "[]"
