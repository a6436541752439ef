"""What is wrong is refused before anything is installed, with a sentence that names the value and helps."""

from typing import Any

import pytest

from .helm import HelmFailed, template

SHA = "sha256:" + "0" * 64


def wrong(identifier: str, values: dict[str, Any], *said: str) -> Any:
    return pytest.param(values, said, id=identifier)


WRONG = [
    wrong("unknown key", {"replica": 3}, "additional properties 'replica' not allowed"),
    wrong("unknown key below", {"webhook": {"enable": True}}, "/webhook", "'enable' not allowed"),
    wrong("unknown key of an image", {"image": {"name": "x"}}, "/image", "'name' not allowed"),
    wrong("text for a number", {"replicas": "two"}, "/replicas", "want integer"),
    wrong("text for yes or no", {"crds": {"install": "yes"}}, "/crds/install", "want boolean"),
    wrong("a number for a tag", {"image": {"tag": 1.2}}, "/image/tag", "want string"),
    wrong("too many replicas", {"replicas": 50}, "/replicas", "maximum: got 50, want 10"),
    wrong("no log level", {"logLevel": "verbose"}, "/logLevel", "'debug', 'info', 'warning', 'error'"),
    wrong("no failure policy", {"webhook": {"failurePolicy": "Maybe"}}, "/webhook/failurePolicy", "'Ignore', 'Fail'"),
    wrong("no interval", {"prometheus": {"scrapeIntervalSeconds": 0}}, "/scrapeIntervalSeconds", "want 0.1"),
    wrong("a unit in a number", {"tickSeconds": "15s"}, "/tickSeconds", "want number"),
    wrong("no port", {"sidecar": {"controlPort": 70000}}, "/sidecar/controlPort", "want 65,535"),
    wrong("a list as text", {"watch": {"namespaces": "a,b"}}, "/watch/namespaces", "want array"),
    wrong("a pattern for namespaces", {"watch": {"namespaces": ["team-*"]}}, '"team-*"', "patterns are not known"),
    wrong("no scheme", {"prometheus": {"url": "prom:9090"}}, "prometheus.url", "http://prometheus.monitoring:9090"),
    wrong("the path of the API", {"prometheus": {"url": "http://p/api/v1"}}, "leave /api/v1 out"),
    wrong("a password in the URL", {"prometheus": {"url": "http://a:b@p"}}, "into a Secret"),
    wrong("a token as a header", {"prometheus": {"headers": {"Authorization": "x"}}}, "bearerToken.secretName"),
    wrong(
        "two ways to log in",
        {"prometheus": {"bearerToken": {"secretName": "a"}, "basicAuth": {"secretName": "b", "username": "c"}}},
        "leave one of the two empty",
    ),
    wrong("a password for nobody", {"prometheus": {"basicAuth": {"secretName": "b"}}}, "basicAuth.username is empty"),
    wrong("nobody's password", {"prometheus": {"basicAuth": {"username": "b"}}}, "basicAuth.secretName is empty"),
    wrong("TLS without TLS", {"prometheus": {"tls": {"caSecretName": "ca"}}}, "begins with https://"),
    wrong("a limit without a unit", {"monitoring": {"podMonitor": {"limits": {"bodySize": "2"}}}}, "/bodySize"),
    wrong("a limit below 0", {"monitoring": {"podMonitor": {"limits": {"samples": -1}}}}, "/limits/samples"),
    wrong("two without a Lease", {"replicas": 2, "lease": {"enabled": False}}, "lease.enabled=true or replicas=1"),
    wrong("half a digest", {"image": {"digest": "sha256:abc"}}, "image.digest", "64 hexadecimal digits"),
    wrong("a tag in the repository", {"sidecar": {"image": {"repository": "a/b:1"}}}, "sidecar.image.tag"),
    wrong("a digest in the repository", {"image": {"repository": f"a/b@{SHA}"}}, "image.digest"),
    wrong("a URL as a registry", {"imageRegistry": "https://r.example.com"}, "has no scheme"),
    wrong("nobody's account", {"serviceAccount": {"create": False}}, "serviceAccount.name is empty"),
    wrong("no key", {"key": {"source": "existingSecret"}}, "key.secretName is empty"),
    wrong("a key too many", {"key": {"secretName": "mine"}}, "set key.source=existingSecret"),
    wrong("nobody signs the key", {"key": {"source": "certManager"}}, "key.issuerRef.name"),
    wrong("no namespace to protect", {"networkPolicy": {"enabled": True}}, "networkPolicy.models.namespaces is empty"),
    wrong(
        "no certificate",
        {"webhook": {"enabled": True, "certificate": {"source": "existingSecret"}}},
        "webhook.certificate.secretName",
        "caBundle",
    ),
    wrong(
        "nobody signs",
        {"webhook": {"enabled": True, "certificate": {"source": "certManager"}}},
        "webhook.certificate.issuerRef.name",
    ),
]


@pytest.mark.parametrize(("values", "said"), WRONG)
def test_it_is_refused_with_a_sentence_that_helps(values: dict[str, Any], said: tuple[str, ...]) -> None:
    with pytest.raises(HelmFailed) as refused:
        template(values)
    for words in said:
        assert words in str(refused.value)
