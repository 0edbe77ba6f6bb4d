"""Calls Scalekit's SDK for Python. Reads calls from standard input, one JSON array
[name, arguments] a line, and responds to each with a line: {"ok": ...} or {"error": ...}."""

import json
import os
import sys

from scalekit import ScalekitClient
from scalekit.common.scalekit import (
    AuthorizationUrlOptions,
    CodeAuthenticationOptions,
    LogoutUrlOptions,
    TokenValidationOptions,
)

client = ScalekitClient(
    os.environ["SCALEKIT_ENVIRONMENT_URL"],
    os.environ["SCALEKIT_CLIENT_ID"],
    os.environ["SCALEKIT_CLIENT_SECRET"],
)


def authorization_url(redirectUri, scopes, state, nonce):
    options = AuthorizationUrlOptions()
    options.scopes, options.state, options.nonce = scopes, state, nonce
    return client.get_authorization_url(redirectUri, options)


def exchange(code, redirectUri):
    tokens = client.authenticate_with_code(code, redirectUri, CodeAuthenticationOptions())
    # The names that the SDK for Node has.
    return {
        "user": tokens["user"],
        "idToken": tokens["id_token"],
        "accessToken": tokens["access_token"],
        "refreshToken": tokens["refresh_token"],
        "expiresIn": tokens["expires_in"],
    }


def refresh(refreshToken):
    tokens = client.refresh_access_token(refreshToken)
    return {"accessToken": tokens["access_token"], "refreshToken": tokens["refresh_token"]}


def logout_url(idTokenHint, postLogoutRedirectUri, state):
    return client.get_logout_url(LogoutUrlOptions(idTokenHint, postLogoutRedirectUri, state))


def claims(token, **options):
    return client.validate_access_token_and_get_claims(token, TokenValidationOptions(**options))


def login_claims(token, **options):
    return client.get_idp_initiated_login_claims(token, TokenValidationOptions(**options))


def is_valid(token, **options):
    return client.validate_access_token(token, TokenValidationOptions(**options))


def proxy(connectionName, identifier, path, queryParams):
    answer = client.actions.request(connectionName, identifier, path, query_params=queryParams)
    return {"status": answer.status_code, "data": answer.json()}


calls = {
    "authorizationUrl": authorization_url,
    "exchange": exchange,
    "claims": claims,
    "isValid": is_valid,
    "refresh": refresh,
    "loginClaims": login_claims,
    "logoutUrl": logout_url,
    "clientToken": client.get_client_access_token,
    "proxy": proxy,
}

for line in sys.stdin:
    name, arguments = json.loads(line)
    try:
        answer = {"ok": calls[name](**arguments)}
    except Exception as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
