"""The ManagedModel CRD of this checkout, applied and ready for use."""

from __future__ import annotations

from pathlib import Path

from localcluster.controlplane import ControlPlane

CRD_FILE = Path(__file__).parent.parent / "crds" / "managedmodel.yaml"
CRD_NAME = "managedmodels.dormouse.dev"


def apply_crd(control_plane: ControlPlane, file: Path = CRD_FILE, name: str = CRD_NAME) -> None:
    """Apply the CRD as a user would and return when its objects can be created and listed."""
    control_plane.kubectl("apply", "--filename", str(file))
    control_plane.api.wait_for_crd(name)
