"""An MCP client of FastMCP; speaks the lines of mcp_client.mjs."""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlparse

from fastmcp import Client
from fastmcp.client.auth import OAuth
from mcp.client.auth import AuthorizationCodeResult


def say(answer):
    print(json.dumps(answer), flush=True)


async def read():
    return json.loads(await asyncio.to_thread(sys.stdin.readline))


class LinesOAuth(OAuth):
    """Its own browser and callback server are replaced by lines."""

    async def redirect_handler(self, authorization_url):
        say({"authorize": authorization_url})

    async def callback_handler(self):
        query = parse_qs(urlparse((await read())["callback"]).query)
        one = lambda name: query[name][0] if name in query else None
        return AuthorizationCodeResult(code=one("code"), state=one("state"), iss=one("iss"))


async def main():
    asked = await read()
    redirect = urlparse(asked["redirectUri"])
    auth = LinesOAuth(asked["url"], callback_host=redirect.hostname, callback_port=redirect.port)
    async with Client(asked["url"], auth=auth) as client:
        await client.list_tools()
        say({"ready": True, "client_id": auth.context.client_info.client_id})
        while line := await asyncio.to_thread(sys.stdin.readline):
            arguments = json.loads(line)
            tool = arguments.pop("tool", None)
            try:
                if tool:
                    answer = await client.call_tool_mcp(tool, arguments)
                else:
                    answer = await client.list_tools_mcp()
                scope = auth.context.current_tokens.scope
                say({**answer.model_dump(mode="json", by_alias=True), "scope": scope})
            except Exception as error:
                say({"failed": repr(error)})


asyncio.run(main())
