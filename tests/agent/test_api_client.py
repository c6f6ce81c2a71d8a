"""Where an agent may speak to an API, and where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from linkspan.agent.api_client import ApiClient, ApiUnreachable, check_url


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9696", "http://localhost:1", "http://[::1]:9696", "https://vpn.example.org", "https://10.0.0.1"],
)
def test_loopback_may_be_plain_and_everything_may_be_tls(url: str) -> None:
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
def test_anything_else_is_refused_in_one_line_that_says_what_to_do(url: str) -> None:
    with pytest.raises(ApiUnreachable) as caught:
        check_url(url)
    assert caught.value.final
    assert "\n" not in str(caught.value)
    assert "https" in str(caught.value)


def test_a_link_cannot_be_made_around_the_check() -> None:
    with pytest.raises(ApiUnreachable, match="plain HTTP"):
        ApiClient("http://192.0.2.1:9696", "token")


def test_a_ca_file_that_is_none_is_said_so(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(ApiUnreachable, match="CA file"):
        ApiClient("https://127.0.0.1:9696", "token", wrong)
