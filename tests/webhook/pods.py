"""Pods as people write them, and JSON patches applied as the API server does."""

import copy
from collections.abc import Iterable
from typing import Any

Pod = dict[str, Any]


def pod(**spec: Any) -> Pod:
    """One container, and the label that asks for a sidecar; `annotations` go to the metadata."""
    annotations = spec.pop("annotations", {})
    model = {"name": "model", "image": "model:1"} | spec.pop("model", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"dormouse.dev/inject": "true"}, "annotations": annotations},
        "spec": {"containers": [model]} | spec,
    }


def patched(body: Pod, patch: Iterable[dict[str, Any]]) -> Pod:
    """RFC 6902, of which we use `add` alone."""
    result = copy.deepcopy(body)
    for step in patch:
        assert step["op"] == "add"
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        place: Any = result
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        value = copy.deepcopy(step["value"])
        if isinstance(place, list):
            place.insert(len(place) if last == "-" else int(last), value)
        else:
            place[last] = value
    return result
