"""Control interface: everything from outside Python, by HTTP and JSON, below /_emulator.

  GET    /_emulator                        this text
  GET    /_emulator/health                 {"status": "ok", ...}: is it up?
  POST   /_emulator/reset                  as at the start: users, settings, faults; no session, no record
  POST   /_emulator/seed                   add what the body describes; the form of a seed file

  GET    /_emulator/users                  all users, without secrets
  POST   /_emulator/users                  add one, or replace the one of that name:
           {"username": "a@example.com", "password": "x", "totp_secret": "BASE32", "suspended": false,
            "must_reset": false, "sso_only": false, "admin": false, "coworker_id": 1234}
  GET    /_emulator/users/{username}       one user
  PATCH  /_emulator/users/{username}       change any of: password, totp_secret (null: off), suspended, must_reset,
           sso_only, admin, invalid_login_attempts. A new password ends every session of the account, unless
           "keep_sessions": true
  DELETE /_emulator/users/{username}       end its sessions and forget it
  GET    /_emulator/users/{username}/totp  {"code": "123456"}: what the authenticator app shows now

  GET    /_emulator/sessions               who is signed in: client_ids and the remaining life of their tokens
  POST   /_emulator/issue                  mint a pair of tokens, without a sign-in:
           {"username": "a@example.com", "client_id": "worker", "lifetime": 60}; all may be left out
  POST   /_emulator/jwt                    mint a one-time JWT, as a magic link carries it, for the exchange:
           {"username": "a@example.com", "lifetime": 900}; both may be left out
  POST   /_emulator/revoke                 {"what": "access" | "refresh" | "all", "username": "a@example.com"};
           without a username, those of all

  GET    /_emulator/faults                 the faults that wait for their request
  POST   /_emulator/faults                 {"where": ..., "kind": ..., "times": 1}, and what the kind takes.
           where: "token", a path ("/api/public/teams/my", "/api/spaces/coworkers/{Id}"), or "*" for every path but
           the token endpoint's. times: 1 if left out, null for every request. applied: whether the service does its
           work before the answer goes wrong.
           answer    status, body (text) or json (any value), headers, content_type, applied (false)
           delay     seconds, applied (true)
           drop      applied (false): the connection is closed without an answer
           truncate  applied (true): half of the answer, then the connection is closed
           throttle  status (409), retry_after (1; null: no header), in_words: "Wait N seconds." in the body
           html      status (200), applied (false): a page, as a wrong host answers
           redirect  location, status (307)
           alter     members to replace in the service's own JSON, without: a list of those to leave out
           silent    status (200), applied (true): no body at all
  DELETE /_emulator/faults                 forget them

  GET    /_emulator/requests               the record, the oldest first: number, at, method, path, query, status,
           milliseconds, who, client_id, grant_type, authorization, in_flight, remark (such as an unknown filter).
           ?since=NUMBER for those after it, ?path=/api/token, ?limit=N for the latest N
  GET    /_emulator/counts                 sign_ins, renewals, refresh_tokens_reused, ...
  DELETE /_emulator/requests               forget the record and the counts

  GET    /_emulator/clock                  {"now": "2026-01-31T08:00:00Z", "ahead": 0}
  POST   /_emulator/clock                  {"advance": 3600}: seconds; tokens age, limits refill. There is no way back
           but the reset
  GET    /_emulator/settings               all of them
  PATCH  /_emulator/settings               any of: lifetime (seconds of the next access tokens), enforce_limits,
           unknown_account_is_500, post_answers_nothing, drop_client_id (the header, as a proxy may),
           lock_after (failed sign-ins, null: never), limits:
           {"api": [{"count": 120, "seconds": 60, "refill": "sliding" | "window" | "bucket"}], "writes": [...],
            "token": [...], "address": [...], "public": [...], "token_address": [...],
            "status": 409, "retry_after": true}

Wrong input is answered 400, and {"Message": ...} says what to write instead. A body needs Content-Type:
application/json. Only programs on this machine are answered while the emulator listens on loopback; listening anywhere
else, it lets anybody who reaches it read and set everything, there is no password on it. Pages of other origins are
refused. No answer shows a secret in full, but for those that were asked for: issue, jwt, totp.

At / there is a page for people: who is signed in, the last requests, and buttons for the commonest faults.
"""

from typing import Final

CONTROL_HELP: Final[str] = __doc__ or ""
"""The text above, for a `--help`."""
