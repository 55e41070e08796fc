"""docs/nats.md says what is there: its example runs, its table has every setting."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import sys
import textwrap
from pathlib import Path

from registry.client import Access
from tests.support.nats.certificates import CertificateAuthority
from tests.support.nats.jwt import Authority
from tests.support.nats.process import nats_process
from tests.support.processes import environment

PAGE = (Path(__file__).parents[3] / "docs" / "nats.md").read_text()


async def test_the_example_connects(state_dir: Path) -> None:
    authority, certificates = Authority(), CertificateAuthority(state_dir / "ca")
    authority.write_credentials(state_dir / "flume.creds")
    certificate, key = certificates.sign("server")
    tls = {"cert_file": str(certificate), "key_file": str(key)}
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    example = example.replace("    ...", "    print(client._client.connected_url.scheme)")
    imports, rest = example.split("\n\n", 1)

    with nats_process(state_dir, tls=tls, **authority.configuration()) as server:
        url = server.url(scheme="tls")
        for shown, given in {
            "/run/secrets/flume.creds": str(state_dir / "flume.creds"),
            "/etc/nats/ca.pem": str(certificates.certificate),
            "tls://nats-1:4222,tls://nats-2:4222": f"{url},tls://127.0.0.1:1",
        }.items():
            assert shown in rest
            rest = rest.replace(shown, given)
        program = f"{imports}\nimport asyncio\nasync def main():\n{textwrap.indent(rest, '    ')}\nasyncio.run(main())"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env=environment()
        )
        out, _ = await process.communicate()
    assert "tls" in out.decode().splitlines()


def test_the_table_has_every_field() -> None:
    for field in dataclasses.fields(Access):
        assert re.search(rf"^\|.*`IMI_NATS_{field.name.upper()}`.*\|.*`{field.name}`", PAGE, re.MULTILINE), field.name
