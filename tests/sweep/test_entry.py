"""What happens before any command runs."""

import urllib.request

import pytest
import requests.utils

from sweep.entry import ask_no_proxy_for_this_machine


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """A proxy for everything."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://proxy.example:3128")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machine_is_asked_without_a_proxy(host):
    """By requests, as MLflow's client uses it, and by urllib, which waits for our own page on 127.0.0.1."""
    assert requests.utils.get_environ_proxies(f"http://{host}:5000/health")
    ask_no_proxy_for_this_machine()

    assert requests.utils.get_environ_proxies(f"http://{host}:5000/health") == {}
    assert urllib.request.proxy_bypass_environment(f"{host}:5000") or host == "[::1]"


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_the_exceptions_of_the_user_remain(monkeypatch, name):
    monkeypatch.setenv(name, "mlflow.example,127.0.0.1")
    ask_no_proxy_for_this_machine()
    ask_no_proxy_for_this_machine()

    assert requests.utils.get_environ_proxies("http://mlflow.example") == {}
    assert requests.utils.get_environ_proxies("http://other.example")["http"] == "http://proxy.example:3128"
    assert urllib.request.getproxies_environment()["no"] == "mlflow.example,127.0.0.1,localhost,::1"


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_a_star_of_the_user_remains(monkeypatch, name):
    """It means every host where it stands alone, and nothing in a list."""
    monkeypatch.setenv(name, "*")
    ask_no_proxy_for_this_machine()

    for host in ("other.example", "127.0.0.1"):
        assert urllib.request.proxy_bypass_environment(host)
        assert requests.utils.get_environ_proxies(f"http://{host}") == {}
