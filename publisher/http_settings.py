"""The settings of the page: where it listens, by which names, behind whom, and who may act in it."""

from __future__ import annotations

from ipaddress import ip_network

from pydantic import BaseModel, Field, SecretStr, field_validator

from registry.authority import address_of, is_host_name

LEAST_TOKEN = 16
"""Characters: 64 bits at least where they are random. Anybody who reaches the page may try as many as he likes."""


class HttpSettings(BaseModel):
    """Part of `Settings`."""

    http_host: str = Field(
        default="127.0.0.1", description="Address or name of the health and metrics page; 0.0.0.0 or :: for all."
    )
    http_port: int = Field(
        default=0, ge=0, le=65535, description="Port of the health and metrics page; 0 takes a free one."
    )
    http_hosts: str = Field(
        default="",
        description="Names, by comma, that the page is reached by beside localhost, addresses, the name in http_host "
        "and, where it listens for others, that of its machine; * takes all, also of a page of somebody else.",
    )
    http_proxies: str = Field(
        default="",
        description="Addresses or networks, by comma, of proxies in front of the page: X-Forwarded-For and "
        "X-Forwarded-Proto of nobody else are believed. Where one is on this machine, each account of it is believed.",
    )
    http_token: SecretStr | None = Field(
        default=None,
        description="Who knows it may act in the console; without it the console only shows. "
        f"{LEAST_TOKEN} characters or more, at random.",
    )

    @field_validator("http_host")
    @classmethod
    def _is_host(cls, value: str) -> str:
        host = value.strip()
        if host and not _is_name_or_address(host):
            raise ValueError("must be an address, as 127.0.0.1 or ::1, without port and brackets; or a name")
        return host

    @field_validator("http_hosts")
    @classmethod
    def _are_names(cls, value: str) -> str:
        named = listed(value)
        for one in named:
            if one != "*" and not _is_name_or_address(one):
                raise ValueError(f'must be names by comma, without port, as registry.example.com, or *: "{one}"')
        return ",".join(named)

    @field_validator("http_proxies")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        named: list[str] = []
        for one in listed(value):
            try:
                named.append(str(address_of(one) or ip_network(one)))
            except ValueError as error:
                raise ValueError(
                    f'must be addresses or networks by comma, as 10.0.0.7 or 10.0.0.0/24: "{one}"'
                ) from error
        return ",".join(named)

    @field_validator("http_token")
    @classmethod
    def _is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().strip()) < LEAST_TOKEN:
            raise ValueError(f"must have {LEAST_TOKEN} characters or more, at random, as of: openssl rand -hex 32")
        return value


def listed(value: str) -> list[str]:
    """What a setting has by comma."""
    return [one.strip() for one in value.split(",") if one.strip()]


def _is_name_or_address(text: str) -> bool:
    return is_host_name(text) or address_of(text) is not None
