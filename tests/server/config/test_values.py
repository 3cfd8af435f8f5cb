"""Values of the configuration file that several of its sections share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import TypeAdapter

from server.config.lookups import LdapSource, LookupSource
from server.config.status import StatusConfig
from server.config.values import HttpsOrigin, ProxyUrl, WebAddress, split_url

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("port", ["65536", "99999", "x", "-1"])
@pytest.mark.parametrize(
    "read",
    [
        split_url,
        lambda url: TypeAdapter(HttpsOrigin).validate_python(url),
        lambda url: TypeAdapter(WebAddress).validate_python(url),
        lambda url: TypeAdapter(ProxyUrl).validate_python(url.replace("https", "http")),
        lambda url: LdapSource(url=url.replace("https", "ldaps"), base="dc=test", fields=("ou",)),
        lambda url: LookupSource.model_validate({"http": url}),
        lambda url: StatusConfig.model_validate({"url": url.replace("https", "http")}),
    ],
    ids=["any", "origin", "web", "proxy", "ldap", "lookup", "status"],
)
def test_a_url_has_a_port_that_there_can_be_or_none(read: Callable[[str], object], port: str) -> None:
    with pytest.raises(ValueError, match="a port is a number from 1 to 65535"):
        read(f"https://ca.test:{port}")


@pytest.mark.parametrize(("url", "port"), [("https://ca.test:65535/a", 65535), ("https://[::1]", None), ("none", None)])
def test_any_other_url_is_read(url: str, port: int | None) -> None:
    assert split_url(url).port == port
