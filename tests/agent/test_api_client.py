"""The URLs and CA files that an agent accepts for its API."""

from __future__ import annotations

from pathlib import Path

import pytest

from linkspan.agent.api_client import ApiClient, ApiUnreachable, check_url


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9696", "http://localhost:1", "http://[::1]:9696", "https://vpn.example.org", "https://10.0.0.1"],
)
def test_plain_http_on_loopback_and_https_anywhere_are_accepted(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:9696",
        "http://vpn.example.org",
        "http://127.0.0.1.example.org",
        "http://[2001:db8::1]:9696",
        "http://0.0.0.0:9696",
        "ftp://127.0.0.1",
        "127.0.0.1:9696",
        "",
    ],
)
def test_other_urls_are_refused_with_one_line_that_names_https(url: str) -> None:
    with pytest.raises(ApiUnreachable) as caught:
        check_url(url)
    assert caught.value.final
    assert "\n" not in str(caught.value)
    assert "https" in str(caught.value)


def test_the_client_checks_its_url() -> None:
    with pytest.raises(ApiUnreachable, match="plain HTTP"):
        ApiClient("http://192.0.2.1:9696", "token")


def test_an_invalid_ca_file_is_refused_by_name(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(ApiUnreachable, match="CA file"):
        ApiClient("https://127.0.0.1:9696", "token", wrong)
