"""An MCP client of the official Python SDK; speaks the lines of mcp_client.mjs."""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlparse

from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp.shared.auth import OAuthClientMetadata


def say(answer):
    print(json.dumps(answer), flush=True)


async def read():
    return json.loads(await asyncio.to_thread(sys.stdin.readline))


class Storage:
    tokens = None
    client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def redirected(address):
    say({"authorize": address})


async def called_back():
    query = parse_qs(urlparse((await read())["callback"]).query)
    one = lambda name: query[name][0] if name in query else None
    return AuthorizationCodeResult(code=one("code"), state=one("state"), iss=one("iss"))


async def main():
    asked = await read()
    storage = Storage()
    metadata = OAuthClientMetadata(
        client_name="A client of the Python SDK",
        redirect_uris=[asked["redirectUri"]],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="none",
    )
    auth = OAuthClientProvider(asked["url"], metadata, storage, redirected, called_back)
    async with create_mcp_http_client(auth=auth) as http:
        async with Client(streamable_http_client(asked["url"], http_client=http)) as client:
            await client.list_tools()
            say({"ready": True, "client_id": storage.client.client_id, "scope": storage.tokens.scope})
            while True:
                line = await asyncio.to_thread(sys.stdin.readline)
                if not line:
                    return
                arguments = json.loads(line)
                tool = arguments.pop("tool", None)
                try:
                    answer = await (client.call_tool(tool, arguments) if tool else client.list_tools())
                    say({**answer.model_dump(mode="json", by_alias=True), "scope": storage.tokens.scope})
                except Exception as error:
                    say({"failed": repr(error)})


asyncio.run(main())
