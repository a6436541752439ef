"""The console as the chart installs it: nobody reaches it from the network, and it can do nothing by itself."""

import pytest

from .helm import HelmFailed, container, kinds, only, template

VALUES = {"console": {"enabled": True}}


def test_it_is_off_by_default() -> None:
    assert not [found for found in template() if found["metadata"]["name"].endswith("-console")]


def test_it_has_a_service_account_that_no_role_is_bound_to_and_no_token() -> None:
    objects = template(VALUES)
    account = only(objects, "ServiceAccount", "-console")
    name = account["metadata"]["name"]
    assert account["automountServiceAccountToken"] is False
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        for binding in kinds(objects, kind):
            assert name not in {subject["name"] for subject in binding["subjects"]}
    pod = only(objects, "Deployment", "-console")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == name
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountToken" not in str(pod["volumes"])


def test_it_listens_on_the_pods_loopback_and_no_service_leads_there() -> None:
    objects = template(VALUES)
    assert "--host=127.0.0.1" in container(objects, "console")["args"]
    labels = only(objects, "Deployment", "-console")["spec"]["template"]["metadata"]["labels"]
    for service in kinds(objects, "Service"):
        assert not service["spec"]["selector"].items() <= labels.items()


def test_a_prometheus_that_it_can_not_log_in_to_is_told_at_install() -> None:
    basic = {"basicAuth": {"username": "me", "secretName": "password"}}
    with pytest.raises(HelmFailed, match="bearer token only"):
        template({**VALUES, "prometheus": basic})
